//! Groups: several tasks that are waited for together, and stopped together.
//!
//! A group owns the tasks that it was given. Always: when it has ended, whichever way, and when it is
//! dropped before, each of its tasks is over or was told to stop, since nobody is left to take what it
//! would give.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::as_completed::AsCompleted;
use crate::error::TaskError;
use crate::task::{Waitable, Waits, block_until};
use crate::time::{Deadline, Expiry};

/// Waits for the values of all futures, in the order of the input, or for the first error, which stops the
/// rest. Await it, or call [`blocking_wait`](TryJoinAll::blocking_wait).
///
/// The first error is the first in time; of errors that are there from the start, it is the first in the
/// input. Its [`index`](TaskError::index) says which future it belongs to. Everything but a value is an error
/// here, even a cancellation. Later errors are dropped.
///
/// The rest is stopped as by [`TaskFuture::abort`](crate::TaskFuture::abort): tasks that have not started
/// never run, tasks that run in a worker process are ended, and tasks that run on a thread are asked to stop.
/// The group does not wait for the end of those tasks; pass `&mut` futures to see it. The same happens if
/// this future is dropped before it is done. This costs one registration for each future, whatever the order
/// in which they finish.
///
/// ```
/// use concurrent_futures::{try_join_all, Executor, TaskError, ThreadPoolExecutor};
///
/// fn half(number: u32) -> Result<u32, String> {
///     if number % 2 == 0 { Ok(number / 2) } else { Err(format!("{number} is odd")) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), TaskError> {
/// let pool = ThreadPoolExecutor::new(2);
/// let halves = try_join_all([4, 2, 6].map(|number| pool.try_submit(half, number))).await?;
/// assert_eq!(halves, [2, 1, 3]);
///
/// let error = try_join_all([4, 3, 6].map(|number| pool.try_submit(half, number))).await.unwrap_err();
/// assert_eq!(error.index(), Some(1));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The first error of a task, of whatever kind, or the error of a [`timeout`](TryJoinAll::timeout).
///
/// # Cancel safety
/// Not cancel safe: dropping the future stops the tasks, and drops the values that are there.
pub fn try_join_all<I, T>(futures: I) -> TryJoinAll<I::Item>
where
    I: IntoIterator,
    I::Item: Waitable + Future<Output = Result<T, TaskError>> + Unpin,
{
    let group = Group::new(futures);
    TryJoinAll {
        results: Some((0..group.of).map(|_| None).collect()),
        group,
    }
}

/// Waits for the first future that gives a value, and stops the rest. Await it, or call
/// [`blocking_wait`](SelectOk::blocking_wait).
///
/// The first value is the first in time; of values that are there from the start, it is the first in the
/// input. The rest is stopped as by [`try_join_all`], even if this future is dropped before it is done. This
/// costs one registration for each future, whatever the order in which they finish.
///
/// ```
/// use concurrent_futures::{select_ok, Executor, TaskError, ThreadPoolExecutor};
///
/// fn ask(server: String) -> Result<String, String> {
///     if server == "north" { Err("no answer".to_owned()) } else { Ok(format!("{server} is up")) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), TaskError> {
/// let pool = ThreadPoolExecutor::new(2);
/// let submit = |server: &str| pool.try_submit(ask, server.to_owned());
/// assert_eq!(select_ok([submit("north"), submit("south")]).await?, "south is up");
///
/// let error = select_ok([submit("north"), submit("north")]).await.unwrap_err();
/// assert!(error.is_all_failed());
/// assert_eq!(error.to_string(), "none of 2 futures succeeded");
/// assert!(error.errors().iter().all(|error| error.message().unwrap() == "no answer"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If all futures have failed, or if there are none, an error of the kind
/// [`AllFailed`](crate::ErrorKind::AllFailed), which keeps [all their errors](TaskError::errors).
///
/// # Cancel safety
/// Not cancel safe: dropping the future stops the tasks.
pub fn select_ok<I, T>(futures: I) -> SelectOk<I::Item>
where
    I: IntoIterator,
    I::Item: Waitable + Future<Output = Result<T, TaskError>> + Unpin,
{
    SelectOk {
        group: Group::new(futures),
        errors: Some(Vec::new()),
    }
}

