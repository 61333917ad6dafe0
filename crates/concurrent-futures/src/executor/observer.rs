//! What an executor tells an observer about its tasks, as it happens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "metrics")]
use super::metrics::{Metrics, Snapshot};
use crate::panic;
use crate::task::{Outcome, TaskInfo};

/// The number of a worker in its pool: the lowest number that was free when the worker began. See the example
/// of [`Observer::started`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub(crate) usize);

impl WorkerId {
    /// The number, from 0: see the example of [`Observer::started`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where and how long a task ran: see the example of [`Observer::finished`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub(crate) worker: WorkerId,
    pub(crate) time: Duration,
}

impl Run {
    /// The worker that ran it: see the example of [`Observer::finished`].
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// How long its body ran: see the example of [`Observer::finished`].
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }
}

/// Learns what happens to the tasks of an executor, for metrics and logs.
///
/// The calls come from submitting threads and from workers, several at a time, and hold these up, so they
/// should be short. A panic in one is logged and otherwise ignored. A pool without an observer pays nothing
/// for it.
///
/// ```
/// use concurrent_futures::{Executor, Observer, Outcome, Run, TaskInfo, ThreadPoolExecutor};
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn finished(&self, _task: TaskInfo<'_>, outcome: Outcome, _run: Option<Run>) {
///         if outcome.is_error() {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let failures = Arc::new(Failures::default());
/// let pool = ThreadPoolExecutor::builder().max_workers(1).observer(failures.clone()).build()?;
/// assert!(pool.submit(|| -> u8 { panic!("no luck") }, ()).result().is_err());
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), concurrent_futures::BuildError>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// The executor has taken a task. This may come after the task has started.
    ///
    /// ```
    /// use concurrent_futures::{Observer, TaskInfo};
    ///
    /// struct Log;
    ///
    /// impl Observer for Log {
    ///     fn queued(&self, task: TaskInfo<'_>) {
    ///         println!("task {} {:?} is queued", task.id(), task.name());
    ///     }
    /// }
    /// ```
    fn queued(&self, task: TaskInfo<'_>) {
        let _ = task;
    }

    /// A worker begins a task that has waited for it for `waited`. For a worker process, this call comes a
    /// moment earlier: a task that is cancelled in between has started here, but never runs.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Observer, TaskInfo, ThreadPoolExecutor, WorkerId};
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// /// How many tasks each worker has begun.
    /// #[derive(Default)]
    /// struct Begun([AtomicU64; 4]);
    ///
    /// impl Observer for Begun {
    ///     fn started(&self, _task: TaskInfo<'_>, worker: WorkerId, _waited: Duration) {
    ///         self.0[worker.index()].fetch_add(1, Relaxed);
    ///     }
    /// }
    ///
    /// let begun = Arc::new(Begun::default());
    /// let pool = ThreadPoolExecutor::builder().max_workers(4).observer(begun.clone()).build()?;
    /// pool.submit(u64::pow, (2, 10)).result()?;
    /// assert_eq!(begun.0[0].load(Relaxed), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn started(&self, task: TaskInfo<'_>, worker: WorkerId, waited: Duration) {
        let _ = (task, worker, waited);
    }

    /// A task is over, and its future resolves when this returns. `run` is present if a worker has run the
    /// task to its end.
    ///
    /// ```
    /// use concurrent_futures::{Observer, Outcome, Run, TaskInfo};
    /// use std::time::Duration;
    ///
    /// /// Logs the tasks that took long.
    /// struct Slow(Duration);
    ///
    /// impl Observer for Slow {
    ///     fn finished(&self, task: TaskInfo<'_>, _outcome: Outcome, run: Option<Run>) {
    ///         if let Some(run) = run.filter(|run| run.time() > self.0) {
    ///             println!("task {} took {:?} on worker {}", task.id(), run.time(), run.worker());
    ///         }
    ///     }
    /// }
    /// ```
    fn finished(&self, task: TaskInfo<'_>, outcome: Outcome, run: Option<Run>) {
        let _ = (task, outcome, run);
    }
}

/// Who is told about the tasks of a pool.
#[derive(Default)]
pub(crate) struct Observers {
    user: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metrics: Option<Metrics>,
}

impl Observers {
    pub(crate) fn new(user: Option<Arc<dyn Observer>>) -> Self {
        Self {
            user,
            #[cfg(feature = "metrics")]
            metrics: None,
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn and_metrics(mut self, metrics: Option<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        #[cfg(feature = "metrics")]
        if self.metrics.is_some() {
            return false;
        }
        self.user.is_none()
    }

    /// Tells each of them; a panic is logged, and hides nothing from the others.
    #[inline]
    pub(crate) fn tell(&self, tell: impl Fn(&dyn Observer)) {
        if let Some(user) = &self.user {
            contained(|| tell(&**user));
        }
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            contained(|| tell(metrics));
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn publish(&self, snapshot: impl FnOnce() -> Snapshot) {
        if let Some(metrics) = &self.metrics {
            metrics.publish(&snapshot());
        }
    }
}

#[inline]
fn contained(tell: impl FnOnce()) {
    if let Err(panic) = panic::guard(tell) {
        panic::contain(|| {
            tracing::error!(panic.message, panic.location, "an observer panicked");
        });
    }
}
