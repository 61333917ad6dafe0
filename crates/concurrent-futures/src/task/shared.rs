//! A future of a task that can be cloned, for several who wait for one result.
//!
//! The core owns the task's own future and has itself told when the task is done; then it takes the
//! result, keeps it, and tells whoever waits. The task knows the core weakly: when the last clone
//! goes, the task's future goes with it, as if it had never been shared.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use slab::Slab;

use super::blocking::block_until;
use super::future::{AbortOutcome, TaskFuture, TaskHandle};
use super::outcome::Outcome;
use super::waiter::{Sink, Waiter};
use crate::error::{Clock, TaskError};
use crate::id::TaskId;
use crate::panic::guarded_drop;
use crate::time::Deadline;

/// A clone of a task's future: made by [`TaskFuture::shared`].
///
/// Each clone gives a clone of the value, as often as it is asked, and an error of its own.
#[must_use = "a future that is dropped tells nothing"]
pub struct SharedTaskFuture<T> {
    core: Arc<Core<T>>,
    /// Where this clone's waiter is, if it waits.
    waiter: Option<usize>,
}

struct Core<T> {
    handle: TaskHandle,
    result: OnceLock<Result<T, TaskError>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The task's own future, until it is done.
    future: Option<TaskFuture<T>>,
    waiters: Slab<Waiter>,
}

/// What the task knows of the core.
struct Report<T>(Weak<Core<T>>);

impl<T: Send + Sync> Sink for Report<T> {
    fn complete(&self, _key: u32, _outcome: Outcome) {
        if let Some(core) = self.0.upgrade() {
            core.finish();
        }
    }
}

impl<T> Core<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the result over and tells everybody. The task is done.
    fn finish(&self) {
        let future = self.lock().future.take();
        let Some(mut future) = future else { return };
        let result = future.try_result().expect("the task is done");
        let outcome = Outcome::of(&result);
        if let Err(second) = self.result.set(result) {
            unreachable!("the result is set once, and not again: {:?}", second.err());
        }
        let waiters = std::mem::take(&mut self.lock().waiters);
        for (_, waiter) in waiters {
            waiter.notify(outcome);
        }
    }
}

impl<T> SharedTaskFuture<T> {
    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.core.handle.id()
    }

    /// The result is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.core.result.get().is_some()
    }

    /// The task was cancelled before it started.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.outcome() == Some(Outcome::Cancelled)
    }

    /// How the task ended, if it has.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.core.result.get().map(Outcome::of)
    }

    /// The error, if the task is over and has one.
    #[must_use]
    pub fn error(&self) -> Option<&TaskError> {
        self.core
            .result
            .get()
            .and_then(|result| result.as_ref().err())
    }

    /// As [`TaskFuture::cancel`]: for all clones.
    pub fn cancel(&self) -> bool {
        self.core.handle.cancel()
    }

    /// As [`TaskFuture::abort`]: for all clones.
    pub fn abort(&self) -> AbortOutcome {
        self.core.handle.abort()
    }

    /// As [`TaskFuture::on_done`].
    pub fn on_done(&self, callback: impl FnOnce(TaskId, Outcome) + Send + 'static) {
        self.core.handle.on_done(callback);
    }

    /// Has `waiter` told when the result is there, in place of an earlier waiter of this clone.
    /// False if it is there.
    pub(super) fn tell_when_done(&mut self, waiter: Waiter) -> bool {
        let mut state = self.core.lock();
        if self.core.result.get().is_some() {
            return false;
        }
        let previous = match self.waiter {
            Some(key) => Some(std::mem::replace(&mut state.waiters[key], waiter)),
            None => {
                self.waiter = Some(state.waiters.insert(waiter));
                None
            }
        };
        drop(state);
        guarded_drop(previous);
        true
    }

    pub(super) fn forget_waiter(&mut self) {
        if let Some(key) = self.waiter.take() {
            // Gone already, if the result has come.
            let waiter = self.core.lock().waiters.try_remove(key);
            guarded_drop(waiter);
        }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedTaskFuture<T> {
    pub(super) fn new(future: TaskFuture<T>) -> Self {
        let core = Arc::new(Core {
            handle: future.handle(),
            result: OnceLock::new(),
            state: Mutex::new(State {
                future: Some(future),
                waiters: Slab::new(),
            }),
        });
        let report = Arc::new(Report(Arc::downgrade(&core)));
        let registered = core
            .lock()
            .future
            .as_mut()
            .is_some_and(|future| future.result_ref().report_when_done(report, 0));
        if !registered {
            core.finish();
        }
        Self { core, waiter: None }
    }

    /// As [`TaskFuture::result`].
    ///
    /// # Errors
    /// As [`TaskFuture::result`].
    pub fn result(mut self) -> Result<T, TaskError> {
        match block_until(Deadline::NEVER, |context| self.poll_result(context))? {
            Some(result) => result,
            None => unreachable!("there is no deadline"),
        }
    }

    /// As [`TaskFuture::result_timeout`].
    ///
    /// # Errors
    /// As [`TaskFuture::result_timeout`].
    pub fn result_timeout(&mut self, limit: Duration) -> Result<T, TaskError> {
        match block_until(Deadline::after(limit), |context| self.poll_result(context))? {
            Some(result) => result,
            None => Err(TaskError::timed_out(Clock::Wait, Some(limit))),
        }
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        if self.core.result.get().is_none()
            && self.tell_when_done(Waiter::Waker(context.waker().clone()))
        {
            return Poll::Pending;
        }
        let result = self.core.result.get().expect("the result is there");
        Poll::Ready(result.clone())
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
