//! Futures in the order in which their tasks finish.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use slab::Slab;

use crate::error::TaskError;
#[cfg(feature = "indicatif")]
use crate::progress::sealed::Tracked;
use crate::task::{Listing, Outcome, Sink, Wait, Waitable, block_until};
use crate::time::{Deadline, Expiry};

/// Yields futures as their tasks finish. This is a [`Stream`]; in blocking code, use `for` over it.
///
/// Takes futures, or pairs of a key of your own and a future. Futures that are done already come first. Each
/// future costs one registration, so a million take linear time, and nothing that was yielded is kept. You
/// can add more at any time with [`push`](AsCompleted::push).
///
/// ```
/// use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), concurrent_futures::TaskError> {
/// let pool = ThreadPoolExecutor::new(2);
/// let mut done = as_completed((1..=3).map(|n| (n, pool.submit(u64::pow, (n, 2)))));
/// while let Some((n, future)) = done.next().await {
///     assert_eq!(future.await?, n * n);
/// }
/// # Ok(())
/// # }
/// ```
pub fn as_completed<I>(futures: I) -> AsCompleted<I::Item>
where
    I: IntoIterator,
    I::Item: Waitable,
{
    let mut set = AsCompleted::new();
    set.extend(futures);
    set
}

/// Futures that are yielded as their tasks finish, made by [`as_completed`].
///
/// # Cancel safety
/// [`next`](Self::next) is cancel safe: a future that was not yielded stays.
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<W: Waitable> {
    futures: Slab<W>,
    /// Keys of finished futures that are given next.
    batch: VecDeque<u32>,
    finished: Arc<Finished>,
    listing: Listing,
    given: usize,
}

/// Where finished tasks report to.
struct Finished(Mutex<Report>);

struct Report {
    keys: VecDeque<u32>,
    waker: Option<Waker>,
}

impl Sink for Finished {
    fn complete(&self, key: u32, _outcome: Outcome) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.keys.push_back(key);
        let waker = report.waker.take();
        drop(report);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<W: Waitable> AsCompleted<W> {
    /// Makes a set without futures.
    ///
    /// ```
    /// use concurrent_futures::{AsCompleted, Executor, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new();
    /// let mut running = AsCompleted::new();
    /// assert!(running.is_empty());
    /// running.push(executor.submit(u64::pow, (2, 10)));
    /// assert_eq!(running.len(), 1);
    /// ```
    pub fn new() -> Self {
        Self {
            futures: Slab::new(),
            batch: VecDeque::new(),
            finished: Arc::new(Finished(Mutex::new(Report {
                keys: VecDeque::new(),
                waker: None,
            }))),
            listing: Listing::default(),
            given: 0,
        }
    }

    /// Adds a future, at any time.
    ///
    /// ```
    /// use concurrent_futures::{as_completed, Executor, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new();
    /// let mut done = as_completed([executor.submit(|| 1, ())]);
    /// done.push(executor.submit(|| 2, ()));
    /// let values: Vec<i32> = done.into_iter().map(|future| future.result().unwrap()).collect();
    /// assert_eq!(values, [1, 2]);
    /// ```
    ///
    /// # Panics
    /// If there are more than 4 294 967 295 futures in the set at once.
    pub fn push(&mut self, future: W) {
        let entry = self.futures.vacant_entry();
        let key = u32::try_from(entry.key()).expect("fewer futures than 32 bits can count");
        let future = entry.insert(future);
        let sink = Arc::clone(&self.finished) as Arc<dyn Sink>;
        if !future.report_when_done(sink, key) {
            self.batch.push_back(key);
        }
    }

    /// How many futures have not been yielded yet: see the example of [`new`](Self::new).
    #[must_use]
    pub fn len(&self) -> usize {
        self.futures.len()
    }

    /// Whether all futures have been yielded: see the example of [`new`](Self::new).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.futures.is_empty()
    }

    /// Waits for the next future whose task finishes; `None` when all have been yielded. See the example of
    /// [`as_completed`].
    ///
    /// # Cancel safety
    /// If you give up the wait, nothing is lost: the future stays.
    pub async fn next(&mut self) -> Option<W> {
        std::future::poll_fn(|context| self.poll_finished(context)).await
    }

