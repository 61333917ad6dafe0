//! The future of a task, and a handle that can stop the task but not take its result.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::cell::{CellRef, Decoder, Remote, ResultRef, Runnable};
use super::extras::Extras;
use super::outcome::Outcome;
use super::shared::SharedTaskFuture;
use super::state;
use super::waiting::{self, Wait, block_until};
use crate::error::{Clock, TaskError};
use crate::id::{OwnerId, TaskId};
use crate::time::Deadline;

/// The result of a task that an executor runs, or that a [`Promise`](super::Promise) will give.
///
/// Await it beside any tokio task, or block on it with [`result`](Self::result) in code that is not async.
/// Every such future resolves: with the value, or with a [`TaskError`] that says why there is none.
///
/// If you drop it, the task goes on unobserved, as in Python and in tokio. To stop the task in that case, use
/// [`cancel_on_drop`](Self::cancel_on_drop) or [`abort_on_drop`](Self::abort_on_drop).
///
/// # Cancel safety
/// Awaiting `&mut future` is cancel safe: if you give up the wait, nothing is lost.
///
/// # Panics
/// If you ask again for a result that was already taken, as with any future.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), concurrent_futures::TaskError> {
/// let pool = ThreadPoolExecutor::new(2);
/// let future = pool.submit(u64::pow, (3, 4));
/// assert_eq!(future.await?, 81);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the future lets the task go on unobserved: say so with `detach`"]
pub struct TaskFuture<T>(ResultRef<T>);

/// What [`TaskFuture::abort`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AbortOutcome {
    /// The task had not started, and never will.
    Cancelled,
    /// The task runs where it cannot be ended from outside (on a thread, or behind a promise). It was asked
    /// to stop, and sees this with [`current`](super::current).
    Requested,
    /// The task ran in a worker process, which is being ended. The task will not give a value any more; its
    /// future resolves as [aborted](TaskError::is_aborted) when the process is gone.
    Stopped,
    /// The task was over already.
    Finished,
}

impl<T> TaskFuture<T> {
    pub(super) fn of(result: ResultRef<T>) -> Self {
        Self(result)
    }

