//! Waiting for several futures at once.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::TaskError;
use crate::task::{Listing, Outcome, Sink, Wait as WaitsFor, Waitable, Waits, block_until};
use crate::time::{Deadline, Expiry};

/// Waits for futures: for all of them, unless [`first_completed`](Wait::first_completed) or
/// [`first_error`](Wait::first_error) says otherwise.
///
/// Takes futures, pairs of a key and a future, or `&mut` futures to wait without giving them away. Returns
/// them in two parts, those that are done and those that are not, each in the order of the input. This costs
/// one registration for each future, whatever the order in which they finish.
///
/// ```
/// use concurrent_futures::{wait, Executor, ThreadPoolExecutor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), concurrent_futures::TaskError> {
/// let pool = ThreadPoolExecutor::new(2);
/// let futures: Vec<_> = (1..=3).map(|n| pool.submit(u64::pow, (n, 2))).collect();
/// let waited = wait(futures).await;
/// assert!(waited.pending.is_empty());
/// for (future, square) in waited.done.into_iter().zip([1, 4, 9]) {
///     assert_eq!(future.await?, square);
/// }
/// # Ok(())
/// # }
/// ```
pub fn wait<I>(futures: I) -> Wait<I::Item>
where
    I: IntoIterator,
    I::Item: Waitable,
{
    Wait {
        futures: futures.into_iter().collect(),
        until: Until::AllCompleted,
        deadline: Deadline::NEVER,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    AllCompleted,
    FirstCompleted,
    FirstError,
}

/// A wait that has not begun, made by [`wait`]: `.await` it, or call [`blocking_wait`](Self::blocking_wait).
#[must_use = "nothing is waited for until it is awaited, or `blocking_wait` is called"]
pub struct Wait<W> {
    futures: Vec<W>,
    until: Until,
    deadline: Deadline,
}

impl<W: Waitable> Wait<W> {
    /// Waits until at least one future is done: see the example of [`blocking_wait`](Self::blocking_wait).
    pub fn first_completed(mut self) -> Self {
        self.until = Until::FirstCompleted;
        self
    }

    /// Waits until a future is done with an error, or all are done. A cancellation is not an error here:
    /// somebody wanted it.
    ///
    /// ```
    /// use concurrent_futures::{wait, Promise};
    ///
    /// let (promise, first) = Promise::<u32>::new();
    /// let (_never, second) = Promise::<u32>::new();
    /// drop(promise);
    /// let mut waited = wait([first, second]).first_error().blocking_wait()?;
    /// assert!(waited.done[0].error().unwrap().is_abandoned());
    /// assert_eq!(waited.pending.len(), 1);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn first_error(mut self) -> Self {
        self.until = Until::FirstError;
        self
    }

    /// Waits no longer than `limit` from now. Futures that are not done by then are in [`Waited::pending`],
    /// and their tasks go on. See the example of [`Waited::cancel_pending`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.deadline = Deadline::after(limit);
        self
    }

    /// Blocks the thread.
    ///
    /// ```
    /// use concurrent_futures::{wait, Promise};
    /// use std::time::Duration;
    ///
    /// let (promise, future) = Promise::new();
    /// let (_never, other) = Promise::new();
    /// promise.fulfil(1).unwrap();
    /// let waited = wait([("first", future), ("second", other)])
    ///     .first_completed()
    ///     .timeout(Duration::from_secs(5))
    ///     .blocking_wait()?;
    /// assert_eq!(waited.done[0].0, "first");
    /// assert_eq!(waited.pending[0].0, "second");
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// In async code, where blocking would stop the runtime; await the wait there. To keep the futures in
    /// that case, pass them as `&mut`.
    pub fn blocking_wait(self) -> Result<Waited<W>, TaskError> {
        let deadline = self.deadline;
        let mut waiting = Waiting::new(self);
        let poll = Waiting::poll_until_enough;
        block_until(deadline, &mut waiting, poll, Waiting::waits_for)?;
        Ok(waiting.part())
    }
}

impl<W: Waitable> IntoFuture for Wait<W> {
    type Output = Waited<W>;
    type IntoFuture = Waiting<W>;

    fn into_future(self) -> Waiting<W> {
        Waiting::new(self)
    }
}

impl<W> fmt::Debug for Wait<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("futures", &self.futures.len())
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// What a [`wait`] returns, each part in the order of the input: see the example of [`Wait::blocking_wait`].
#[derive(Debug)]
pub struct Waited<W> {
    /// The futures whose tasks are over: awaiting one gives its result at once.
    pub done: Vec<W>,
    /// The futures whose tasks are not over.
    pub pending: Vec<W>,
}

impl<W: Waitable> Waited<W> {
    /// Cancels the pending tasks that have not started: see
    /// [`TaskFuture::cancel`](crate::TaskFuture::cancel).
    ///
    /// ```
    /// use concurrent_futures::{wait, Promise};
    /// use std::time::Duration;
    ///
    /// let (promise, first) = Promise::new();
    /// let (_never, second) = Promise::new();
    /// promise.fulfil(1).unwrap();
    /// let waited = wait([first, second]).timeout(Duration::from_millis(10)).blocking_wait()?;
    /// waited.cancel_pending();
    /// assert!(waited.pending[0].is_cancelled());
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn cancel_pending(&self) {
        for future in &self.pending {
            Waits::cancel(future);
        }
    }