    /// Blocks until the next task finishes; `None` when all futures have been yielded.
    ///
    /// ```
    /// use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut done = as_completed((1..=3).map(|n| (n, pool.submit(u64::pow, (n, 2)))));
    /// while let Some((n, future)) = done.blocking_next()? {
    ///     assert_eq!(future.result()?, n * n);
    /// }
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// [`is_would_block`](TaskError::is_would_block) in async code, where blocking would stop the runtime;
    /// nothing is lost.
    pub fn blocking_next(&mut self) -> Result<Option<W>, TaskError> {
        let poll = Self::poll_finished;
        block_until(Deadline::NEVER, self, poll, Self::waits_for).map(Option::flatten)
    }

    /// Ends with an error if `limit`, counted from now, passes before all tasks are over: see the example of
    /// [`AsCompletedTimeout`].
    pub fn timeout(self, limit: Duration) -> AsCompletedTimeout<W> {
        AsCompletedTimeout {
            of: self.len(),
            set: self,
            expiry: Expiry::new(Deadline::after(limit)),
            expired: false,
        }
    }

    /// Returns all futures that are left, done or not.
    ///
    /// ```
    /// use concurrent_futures::{as_completed, Promise};
    ///
    /// let (promise, first) = Promise::new();
    /// let (_never, second) = Promise::new();
    /// let mut done = as_completed([first, second]);
    /// promise.fulfil(1).unwrap();
    /// assert!(done.blocking_next()?.is_some());
    /// for unfinished in done.into_remaining() {
    ///     assert!(unfinished.cancel());
    /// }
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn into_remaining(mut self) -> Vec<W> {
        self.forget_waiters();
        std::mem::take(&mut self.futures)
            .into_iter()
            .map(|(_, future)| future)
            .collect()
    }

    pub(crate) fn waits_for(&self) -> Wait {
        Wait::any(self.futures.iter().map(|(_, future)| future.cell()))
    }

    pub(crate) fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<Option<W>> {
        self.listing.clear();
        let mut waker = None;
        loop {
            if let Some(key) = self.batch.pop_front() {
                self.given += 1;
                return Poll::Ready(Some(self.futures.remove(key as usize)));
            }
            if self.futures.is_empty() {
                return Poll::Ready(None);
            }
            let fresh = waker.take().unwrap_or_else(|| context.waker().clone());
            let mut report = self
                .finished
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if report.keys.is_empty() {
                let previous = report.waker.replace(fresh);
                drop(report);
                // A waker is foreign code, and so is its drop.
                drop(previous);
                let futures = &self.futures;
                self.listing.note(context.waker(), || {
                    Wait::any(futures.iter().map(|(_, future)| future.cell()))
                });
                return Poll::Pending;
            }
            // One lock for all that have finished since the last time.
            std::mem::swap(&mut report.keys, &mut self.batch);
            drop(report);
            waker = Some(fresh);
        }
    }

    fn forget_waiters(&mut self) {
        for (_, future) in &mut self.futures {
            future.forget_waiter();
        }
    }
}

impl<W: Waitable> Default for AsCompleted<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Waitable> Extend<W> for AsCompleted<W> {
    fn extend<I: IntoIterator<Item = W>>(&mut self, futures: I) {
        let futures = futures.into_iter();
        self.futures.reserve(futures.size_hint().0);
        for future in futures {
            self.push(future);
        }
    }
}

impl<W: Waitable> FromIterator<W> for AsCompleted<W> {
    fn from_iter<I: IntoIterator<Item = W>>(futures: I) -> Self {
        as_completed(futures)
    }
}

/// The futures lie on the heap and are never pinned.
impl<W: Waitable> Unpin for AsCompleted<W> {}