    /// The task's id: see [`TaskId`].
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.cell().id()
    }

    /// Whether the task is over, in whatever way: see the example of [`outcome`](Self::outcome).
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.cell().snapshot().is_done()
    }

    /// Whether the task has begun and is not over: see the example of [`outcome`](Self::outcome).
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.cell().is_running()
    }

    /// Whether the task was cancelled before it started: see the example of
    /// [`Waited::cancel_pending`](crate::Waited::cancel_pending).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.outcome() == Some(Outcome::Cancelled)
    }

    /// How the task ended, if it has ended.
    ///
    /// ```
    /// use concurrent_futures::{Outcome, Promise};
    ///
    /// let (promise, future) = Promise::new();
    /// assert!(!future.is_running());
    /// assert!(promise.start());
    /// assert!(future.is_running() && !future.is_done());
    /// promise.fulfil(7).unwrap();
    /// assert!(future.is_done());
    /// assert_eq!(future.outcome(), Some(Outcome::Succeeded));
    /// ```
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.cell().snapshot().outcome()
    }

    /// Blocks until the task is over, and returns its result.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// assert_eq!(pool.submit(u64::pow, (2, 10)).result()?, 1024);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Inside a task
    /// A task may wait for a task of its own thread pool, however few workers the pool has. If the other task
    /// is still queued, it runs here, on this thread, or an extra worker runs it. A task that runs here sees
    /// the thread-locals of the waiting task, including its open borrows of a `RefCell`. The pool sees only
    /// waits of this crate, not those for a lock or a channel.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let inner = pool.clone();
    /// let sum = pool.spawn(move || 1 + inner.spawn(|| 2).result().unwrap());
    /// assert_eq!(sum.result()?, 3);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// - The error of the task.
    /// - [`is_would_block`](TaskError::is_would_block) in async code, where blocking would stop the runtime:
    ///   await the future there. `result` works in tokio's `spawn_blocking` and `block_in_place`.
    /// - [`is_deadlock`](TaskError::is_deadlock) in a task that waits for itself, or for tasks that in turn
    ///   block for it. Each of these tasks that blocks a thread of its own gets this error.
    ///
    /// # Panics
    /// If the result was already taken.
    pub fn result(mut self) -> Result<T, TaskError> {
        self.take_result()
    }

    /// As [`result`](Self::result), for who goes on with the future if the wait is an error.
    pub(crate) fn take_result(&mut self) -> Result<T, TaskError> {
        match self.block_until(Deadline::NEVER)? {
            Some(result) => result,
            None => unreachable!("there is no deadline"),
        }
    }

    /// Blocks like [`result`](Self::result), for at most `limit`. The result is not lost when the limit
    /// passes: ask again, or await it. In a task, nothing else runs on this thread meanwhile. Waiting in a
    /// circle is not an error, since the limit ends it.
    ///
    /// ```
    /// use concurrent_futures::{Clock, Promise};
    /// use std::time::Duration;
    ///
    /// let (promise, mut future) = Promise::new();
    /// let error = future.result_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.clock(), Some(Clock::Wait));
    /// promise.fulfil(7).unwrap();
    /// assert_eq!(future.result_timeout(Duration::ZERO)?, 7);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// The error of the task; [`is_would_block`](TaskError::is_would_block) in async code; and an error with
    /// the clock [`Wait`](Clock::Wait) when the limit passes. A limit of zero asks without blocking.
    ///
    /// # Panics
    /// If the result was already taken.
    pub fn result_timeout(&mut self, limit: Duration) -> Result<T, TaskError> {
        match self.block_until(Deadline::after(limit))? {
            Some(result) => result,
            None => Err(TaskError::timed_out(Clock::Wait, Some(limit))),
        }
    }

    /// Returns the result if the task is over. Never blocks.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, mut future) = Promise::new();
    /// assert!(future.try_result().is_none());
    /// promise.fulfil(7).unwrap();
    /// assert_eq!(future.try_result().unwrap()?, 7);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Panics
    /// If the result was already taken.
    pub fn try_result(&mut self) -> Option<Result<T, TaskError>> {
        self.0.take()
    }

    /// Looks at the error of a task that is over, and leaves it there. Never blocks. `None` also if the task
    /// is not over, or if its result was taken: see [`wait`](crate::wait) for waiting without taking.
    ///
    /// ```
    /// use concurrent_futures::{Executor, InlineExecutor};
    ///
    /// let mut future = InlineExecutor::new().submit(|| -> u8 { panic!("no luck") }, ());
    /// assert!(future.error().is_some_and(|error| error.is_panicked()));
    /// ```
    pub fn error(&mut self) -> Option<&TaskError> {
        self.0.error()
    }

    /// Cancels the task unless it has started. Returns true if the task is cancelled, now or before.
    ///
    /// This call drops what the task's function has captured, and its arguments.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (open, gate) = channel();
    /// let running = pool.spawn(move || gate.recv().unwrap());
    /// let queued = pool.submit(u64::pow, (2, 10));
    /// assert!(queued.cancel());
    /// assert!(queued.result().unwrap_err().is_cancelled());
    /// open.send("go on").unwrap();
    /// assert_eq!(running.result()?, "go on");
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.cell().cancel()
    }

    /// Cancels the task if it has not started, and otherwise stops it or asks it to stop.
    ///
    /// A worker process is ended, with everything that the task has started in its process group, and
    /// replaced when needed. A thread cannot be ended from outside: the task sees the request with
    /// [`task::current`](super::current) and decides. The future resolves when the task has ended.
    ///
    /// ```
    /// use concurrent_futures::{AbortOutcome, Executor, ProcessPoolExecutor};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let future = pool.submit(std::thread::sleep, Duration::from_secs(60));
    /// while !future.is_running() {}
    /// assert_eq!(future.abort(), AbortOutcome::Stopped);
    /// assert!(future.result().unwrap_err().is_aborted());
    /// ```
    pub fn abort(&self) -> AbortOutcome {
        self.cell().abort()
    }

    /// Calls `callback` when the task is over, on the thread on which that happens. If the task is over
    /// already, calls it at once, on this thread.
    ///
    /// Callbacks run in the order in which they were added, before whoever awaits the future is woken (code
    /// that looks at the future just then may see that it is done). They should be short. A panic in one is
    /// logged, and stops neither the others nor the result.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Outcome, ThreadPoolExecutor};
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (tell, told) = channel();
    /// let future = pool.submit(u64::pow, (2, 10));
    /// future.on_done(move |id, outcome| tell.send((id, outcome)).unwrap());
    /// assert_eq!(told.recv().unwrap(), (future.id(), Outcome::Succeeded));
    /// ```
    pub fn on_done(&self, callback: impl FnOnce(TaskId, Outcome) + Send + 'static) {
        self.cell().on_done(Box::new(callback));
    }

    /// From now on, dropping the future cancels the task unless it has started.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, future) = Promise::<u32>::new();
    /// drop(future.cancel_on_drop());
    /// assert!(promise.is_cancelled());
    /// ```
    pub fn cancel_on_drop(self) -> Self {
        self.0.set_flags(state::CANCEL_ON_DROP);
        self
    }

    /// From now on, dropping the future aborts the task: see [`abort`](Self::abort).
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, future) = Promise::<u32>::new();
    /// assert!(promise.start());
    /// drop(future.abort_on_drop());
    /// assert!(promise.is_stop_requested());
    /// ```
    pub fn abort_on_drop(self) -> Self {
        self.0.set_flags(state::ABORT_ON_DROP);
        self
    }

    /// Lets the task go on unobserved, even after [`cancel_on_drop`](Self::cancel_on_drop) or
    /// [`abort_on_drop`](Self::abort_on_drop).
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, future) = Promise::new();
    /// future.cancel_on_drop().detach();
    /// assert!(!promise.is_cancelled());
    /// # promise.fulfil(7).unwrap();
    /// ```
    pub fn detach(self) {
        self.0
            .unset_flags(state::CANCEL_ON_DROP | state::ABORT_ON_DROP);
    }

    /// Turns this into a future of the same result that can be cloned, for several waiters.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, future) = Promise::new();
    /// let first = future.shared();
    /// let second = first.clone();
    /// promise.fulfil(7).unwrap();
    /// assert_eq!((first.result()?, second.result()?), (7, 7));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn shared(self) -> SharedTaskFuture<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        SharedTaskFuture::new(self)
    }

    /// Returns a handle that can stop the task but not take its result: see the example of [`TaskHandle`].
    #[must_use]
    pub fn handle(&self) -> TaskHandle {
        TaskHandle(self.cell().clone())
    }

    pub(crate) fn cell(&self) -> &CellRef {
        self.0.cell()
    }

    /// Asks the task to stop when it likes, and never ends a process for it.
    pub(crate) fn ask_to_stop(&self) {
        self.cell().ask_to_stop();
    }

    pub(super) fn result_ref(&mut self) -> &mut ResultRef<T> {
        &mut self.0
    }

    fn block_until(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<Result<T, TaskError>>, TaskError> {
        let waits_for = |future: &Self| Wait::one(future.cell());
        block_until(deadline, self, Self::poll_result, waits_for)
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        waiting::unlist(self.cell());
        if let Some(result) = self.0.take() {
            return Poll::Ready(result);
        }
        if self.cell().owner().is_copied() {
            return Poll::Ready(Err(TaskError::copied()));
        }
        if self.0.wake_when_done(context.waker()) {
            waiting::list(self.cell(), context.waker());
            return Poll::Pending;
        }
        Poll::Ready(self.0.take().expect("the task is done"))
    }
}