/// All values, or the first error; made by [`try_join_all`].
///
/// # Panics
/// If it is polled after it was done.
#[must_use = "dropping a group stops its tasks"]
pub struct TryJoinAll<W: Waitable + Future> {
    group: Group<W>,
    /// In the order of the input; none any more once the group has ended.
    results: Option<Vec<Option<W::Output>>>,
}

/// The first value, or the errors of all; made by [`select_ok`].
///
/// # Panics
/// If it is polled after it was done.
#[must_use = "dropping a group stops its tasks"]
pub struct SelectOk<W: Waitable + Future> {
    group: Group<W>,
    /// By time; none any more once the group has ended.
    errors: Option<Vec<TaskError>>,
}

impl<W, T> TryJoinAll<W>
where
    W: Waitable + Future<Output = Result<T, TaskError>> + Unpin,
{
    /// Sets a deadline for the whole group, `limit` from now. If values are missing by then, all tasks that
    /// are not over are stopped, and the error says how many futures were unfinished.
    ///
    /// ```
    /// use concurrent_futures::{try_join_all, Clock, Promise};
    /// use std::time::Duration;
    ///
    /// let (promise, first) = Promise::new();
    /// let (_never, second) = Promise::new();
    /// promise.fulfil(1).unwrap();
    /// let both = try_join_all([first, second]).timeout(Duration::from_millis(10));
    /// let error = both.blocking_wait().unwrap_err();
    /// assert_eq!(error.clock(), Some(Clock::Wait));
    /// assert_eq!(error.to_string(), "1 (of 2) futures unfinished");
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.group.expiry = Expiry::new(Deadline::after(limit));
        self
    }

    /// Blocks the thread: see the example of [`timeout`](Self::timeout).
    ///
    /// # Errors
    /// The first error of a task; the error of the deadline; or [`is_would_block`](TaskError::is_would_block)
    /// in async code, where blocking would stop the runtime. Each of them stops the tasks.
    pub fn blocking_wait(mut self) -> Result<Vec<T>, TaskError> {
        let deadline = self.group.expiry.deadline();
        let waits_for = |this: &Self| this.group.set.waits_for().each();
        match block_until(deadline, &mut self, Self::poll_end, waits_for)? {
            Some(end) => end,
            None => Err(self.expire()),
        }
    }

    fn expire(&mut self) -> TaskError {
        self.results = None;
        self.group.expire()
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<T>, TaskError>> {
        let results = self.results.as_mut().expect("polled after it was done");
        while let Some((index, result)) = ready!(self.group.poll_next(context)) {
            if let Err(error) = result {
                self.results = None;
                self.group.stop();
                return Poll::Ready(Err(error.at_index(index)));
            }
            results[index] = Some(result);
        }
        let results = self.results.take().into_iter().flatten();
        Poll::Ready(
            results
                .map(|result| result.expect("given once each"))
                .collect(),
        )
    }
}

