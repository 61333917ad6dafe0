//! What an executor counts, as one consistent picture.

use std::fmt;
use std::time::Duration;

use histogram::Histogram;

use crate::task::Outcome;

/// Times are counted in nanoseconds up to 2^47, which is about 39 hours, with at most 1.6 % error.
pub(crate) const GROUPING_POWER: u8 = 6;
pub(crate) const MAX_VALUE_POWER: u8 = 47;

/// The counters of an executor at one moment, made by its `stats()`.
///
/// At every moment, even under load, each submitted task is queued, running, or finished with exactly one
/// [`Outcome`]. A chunk of a map is one task here, and succeeds even if an item of it fails.
///
/// ```
/// use concurrent_futures::{Executor, Outcome, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// pool.submit(u64::pow, (2, 10)).result()?;
/// let stats = pool.stats();
/// assert_eq!(stats.submitted(), 1);
/// assert_eq!(stats.rejected(), 0);
/// assert_eq!((stats.workers(), stats.max_workers()), (1, 2));
/// assert_eq!(stats.finished_with(Outcome::Succeeded), 1);
/// assert_eq!(stats.queued() + stats.running() + stats.finished(), stats.submitted());
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone)]
pub struct Stats {
    pub(crate) submitted: u64,
    pub(crate) taken: u64,
    pub(crate) finished: [u64; Outcome::COUNT],
    pub(crate) rejected: u64,
    pub(crate) retried: u64,
    pub(crate) occupied: usize,
    pub(crate) workers: usize,
    pub(crate) idle: usize,
    pub(crate) blocked: usize,
    pub(crate) extra_workers: usize,
    pub(crate) max_workers: usize,
    pub(crate) waiting_times: Times,
    pub(crate) running_times: Times,
}

impl Stats {
    /// Of an executor that does nothing.
    pub(crate) fn none(max_workers: usize) -> Self {
        Self {
            submitted: 0,
            taken: 0,
            finished: [0; Outcome::COUNT],
            rejected: 0,
            retried: 0,
            occupied: 0,
            workers: 0,
            idle: 0,
            blocked: 0,
            extra_workers: 0,
            max_workers,
            waiting_times: Times::none(),
            running_times: Times::none(),
        }
    }