impl<T: Send + 'static> TaskFuture<T> {
    /// A task that runs in this process: the right to run it, and its future.
    pub(crate) fn local(
        job: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
        owner: OwnerId,
        queued_at: u64,
        extras: Option<Box<Extras>>,
    ) -> (Runnable, Self) {
        let (runnable, result) = Runnable::new(job, owner, queued_at, extras);
        (runnable, Self(result))
    }

    /// A task that runs in another process, and its future.
    pub(crate) fn remote(
        decode: Decoder<T>,
        owner: OwnerId,
        queued_at: u64,
        extras: Option<Box<Extras>>,
    ) -> (Remote, Self) {
        let (remote, result) = Remote::new(decode, owner, queued_at, extras);
        (remote, Self(result))
    }

    /// A future that is done from the start.
    pub(crate) fn ready(result: Result<T, TaskError>) -> Self {
        Self(ResultRef::done(result))
    }
}

impl<T> Future for TaskFuture<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_result(context)
    }
}

impl<T> Drop for TaskFuture<T> {
    fn drop(&mut self) {
        waiting::unlist(self.cell());
        let snapshot = self.cell().snapshot();
        if !snapshot.is_done() {
            if snapshot.has(state::ABORT_ON_DROP) {
                self.abort();
            } else if snapshot.has(state::CANCEL_ON_DROP) {
                self.cancel();
            }
        }
    }
}

