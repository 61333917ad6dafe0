//! Waiting by blocking the thread: every blocking wait of this crate goes through here.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::context;
use crate::error::TaskError;
use crate::sync::{AtomicBool, Ordering};
use crate::time::Deadline;

/// Wakes one thread. The flag tells a wake-up meant for this wait from any other use of parking.
pub(super) struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Unpark {
    /// For the calling thread.
    pub(super) fn new() -> Self {
        Self {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        }
    }

    /// Forgets a wake-up, before a poll that sees what it was for.
    ///
    /// A swap and no store, and Acquire: if it takes away a wake-up, the poll after it sees what was
    /// done before that; pairs with the release in `wake_by_ref`. A store could overwrite one
    /// without seeing it, and the poll may find its waker in place and change nothing that would
    /// bring the two into an order: then the thread would park for ever.
    pub(super) fn reset(&self) {
        self.woken.swap(false, Ordering::Acquire);
    }

    /// Acquire: pairs with the release in `wake_by_ref`.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what was done before the wake-up is seen by the poll after it.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

thread_local! {
    /// A waker of this thread that no wait uses at the moment. A wait inside a wait makes another,
    /// so that neither takes the other's wake-up.
    static SPARE: Cell<Option<Arc<Unpark>>> = const { Cell::new(None) };
}

/// Polls until there is a result, and blocks the thread in between. `Ok(None)` at the deadline.
///
/// # Errors
/// Where the wait would have to block in async code.
pub(crate) fn block_until<R>(
    deadline: Deadline,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
) -> Result<Option<R>, TaskError> {
    let unpark = SPARE
        .try_with(Cell::take)
        .ok()
        .flatten()
        .unwrap_or_else(|| Arc::new(Unpark::new()));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let mut allowed = false;
    let result = loop {
        unpark.reset();
        if let Poll::Ready(result) = poll(&mut context) {
            break Ok(Some(result));
        }
        if deadline.has_passed() {
            break Ok(None);
        }
        if !allowed && context::is_async() {
            break Err(TaskError::would_block());
        }
        allowed = true;
        while !unpark.is_woken() {
            match deadline.left() {
                None => thread::park(),
                Some(left) if left.is_zero() => break,
                Some(left) => thread::park_timeout(left),
            }
        }
    };
    let _ = SPARE.try_with(|spare| spare.set(Some(unpark)));
    result
}