    /// Tasks that the executor has taken. See the example of [`Stats`].
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Tasks that wait for a worker. See the example of [`Stats`].
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.submitted - self.taken
    }

    /// Tasks that run and whose futures wait for them. See the example of [`Stats`].
    #[must_use]
    pub fn running(&self) -> u64 {
        self.taken - self.finished()
    }

    /// Tasks that are over, in whatever way. See the example of [`Stats`].
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.finished.iter().sum()
    }

    /// Tasks that ended in this way. See the example of [`Stats`].
    #[must_use]
    pub fn finished_with(&self, outcome: Outcome) -> u64 {
        self.finished[outcome as usize]
    }

    /// Tasks that the executor did not take. They are not counted as submitted. See the example of [`Stats`].
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// How often a task, or an item of a map, was run again because it was lost with its worker: see
    /// [`TaskOptions::retries`](crate::TaskOptions::retries).
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, TaskOptions};
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let twice = pool.with(TaskOptions::new().retries(1));
    /// assert!(twice.submit(|| -> u32 { std::process::abort() }, ()).result().is_err());
    /// assert_eq!(pool.stats().retried(), 1);
    /// ```
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// Running bodies, including those whose task's time is over. Several may be on one thread: a task that
    /// waits for another task of its pool may run it in place.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let inner = pool.clone();
    /// let stats = pool.spawn(move || inner.stats()).result()?;
    /// assert_eq!((stats.workers(), stats.occupied(), stats.idle()), (1, 1, 0));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use]
    pub fn occupied(&self) -> usize {
        self.occupied
    }

    /// Workers that exist, except [extra](Self::extra_workers) ones. See the example of [`Stats`].
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Workers that look or wait for work, including those that are about to begin. See the example of
    /// [`occupied`](Self::occupied).
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// Workers of a thread pool that are in a wait of this crate: for tasks of this or another pool, for a
    /// place, or for the end of a pool. See the example of [`extra_workers`](Self::extra_workers).
    #[must_use]
    pub fn blocked(&self) -> usize {
        self.blocked
    }

    /// Workers that a thread pool has beside [its own](Self::workers), each for one task. The pool gets one
    /// when all its workers wait and none of them could go on otherwise. It ends soon after the task.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let inner = pool.clone();
    /// let seen = pool.spawn(move || {
    ///     let counting = inner.clone();
    ///     // With a limit it does not run in place, and the only worker waits here.
    ///     let mut child = inner.spawn(move || counting.stats());
    ///     child.result_timeout(Duration::from_secs(60)).unwrap()
    /// });
    /// let stats = seen.result()?;
    /// assert_eq!((stats.blocked(), stats.extra_workers()), (1, 1));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use]
    pub fn extra_workers(&self) -> usize {
        self.extra_workers
    }

    /// Workers that may exist at the same time, except [extra](Self::extra_workers) ones. See the example of
    /// [`Stats`].
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.max_workers
    }

    /// How long tasks waited for a worker. This is measured for one task in sixteen, or for every task if the
    /// pool has an observer. For processes, it is measured for tasks that ran to their end. See the example
    /// of [`Times`].
    #[must_use]
    pub fn waiting_times(&self) -> &Times {
        &self.waiting_times
    }

    /// How long bodies ran, measured for each of them: see the example of [`Times`].
    #[must_use]
    pub fn running_times(&self) -> &Times {
        &self.running_times
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = Finished(&self.finished);
        f.debug_struct("Stats")
            .field("submitted", &self.submitted)
            .field("queued", &self.queued())
            .field("running", &self.running())
            .field("finished", &finished)
            .field("rejected", &self.rejected)
            .field("retried", &self.retried)
            .field("occupied", &self.occupied)
            .field("workers", &self.workers)
            .field("idle", &self.idle)
            .field("blocked", &self.blocked)
            .field("extra_workers", &self.extra_workers)
            .field("max_workers", &self.max_workers)
            .field("waiting_times", &self.waiting_times)
            .field("running_times", &self.running_times)
            .finish()
    }
}

/// The outcomes that there were, by name.
struct Finished<'a>(&'a [u64; Outcome::COUNT]);

impl fmt::Debug for Finished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (0..).zip(self.0).filter(|(_, count)| **count > 0);
        f.debug_map()
            .entries(counts.map(|(bits, count)| (Outcome::from_bits(bits), count)))
            .finish()
    }
}

/// A distribution of times.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(1);
/// for _ in 0..100 {
///     pool.submit(u64::pow, (2, 10)).result()?;
/// }
/// let stats = pool.stats();
/// assert_eq!(stats.running_times().count(), 100);
/// assert!(stats.running_times().quantile(0.5) < Some(Duration::from_secs(1)));
/// assert!(stats.waiting_times().count() <= 100);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone)]
pub struct Times(pub(crate) Histogram);

impl Times {
    pub(crate) fn none() -> Self {
        let histogram = Histogram::new(GROUPING_POWER, MAX_VALUE_POWER);
        Self(histogram.expect("the powers are valid"))
    }

    /// How many times were measured: see the example of [`Times`].
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_slice().iter().sum()
    }

    /// The time that this share of all times does not exceed: `0.5` is the median. `None` if nothing was
    /// measured, or if `share` is not between 0 and 1.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// pool.submit(u64::pow, (2, 10)).result()?;
    /// assert!(pool.stats().running_times().quantile(0.99).is_some());
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let bucket = self.0.quantile_bucket(share).ok().flatten()?;
        Some(Duration::from_nanos(bucket.end()))
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times")
            .field("count", &self.count())
            .field("median", &self.quantile(0.5))
            .field("most", &self.quantile(1.0))
            .finish()
    }
}