    /// Aborts the pending tasks: see [`TaskFuture::abort`](crate::TaskFuture::abort).
    ///
    /// ```
    /// use concurrent_futures::{wait, Promise};
    ///
    /// let (promise, first) = Promise::new();
    /// let (_never, second) = Promise::new();
    /// promise.fulfil(1).unwrap();
    /// let waited = wait([first, second]).first_completed().blocking_wait()?;
    /// waited.abort_pending();
    /// assert!(waited.pending[0].is_cancelled());
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn abort_pending(&self) {
        for future in &self.pending {
            Waits::abort(future);
        }
    }
}

/// A wait that has begun: a [`Wait`] becomes this when it is awaited.
///
/// ```
/// use concurrent_futures::{wait, Promise, Waiting};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (promise, future) = Promise::new();
/// let mut waiting: Waiting<_> = wait([future]).into_future();
/// tokio::select! {
///     biased;
///     _ = &mut waiting => unreachable!("nothing was promised yet"),
///     _ = tokio::task::yield_now() => promise.fulfil(7).unwrap(),
/// }
/// assert_eq!(waiting.await.done.len(), 1);
/// # }
/// ```
///
/// # Cancel safety
/// Dropping it drops the futures that it was given by value. To keep them, pass `&mut` futures.
#[must_use = "futures do nothing unless polled"]
pub struct Waiting<W: Waitable> {
    futures: Vec<W>,
    expiry: Expiry,
    countdown: Arc<Countdown>,
    registered: bool,
    listing: Listing,
}

/// Counts the futures down, and wakes once, when there is nothing more to wait for.
struct Countdown {
    until: Until,
    left: AtomicUsize,
    enough: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Countdown {
    /// What a wait for these futures waits for.
    fn waits_for<W: Waitable>(&self, futures: &[W]) -> WaitsFor {
        let tasks = futures.iter().map(Waits::cell);
        match self.until {
            Until::AllCompleted => WaitsFor::all(tasks),
            Until::FirstError => WaitsFor::most(tasks),
            Until::FirstCompleted => WaitsFor::any(tasks),
        }
    }

    /// One more future is done. True if that is enough.
    fn count(&self, outcome: Outcome) -> bool {
        // AcqRel: the last one to count has seen what all before it have done.
        let last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        last || match self.until {
            Until::AllCompleted => false,
            Until::FirstCompleted => true,
            Until::FirstError => outcome.is_error(),
        }
    }
}

impl Sink for Countdown {
    fn complete(&self, _key: u32, outcome: Outcome) {
        if self.count(outcome) {
            // Release, and before the lock: the one who waits stores its waker under the lock and
            // then looks at this flag, so that it either sees the flag or is woken.
            self.enough.store(true, Ordering::Release);
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<W: Waitable> Waiting<W> {
    fn new(wait: Wait<W>) -> Self {
        Self {
            countdown: Arc::new(Countdown {
                until: wait.until,
                left: AtomicUsize::new(wait.futures.len()),
                enough: AtomicBool::new(wait.futures.is_empty()),
                waker: Mutex::new(None),
            }),
            futures: wait.futures,
            expiry: Expiry::new(wait.deadline),
            registered: false,
            listing: Listing::default(),
        }
    }

    fn register(&mut self) {
        self.registered = true;
        for future in &mut self.futures {
            let sink = Arc::clone(&self.countdown) as Arc<dyn Sink>;
            if !future.report_when_done(sink, 0) {
                let outcome = Waits::outcome(future).expect("the task is done");
                if self.countdown.count(outcome) {
                    self.countdown.enough.store(true, Ordering::Release);
                }
            }
        }
    }

    fn waits_for(&self) -> WaitsFor {
        self.countdown.waits_for(&self.futures)
    }

    fn poll_until_enough(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.listing.clear();
        if !self.registered {
            self.register();
        }
        let waker = context.waker().clone();
        let previous = self
            .countdown
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(waker);
        drop(previous);
        // Acquire: pairs with the release in `complete`.
        if self.countdown.enough.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn part(&mut self) -> Waited<W> {
        self.forget_waiters();
        let (done, pending) = std::mem::take(&mut self.futures)
            .into_iter()
            .partition(|future| Waits::outcome(future).is_some());
        Waited { done, pending }
    }

    fn forget_waiters(&mut self) {
        if self.registered {
            for future in &mut self.futures {
                future.forget_waiter();
            }
        }
    }
}

/// The futures lie on the heap and are never pinned.
impl<W: Waitable> Unpin for Waiting<W> {}

impl<W: Waitable> Future for Waiting<W> {
    type Output = Waited<W>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Waited<W>> {
        if self.poll_until_enough(context).is_ready() || self.expiry.poll(context).is_ready() {
            return Poll::Ready(self.part());
        }
        let Self {
            futures,
            countdown,
            listing,
            ..
        } = &mut *self;
        listing.note(context.waker(), || countdown.waits_for(futures));
        Poll::Pending
    }
}

impl<W: Waitable> Drop for Waiting<W> {
    fn drop(&mut self) {
        self.forget_waiters();
    }
}

impl<W: Waitable> fmt::Debug for Waiting<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("futures", &self.futures.len())
            .field("until", &self.countdown.until)
            .finish_non_exhaustive()
    }
}
