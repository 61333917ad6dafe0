//! A future of a task that can be cloned, for several who wait for one result.
//!
//! The core owns the task's own future and has itself told when the task is done; then it wakes
//! whoever waits. The first of them takes the result over into the core, on its own thread, since
//! that may mean to decode it; those who come meanwhile are woken when it is there. The task knows
//! the core weakly: when the last clone goes, the task's future goes with it, as if it had never
//! been shared.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::cell::CellRef;
use super::future::{AbortOutcome, TaskFuture, TaskHandle};
use super::outcome::Outcome;
use super::waiter::{Sink, Waiter};
use super::waiting::{Listing, Wait, block_until};
use crate::error::{Clock, TaskError};
use crate::id::TaskId;
use crate::panic::guarded_drop;
use crate::time::Deadline;

/// A clone of a task's future, made by [`TaskFuture::shared`].
///
/// Each clone gives a clone of the value, as often as you ask, and an error of its own.
#[must_use = "a future that is dropped tells nothing"]
pub struct SharedTaskFuture<T> {
    core: Arc<Core<T>>,
    /// Where this clone's waiter is, if it waits.
    waiter: Option<u64>,
    listing: Listing,
}

struct Core<T> {
    handle: TaskHandle,
    result: OnceLock<Result<T, TaskError>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The task's own future, until it is done.
    future: Option<TaskFuture<T>>,
    /// By numbers that are never used again: a clone that was told keeps its number for a while.
    waiters: BTreeMap<u64, Waiter>,
    next_number: u64,
}

/// What the task knows of the core.
struct Report<T>(Weak<Core<T>>);

impl<T: Send + Sync> Sink for Report<T> {
    fn complete(&self, _key: u32, outcome: Outcome) {
        if let Some(core) = self.0.upgrade() {
            core.tell(outcome);
        }
    }
}

impl<T> Core<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all who wait; they look again.
    fn tell(&self, outcome: Outcome) {
        let waiters = std::mem::take(&mut self.lock().waiters);
        for (_, waiter) in waiters {
            waiter.notify(outcome);
        }
    }

    /// The result, if the task is done and nobody else is about to take it over.
    fn settle(&self) -> Option<&Result<T, TaskError>> {
        if let Some(result) = self.result.get() {
            return Some(result);
        }
        let outcome = self.handle.outcome()?;
        let future = self.lock().future.take();
        if let Some(mut future) = future {
            let result = future.try_result().expect("the task is done");
            assert!(
                self.result.set(result).is_ok(),
                "only who took the future sets the result"
            );
            self.tell(outcome);
        }
        self.result.get()
    }
}

