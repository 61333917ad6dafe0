//! A word on which one process sleeps, and by which another wakes it.
//!
//! # Why no wake-up is lost
//! The sleeper writes `ASLEEP`, passes a fence, and looks for work once more; who brings work
//! publishes it, passes a fence, and looks for `ASLEEP`. One of the two fences comes first in their
//! single total order. If it is the sleeper's, the other one sees `ASLEEP` and rings; if it is the
//! other's, the sleeper sees the work and does not sleep. The kernel compares the word once more when
//! it puts the sleeper to sleep, so that a ring in between is not lost either.

use crate::sync::{AtomicU32, Ordering, fence};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// A futex word that says whether its owner sleeps.
#[repr(transparent)]
pub(in crate::process) struct Bell(AtomicU32);

impl Bell {
    pub(in crate::process) fn new() -> Self {
        Self(AtomicU32::new(AWAKE))
    }

    /// Announces sleep. Afterwards look for work, and sleep only if there is none.
    pub(in crate::process) fn lie_down(&self) {
        // The fence orders it before the look for work.
        self.say(ASLEEP);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    pub(in crate::process) fn get_up(&self) {
        // A ring that comes too late wakes nobody.
        self.say(AWAKE);
    }

    /// Relaxed. A swap in the models: the order of all changes to a word is total, but loom knows only
    /// as much of it as other orders imply, unless each change reads the one before. It would let a
    /// later ring see the ring before it instead of the sleeper that has lain down in between.
    fn say(&self, value: u32) {
        #[cfg(not(concurrent_futures_loom))]
        self.0.store(value, Ordering::Relaxed);
        #[cfg(concurrent_futures_loom)]
        let _ = self.0.swap(value, Ordering::Relaxed);
    }

    /// After work was published: whether somebody is to be woken.
    #[must_use]
    pub(in crate::process) fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it after the publication of the work. The look before the swap
        // spares the cache line while the other side is awake, which is most of the time.
        self.0.load(Ordering::Relaxed) == ASLEEP && self.0.swap(AWAKE, Ordering::Relaxed) == ASLEEP
    }

    /// The word to sleep on, and the value that it has while the sleep holds.
    #[cfg(any(test, not(concurrent_futures_loom)))]
    pub(in crate::process) fn word(&self) -> (&AtomicU32, u32) {
        (&self.0, ASLEEP)
    }
}
