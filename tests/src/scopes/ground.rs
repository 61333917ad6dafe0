//! What the tasks of these tests borrow, and how it is seen that they are through with it.

use std::sync::Mutex;
use std::time::Duration;

use crate::harness::Gate;

/// What the tasks of a test borrow. Its guests touch it when they are dropped; nobody may after
/// [`leave`](Self::leave).
#[derive(Debug, Default)]
pub(crate) struct Ground {
    /// On the heap, where a tool sees it touched too late.
    guests: Box<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    here: usize,
    ever: usize,
}

impl Ground {
    pub(crate) fn guest(&self) -> Guest<'_> {
        let mut guests = self.guests.lock().unwrap();
        guests.here += 1;
        guests.ever += 1;
        Guest(self)
    }

    pub(crate) fn here(&self) -> usize {
        self.guests.lock().unwrap().here
    }

    /// Nobody is left of so many.
    pub(crate) fn leave(self, ever: usize) {
        let guests = self.guests.lock().unwrap();
        assert_eq!((guests.here, guests.ever), (0, ever), "(here, ever)");
    }
}

/// Something that borrows, also while it is dropped.
#[derive(Debug)]
pub(crate) struct Guest<'a>(&'a Ground);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.guests.lock().unwrap().here -= 1;
    }
}

/// Runs `drop` before it is gone itself.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Opens the gate when somebody has been there for a while. Whoever ought to wait for the one at the
/// gate, and does not, is through by then.
pub(crate) fn open_later(gate: &Gate) -> std::thread::JoinHandle<()> {
    let gate = gate.clone();
    std::thread::spawn(move || {
        gate.wait_for(1);
        std::thread::sleep(Duration::from_millis(20));
        gate.open();
    })
}