impl<T> SharedTaskFuture<T> {
    /// The task's id: see [`TaskId`].
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.core.handle.id()
    }

    /// Whether the task is over, in whatever way: see the example of [`TaskFuture::outcome`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.core.handle.is_done()
    }

    /// Whether the task was cancelled before it started: see the example of
    /// [`Waited::cancel_pending`](crate::Waited::cancel_pending).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.outcome() == Some(Outcome::Cancelled)
    }

    /// How the task ended, if it has ended: like [`TaskFuture::outcome`].
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.core.handle.outcome()
    }

    /// The error, if the task is over and has one: like [`TaskFuture::error`].
    #[must_use]
    pub fn error(&self) -> Option<&TaskError> {
        self.core.settle().and_then(|result| result.as_ref().err())
    }

    /// Like [`TaskFuture::cancel`], for all clones.
    pub fn cancel(&self) -> bool {
        self.core.handle.cancel()
    }

    /// Like [`TaskFuture::abort`], for all clones.
    pub fn abort(&self) -> AbortOutcome {
        self.core.handle.abort()
    }

    /// Like [`TaskFuture::on_done`].
    pub fn on_done(&self, callback: impl FnOnce(TaskId, Outcome) + Send + 'static) {
        self.core.handle.on_done(callback);
    }

    pub(super) fn cell(&self) -> &CellRef {
        self.core.handle.cell()
    }

    /// Has `sink` told when the task is done. False if it is done.
    pub(super) fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool {
        let core = Arc::clone(&self.core);
        self.wait_as(Waiter::Sink(sink, key), |_| !core.handle.is_done())
    }

    /// Puts `waiter` in place of an earlier one of this clone, if by then there is something to
    /// wait for. False if there is not.
    ///
    /// Who makes the wait come to an end does so before it takes the lock to look for waiters.
    fn wait_as(&mut self, waiter: Waiter, must_wait: impl FnOnce(&State<T>) -> bool) -> bool {
        let mut state = self.core.lock();
        if !must_wait(&state) {
            drop(state);
            guarded_drop(waiter);
            return false;
        }
        let number = match self.waiter {
            Some(number) if state.waiters.contains_key(&number) => number,
            _ => {
                state.next_number += 1;
                state.next_number
            }
        };
        self.waiter = Some(number);
        let previous = state.waiters.insert(number, waiter);
        drop(state);
        guarded_drop(previous);
        true
    }

    pub(super) fn forget_waiter(&mut self) {
        if let Some(number) = self.waiter.take() {
            // Gone already, if it was told.
            let waiter = self.core.lock().waiters.remove(&number);
            guarded_drop(waiter);
        }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedTaskFuture<T> {
    pub(super) fn new(mut future: TaskFuture<T>) -> Self {
        // An earlier waiter is dropped here, and not under the core's lock.
        future.result_ref().forget_waiter();
        let core = Arc::new(Core {
            handle: future.handle(),
            result: OnceLock::new(),
            state: Mutex::new(State {
                future: Some(future),
                waiters: BTreeMap::new(),
                next_number: 0,
            }),
        });
        let report = Arc::new(Report(Arc::downgrade(&core)));
        if let Some(future) = &mut core.lock().future {
            // If the task is done, whoever asks finds that out.
            future.result_ref().report_when_done(report, 0);
        }
        Self {
            core,
            waiter: None,
            listing: Listing::default(),
        }
    }

    /// Like [`TaskFuture::result`].
    ///
    /// # Errors
    /// Those of [`TaskFuture::result`].
    pub fn result(mut self) -> Result<T, TaskError> {
        match self.block_until(Deadline::NEVER)? {
            Some(result) => result,
            None => unreachable!("there is no deadline"),
        }
    }

    /// Like [`TaskFuture::result_timeout`].
    ///
    /// # Errors
    /// Those of [`TaskFuture::result_timeout`].
    pub fn result_timeout(&mut self, limit: Duration) -> Result<T, TaskError> {
        match self.block_until(Deadline::after(limit))? {
            Some(result) => result,
            None => Err(TaskError::timed_out(Clock::Wait, Some(limit))),
        }
    }

    fn block_until(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<Result<T, TaskError>>, TaskError> {
        let waits_for = |future: &Self| Wait::one(future.cell());
        block_until(deadline, self, Self::poll_result, waits_for)
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        self.listing.clear();
        loop {
            if let Some(result) = self.core.settle() {
                return Poll::Ready(result.clone());
            }
            let core = Arc::clone(&self.core);
            let waiter = Waiter::Waker(context.waker().clone());
            // There is something to wait for while the task is not done, or while somebody else,
            // who has the future, takes the result over.
            let waits = self.wait_as(waiter, |state| {
                core.result.get().is_none() && (!core.handle.is_done() || state.future.is_none())
            });
            if waits {
                let handle = &self.core.handle;
                self.listing
                    .note(context.waker(), || Wait::one(handle.cell()));
                return Poll::Pending;
            }
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Future for SharedTaskFuture<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_result(context)
    }
}

impl<T> Clone for SharedTaskFuture<T> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            waiter: None,
            listing: Listing::default(),
        }
    }
}

impl<T> Drop for SharedTaskFuture<T> {
    fn drop(&mut self) {
        self.forget_waiter();
    }
}

impl<T> PartialEq for SharedTaskFuture<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T> Eq for SharedTaskFuture<T> {}

impl<T> Hash for SharedTaskFuture<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl<T> fmt::Debug for SharedTaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedTaskFuture")
            .field(&self.core.handle)
            .finish()
    }
}
