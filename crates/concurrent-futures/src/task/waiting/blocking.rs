//! Waiting by blocking the thread: every blocking wait of this crate goes through here.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};
use std::thread::{self, Thread};

use super::member;
use super::wait::{Needs, Wait};
use crate::context;
use crate::error::TaskError;
use crate::id;
use crate::sync::{AtomicBool, Ordering};
use crate::time::Deadline;

/// Wakes one thread. The flag tells a wake-up meant for this wait from any other use of parking.
pub(in crate::task) struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Unpark {
    /// For the calling thread.
    pub(in crate::task) fn new() -> Self {
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
    pub(in crate::task) fn reset(&self) {
        self.woken.swap(false, Ordering::Acquire);
    }

    /// Acquire: pairs with the release in `wake_by_ref`.
    pub(in crate::task) fn is_woken(&self) -> bool {
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

    /// The waker with which the innermost blocking wait of this thread polls.
    static POLLING: Cell<Option<Identity>> = const { Cell::new(None) };
}

/// Which waker it is.
#[derive(Clone, Copy, PartialEq)]
struct Identity(*const (), *const RawWakerVTable);

impl Identity {
    fn of(waker: &Waker) -> Self {
        Self(waker.data(), waker.vtable())
    }
}

/// Says which waker polls on this thread, until it is dropped.
struct Polling(Option<Identity>);

impl Polling {
    fn begin(waker: &Waker) -> Self {
        let outer = POLLING.try_with(|polling| polling.replace(Some(Identity::of(waker))));
        Self(outer.ok().flatten())
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        let _ = POLLING.try_with(|polling| polling.set(self.0));
    }
}

/// Whether it is a blocking wait of the calling thread that polls with this waker.
pub(super) fn is_waker_of_this_thread(waker: &Waker) -> bool {
    POLLING
        .try_with(|polling| polling.get() == Some(Identity::of(waker)))
        .unwrap_or(false)
}

/// Polls until there is a result, and blocks the thread in between. `Ok(None)` at the deadline.
///
/// `waits_for` says what a pending poll waits for.
///
/// # Errors
/// Where the wait would have to block in async code, and where it would never end.
pub(crate) fn block_until<S, R>(
    deadline: Deadline,
    state: &mut S,
    mut poll: impl FnMut(&mut S, &mut Context<'_>) -> Poll<R>,
    waits_for: impl Fn(&S) -> Wait,
) -> Result<Option<R>, TaskError> {
    let unpark = SPARE
        .try_with(Cell::take)
        .ok()
        .flatten()
        .unwrap_or_else(|| Arc::new(Unpark::new()));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let mut poll = |state: &mut S| {
        let _polling = Polling::begin(&waker);
        poll(state, &mut context)
    };
    let is_patient = deadline == Deadline::NEVER;
    let mut is_first = true;
    let result = loop {
        unpark.reset();
        if let Poll::Ready(result) = poll(state) {
            break Ok(Some(result));
        }
        if deadline.has_passed() {
            break Ok(None);
        }
        if is_first && context::is_async() {
            break Err(TaskError::would_block());
        }
        if is_first && id::is_fork() && waits_for(state).is_for_copies() {
            break Err(TaskError::copied());
        }
        let Some(member) = member::current() else {
            is_first = false;
            park(&unpark, deadline);
            continue;
        };
        let wait = waits_for(state);
        // What is in the queue is begun here once; or one task after the other, where each may end the
        // wait.
        let most = match wait.needs {
            Needs::All if is_first => usize::MAX,
            Needs::Each => 1,
            Needs::All | Needs::Most | Needs::Any => 0,
        };
        is_first = false;
        if is_patient && member.run_in_place(&wait.tasks, most) {
            continue;
        }
        let Some(blocking) = member.block(wait, is_patient, &unpark) else {
            continue;
        };
        park(&unpark, deadline);
        if let Some(verdict) = blocking.end() {
            // Also if the task is over by now, having got its own error first: so it is the same for
            // each wait in the circle.
            break Err(verdict);
        }
    };
    let _ = SPARE.try_with(|spare| spare.set(Some(unpark)));
    result
}

/// Calls `block`, which blocks the thread until something changes: it waits for these tasks in a way of
/// its own, and calls this again if they are not over. No error ends such a wait.
pub(in crate::task) fn block_in(waits_for: impl FnOnce() -> Wait, block: impl FnOnce()) {
    let Some(member) = member::current() else {
        return block();
    };
    let wait = waits_for();
    if member.run_in_place(&wait.tasks, usize::MAX) {
        return;
    }
    if let Some(blocking) = member.block(wait, false, &Arc::new(Unpark::new())) {
        block();
        blocking.end();
    }
}

/// Blocks the thread until it is woken, or the deadline has come.
fn park(unpark: &Unpark, deadline: Deadline) {
    while !unpark.is_woken() {
        match deadline.left() {
            None => thread::park(),
            Some(left) if left.is_zero() => return,
            Some(left) => thread::park_timeout(left),
        }
    }
}