impl<W, T> SelectOk<W>
where
    W: Waitable + Future<Output = Result<T, TaskError>> + Unpin,
{
    /// Like [`TryJoinAll::timeout`]: if there is no value `limit` from now, all tasks that are not over are
    /// stopped, and the error says how many futures were unfinished. It keeps the [errors](TaskError::errors)
    /// of the others.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.group.expiry = Expiry::new(Deadline::after(limit));
        self
    }

    /// Blocks the thread.
    ///
    /// ```
    /// use concurrent_futures::{select_ok, InlineExecutor, Executor};
    ///
    /// let executor = InlineExecutor::new();
    /// let lost = executor.submit(|| -> u32 { panic!("no luck") }, ());
    /// let won = executor.submit(|| 7, ());
    /// assert_eq!(select_ok([lost, won]).blocking_wait()?, 7);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// The error of [`select_ok`]; the error of the deadline; or
    /// [`is_would_block`](TaskError::is_would_block) in async code, where blocking would stop the runtime.
    /// Each of them stops the tasks.
    pub fn blocking_wait(mut self) -> Result<T, TaskError> {
        let deadline = self.group.expiry.deadline();
        let waits_for = |this: &Self| this.group.set.waits_for();
        match block_until(deadline, &mut self, Self::poll_end, waits_for)? {
            Some(end) => end,
            None => Err(self.expire()),
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        let errors = self.errors.as_mut().expect("polled after it was done");
        while let Some((index, result)) = ready!(self.group.poll_next(context)) {
            match result {
                Ok(value) => {
                    self.errors = None;
                    self.group.stop();
                    return Poll::Ready(Ok(value));
                }
                Err(error) => errors.push(error.at_index(index)),
            }
        }
        let errors = self.errors.take().unwrap_or_default();
        Poll::Ready(Err(TaskError::all_failed(errors)))
    }

    fn expire(&mut self) -> TaskError {
        let errors = self.errors.take().unwrap_or_default();
        self.group.expire().beside(errors)
    }
}

impl<W, T> Future for TryJoinAll<W>
where
    W: Waitable + Future<Output = Result<T, TaskError>> + Unpin,
{
    type Output = Result<Vec<T>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.poll_end(context) {
            Poll::Pending => self.group.expiry.poll(context).map(|()| Err(self.expire())),
            end @ Poll::Ready(_) => end,
        }
    }
}

impl<W, T> Future for SelectOk<W>
where
    W: Waitable + Future<Output = Result<T, TaskError>> + Unpin,
{
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.poll_end(context) {
            Poll::Pending => self.group.expiry.poll(context).map(|()| Err(self.expire())),
            end @ Poll::Ready(_) => end,
        }
    }
}

/// What is not pinned anywhere: futures are polled where they lie, and may be moved.
impl<W: Waitable + Future> Unpin for TryJoinAll<W> {}
impl<W: Waitable + Future> Unpin for SelectOk<W> {}

impl<W: Waitable + Future> fmt::Debug for TryJoinAll<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.debug(f, "TryJoinAll")
    }
}

impl<W: Waitable + Future> fmt::Debug for SelectOk<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.debug(f, "SelectOk")
    }
}

/// Tasks that are stopped together.
struct Group<W: Waitable> {
    /// With their places in the input.
    set: AsCompleted<(usize, W)>,
    of: usize,
    /// The future that is asked for its result, where another clone of it is just taking that over.
    finished: Option<(usize, W)>,
    expiry: Expiry,
}

impl<W: Waitable> Group<W> {
    fn new(futures: impl IntoIterator<Item = W>) -> Self {
        let set: AsCompleted<_> = futures.into_iter().enumerate().collect();
        Self {
            of: set.len(),
            set,
            finished: None,
            expiry: Expiry::new(Deadline::NEVER),
        }
    }

    /// Stops what is not over.
    fn stop(&mut self) {
        let rest = std::mem::take(&mut self.set).into_remaining();
        // Before anything ends and makes room for what is queued.
        for (_, future) in &rest {
            Waits::cancel(future);
        }
        for (_, future) in &rest {
            Waits::abort(future);
        }
    }

    /// Stops what is not over, and says how much that was.
    fn expire(&mut self) -> TaskError {
        let left = self.set.len() + usize::from(self.finished.is_some());
        self.stop();
        TaskError::unfinished(left, self.of)
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("left", &self.set.len())
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}

impl<W: Waitable + Future + Unpin> Group<W> {
    /// The next result, by time, and its place in the input.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, W::Output)>> {
        loop {
            if let Some((index, future)) = &mut self.finished {
                let result = ready!(Pin::new(future).poll(context));
                let index = *index;
                self.finished = None;
                return Poll::Ready(Some((index, result)));
            }
            match ready!(self.set.poll_finished(context)) {
                None => return Poll::Ready(None),
                next => self.finished = next,
            }
        }
    }
}

impl<W: Waitable> Drop for Group<W> {
    fn drop(&mut self) {
        self.stop();
    }
}