// A panic can leave nothing half done: whatever a future does is one step of its cell.
impl<T> UnwindSafe for TaskFuture<T> {}
impl<T> RefUnwindSafe for TaskFuture<T> {}
impl UnwindSafe for TaskHandle {}
impl RefUnwindSafe for TaskHandle {}

impl<T> PartialEq for TaskFuture<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T> Eq for TaskFuture<T> {}

impl<T> Hash for TaskFuture<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_task(f, "TaskFuture", self.cell())
    }
}

/// A handle that can watch and stop a task but not take its result.
///
/// ```
/// use concurrent_futures::{AbortOutcome, Promise};
///
/// let (_promise, future) = Promise::<u32>::new();
/// let handle = future.handle();
/// assert_eq!(handle.abort(), AbortOutcome::Cancelled);
/// assert!(future.result().unwrap_err().is_cancelled());
/// ```
#[derive(Clone)]
pub struct TaskHandle(CellRef);

impl TaskHandle {
    pub(super) fn cell(&self) -> &CellRef {
        &self.0
    }

    /// The task's id: see [`TaskId`].
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.id()
    }

    /// Whether the task is over, in whatever way: see the example of [`TaskFuture::outcome`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.snapshot().is_done()
    }

    /// Whether the task has begun and is not over: see the example of [`TaskFuture::outcome`].
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// How the task ended, if it has ended: like [`TaskFuture::outcome`].
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.snapshot().outcome()
    }

    /// Like [`TaskFuture::cancel`].
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Like [`TaskFuture::abort`].
    pub fn abort(&self) -> AbortOutcome {
        self.0.abort()
    }

    /// Like [`TaskFuture::on_done`].
    pub fn on_done(&self, callback: impl FnOnce(TaskId, Outcome) + Send + 'static) {
        self.0.on_done(Box::new(callback));
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_task(f, "TaskHandle", &self.0)
    }
}

impl CellRef {
    fn cancel(&self) -> bool {
        self.finish_queued(TaskError::cancelled)
            || self.snapshot().outcome() == Some(Outcome::Cancelled)
    }

    fn abort(&self) -> AbortOutcome {
        if self.finish_queued(TaskError::cancelled) {
            return AbortOutcome::Cancelled;
        }
        if self.snapshot().is_done() {
            return AbortOutcome::Finished;
        }
        self.request_stop();
        self.end_remotely().unwrap_or(AbortOutcome::Requested)
    }
}

pub(super) fn debug_task(f: &mut fmt::Formatter<'_>, handle: &str, cell: &CellRef) -> fmt::Result {
    f.debug_struct(handle)
        .field("id", &cell.id().get())
        .field("state", &format_args!("{}", cell.snapshot()))
        .finish()
}