impl<W: Waitable> Stream for AsCompleted<W> {
    type Item = W;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<W>> {
        self.poll_finished(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

#[cfg(feature = "indicatif")]
impl<W: Waitable> Tracked for AsCompleted<W> {
    fn given(&self) -> usize {
        self.given
    }

    fn left(&self) -> Option<usize> {
        Some(self.len())
    }
}

impl<W: Waitable> Drop for AsCompleted<W> {
    fn drop(&mut self) {
        self.forget_waiters();
    }
}

impl<W: Waitable> fmt::Debug for AsCompleted<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("len", &self.len())
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

/// An [`AsCompleted`] with a deadline, made by [`AsCompleted::timeout`].
///
/// At the deadline it gives one error, which says how many futures are unfinished, and ends.
/// [`into_remaining`](Self::into_remaining) returns those futures.
///
/// ```
/// use concurrent_futures::{as_completed, Promise};
/// use std::time::Duration;
///
/// let (promise, finished) = Promise::new();
/// let (_promise, unfinished) = Promise::new();
/// promise.fulfil(1).unwrap();
/// let mut done = as_completed([finished, unfinished]).timeout(Duration::from_millis(10));
/// assert!(done.blocking_next().unwrap().is_ok());
/// let error = done.blocking_next().unwrap().unwrap_err();
/// assert_eq!(error.to_string(), "1 (of 2) futures unfinished");
/// assert_eq!(done.into_remaining().len(), 1);
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct AsCompletedTimeout<W: Waitable> {
    set: AsCompleted<W>,
    of: usize,
    expiry: Expiry,
    expired: bool,
}

impl<W: Waitable> AsCompletedTimeout<W> {
    /// Adds a future, at any time, like [`AsCompleted::push`]. The deadline stays.
    ///
    /// # Panics
    /// Like [`AsCompleted::push`].
    pub fn push(&mut self, future: W) {
        self.of += 1;
        self.set.push(future);
    }

    /// Waits for the next future whose task finishes, or gives the error at the deadline; then `None`.
    ///
    /// ```
    /// use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), concurrent_futures::TaskError> {
    /// let pool = ThreadPoolExecutor::new(2);
    /// let futures = (1..=3).map(|n| pool.submit(u64::pow, (n, 2)));
    /// let mut done = as_completed(futures).timeout(Duration::from_secs(60));
    /// let mut sum = 0;
    /// while let Some(future) = done.next().await {
    ///     sum += future?.await?;
    /// }
    /// assert_eq!(sum, 14);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// At the deadline, an error with the clock [`Wait`](crate::Clock::Wait).
    ///
    /// # Cancel safety
    /// If you give up the wait, nothing is lost: the future stays.
    pub async fn next(&mut self) -> Option<Result<W, TaskError>> {
        std::future::poll_fn(|context| self.poll_finished(context)).await
    }

    /// Blocks until the next task finishes, at most until the deadline. See the example of
    /// [`AsCompletedTimeout`].
    ///
    /// # Errors
    /// At the deadline, an error with the clock [`Wait`](crate::Clock::Wait), which is the last item; or
    /// [`is_would_block`](TaskError::is_would_block) in async code, where blocking would stop the runtime. In
    /// that case nothing is lost.
    pub fn blocking_next(&mut self) -> Option<Result<W, TaskError>> {
        let deadline = self.expiry.deadline();
        let waits_for = |this: &Self| this.set.waits_for();
        match block_until(deadline, self, Self::poll_set, waits_for) {
            Ok(Some(next)) => next,
            Ok(None) => Some(Err(self.expire())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Returns all futures that are left, done or not. See the example of [`AsCompletedTimeout`].
    pub fn into_remaining(self) -> Vec<W> {
        self.set.into_remaining()
    }

    fn poll_set(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<W, TaskError>>> {
        if self.expired {
            return Poll::Ready(None);
        }
        self.set.poll_finished(context).map(|future| future.map(Ok))
    }

    fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<W, TaskError>>> {
        if let Poll::Ready(next) = self.poll_set(context) {
            return Poll::Ready(next);
        }
        match self.expiry.poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(self.expire()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn expire(&mut self) -> TaskError {
        self.expired = true;
        self.set.listing.clear();
        TaskError::unfinished(self.set.len(), self.of)
    }
}

impl<W: Waitable> Stream for AsCompletedTimeout<W> {
    type Item = Result<W, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_finished(context)
    }
}

#[cfg(feature = "indicatif")]
impl<W: Waitable> Tracked for AsCompletedTimeout<W> {
    fn given(&self) -> usize {
        self.set.given
    }

    fn left(&self) -> Option<usize> {
        Some(self.set.len())
    }
}

impl<W: Waitable> fmt::Debug for AsCompletedTimeout<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompletedTimeout")
            .field("len", &self.set.len())
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}
