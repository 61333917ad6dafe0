//! The options of a thread pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::pool::ThreadPoolExecutor;
use super::shared::{Initializer, Shared};
use super::spawner::{DEFAULT_STACK, Spawner};
use crate::cpus;
use crate::executor::{
    BuildError, Capture, InitializerResult, Observer, Observers, TaskContext, capture_here,
};
#[cfg(feature = "metrics")]
use crate::executor::{Kind, Metrics};

/// As tokio's for its blocking threads.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Options for a [`ThreadPoolExecutor`], made by [`ThreadPoolExecutor::builder`].
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::builder()
///     .max_workers(2)
///     .thread_name_prefix("resize")
///     .initializer(|| println!("a worker begins"))
///     .keep_alive(Duration::from_secs(1))
///     .stack_size(8 << 20)
///     .build()?;
/// let name = pool.spawn(|| std::thread::current().name().unwrap().to_owned());
/// assert_eq!(name.result()?, "resize-0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ThreadPoolBuilder {
    max_workers: Option<usize>,
    queue_limit: Option<usize>,
    thread_name_prefix: Option<String>,
    stack_size: Option<usize>,
    keep_alive: Option<Duration>,
    initializer: Option<Initializer>,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metrics: Option<String>,
    runtime: Option<Handle>,
    contexts: Vec<Capture>,
}

impl ThreadPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            queue_limit: None,
            thread_name_prefix: None,
            stack_size: None,
            keep_alive: None,
            initializer: None,
            observer: None,
            #[cfg(feature = "metrics")]
            metrics: None,
            runtime: None,
            contexts: Vec::new(),
        }
    }

    /// The maximum number of tasks that run at the same time, at least 1. Threads are started on demand. See
    /// the example of [`ThreadPoolBuilder`].
    ///
    /// The default is the number of usable CPUs plus 4, at most 32, as in Python. It respects the process's
    /// CPU affinity and the CPU quota of its control groups, and rounds a fractional quota up.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// How many tasks may be queued beyond those that the workers run. By default there is no limit. With 0,
    /// a task is taken only if a worker is free.
    ///
    /// At most `max_workers` plus this many tasks are unfinished or have a [`Permit`](crate::Permit). A
    /// further task is [rejected](crate::Rejection::QueueFull) if you submit it;
    /// [`reserve`](crate::Executor::reserve) waits for a place. A body that goes on after its time limit
    /// keeps its place until it ends.
    ///
    /// There is no limit in bytes as for processes, since no argument is encoded here.
    pub fn queue_limit(mut self, tasks: usize) -> Self {
        self.queue_limit = Some(tasks);
        self
    }

    /// The prefix of the threads' names: a hyphen and a number that counts the threads of the pool follow it.
    /// The default is `pool-N`, with a number for each pool. See the example of [`ThreadPoolBuilder`].
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = Some(prefix.into());
        self
    }

    /// The stack size of the threads, in bytes. The default is 2 MiB. A task that waits for tasks of the same
    /// pool runs them in place while half of its stack is free. See the example of [`ThreadPoolBuilder`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// How long a thread without work is kept. The default is 10 seconds. See the example of
    /// [`ThreadPoolBuilder`].
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = Some(time);
        self
    }

    /// Runs this function once in each worker thread before its first task. If it panics or returns an error,
    /// the pool is broken: queued and later tasks are rejected, with that error as the cause.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Rejection, ThreadPoolExecutor};
    ///
    /// fn connect() -> Result<(), String> {
    ///     Err("there is no database".to_owned())
    /// }
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(connect).build()?;
    /// let error = pool.submit(u64::pow, (2, 10)).result().unwrap_err();
    /// assert_eq!(error.rejection(), Some(Rejection::Broken));
    /// # Ok::<(), concurrent_futures::BuildError>(())
    /// ```
    pub fn initializer<R: InitializerResult>(
        mut self,
        initializer: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self {
        self.initializer = Some(Box::new(move || initializer().into_result()));
        self
    }

    /// Tells this observer what happens to each task: see the example of [`Observer`].
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Publishes what the pool does through the [`metrics`](https://docs.rs/metrics) facade, under this name:
    /// for Prometheus, StatsD, OpenTelemetry, or whatever recorder the program installs. Needs the feature
    /// `metrics`.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// let prometheus = PrometheusBuilder::new().install_recorder()?;
    /// let pool = ThreadPoolExecutor::builder().max_workers(4).metrics("hash").build()?;
    /// assert_eq!(pool.submit(u64::pow, (2, 10)).result()?, 1024);
    ///
    /// // In the handler of GET /metrics:
    /// pool.publish_metrics();
    /// let text = prometheus.render();
    /// assert!(text.contains(r#"concurrent_futures_tasks_submitted_total{pool="hash"} 1"#));
    /// assert!(text.contains(r#"concurrent_futures_max_workers{pool="hash"} 4"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// **Install the recorder first.** A pool that was made earlier finds the recorder with its next task, or
    /// when it publishes. It then makes up for what it has counted, but the times until then are lost. A
    /// recorder for one thread (`metrics::set_default_local_recorder`) gets everything from the pools that
    /// were made under it.
    ///
    /// The series are registered once. If an exporter forgets series that have not changed for a while
    /// (`idle_timeout`), it forgets them for good. The exporter for Prometheus keeps every single time until
    /// it is scraped or told to tidy up (`run_upkeep`).
    ///
    /// # Series
    /// All series have the label `pool`, which is the name. Give each pool a name of its own: the series of
    /// pools with the same name add up.
    ///
    /// | name | | |
    /// |---|---|---|
    /// | `concurrent_futures_tasks_submitted_total` | counter | tasks that were taken |
    /// | `concurrent_futures_tasks_finished_total` | counter | tasks that are over; the label `outcome` is the [`Outcome`](crate::Outcome): `succeeded`, `failed`, `panicked`, `cancelled`, `timed_out`, `rejected`, `abandoned`, `worker_lost`, `aborted`, `other`. `rejected` are those that were taken before the pool broke |
    /// | `concurrent_futures_task_waiting_seconds` | histogram | how long tasks waited for a worker; its count is the number of tasks that have started, and for processes also includes some that were cancelled as they were about to start |
    /// | `concurrent_futures_task_running_seconds` | histogram | how long tasks ran, for those that ran to their end within their time |
    ///
    /// These change as it happens. The others change when you ask the pool to
    /// [publish](ThreadPoolExecutor::publish_metrics):
    ///
    /// | name | | |
    /// |---|---|---|
    /// | `concurrent_futures_tasks_rejected_total` | counter | tasks that were not taken; they are in no other series |
    /// | `concurrent_futures_tasks_queued` | gauge | tasks that wait for a worker |
    /// | `concurrent_futures_tasks_running` | gauge | tasks that run |
    /// | `concurrent_futures_workers` | gauge | workers that exist |
    /// | `concurrent_futures_workers_idle` | gauge | workers without work |
    /// | `concurrent_futures_max_workers` | gauge | workers that may exist |
    /// | `concurrent_futures_workers_blocked` | gauge | for threads: workers that wait for other tasks, or for a place |
    /// | `concurrent_futures_workers_started_total` | counter | for processes: how many workers were started; those beyond the first ones replace others |
    /// | `concurrent_futures_tasks_retried_total` | counter | for processes: how often a task, or an item of a map, was run again after the loss of its worker |
    /// | `concurrent_futures_places` | gauge | with a `queue_limit`: places for tasks |
    /// | `concurrent_futures_places_taken` | gauge | with a `queue_limit`: places that tasks and [permits](crate::Permit) have |
    /// | `concurrent_futures_places_refused_total` | counter | with a `queue_limit`: how often [`try_reserve`](crate::Executor::try_reserve) had no place to give |
    ///
    /// A chunk of a map is one task, which succeeds even if an item of it fails.
    ///
    /// # Queries
    /// ```text
    /// # Tasks that are queued or run. A task may be counted as finished a moment before it is as submitted.
    /// sum by (pool) (concurrent_futures_tasks_submitted_total)
    ///   - sum by (pool) (concurrent_futures_tasks_finished_total)
    ///
    /// # Saturation: the share of workers that have work, and of places that are taken.
    /// (concurrent_futures_workers - concurrent_futures_workers_idle) / concurrent_futures_max_workers
    /// concurrent_futures_places_taken / concurrent_futures_places
    ///
    /// # The average number of tasks that ran in the last five minutes.
    /// sum by (pool) (rate(concurrent_futures_task_running_seconds_sum[5m]))
    ///
    /// # The share of tasks that went wrong.
    /// sum by (pool) (rate(concurrent_futures_tasks_finished_total{outcome!~"succeeded|cancelled|aborted"}[5m]))
    ///   / sum by (pool) (rate(concurrent_futures_tasks_finished_total[5m]))
    ///
    /// # How long at most 99 of 100 tasks waited, with buckets given to the exporter (`set_buckets`).
    /// histogram_quantile(0.99, sum by (pool, le) (rate(concurrent_futures_task_waiting_seconds_bucket[5m])))
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, name: impl Into<String>) -> Self {
        self.metrics = Some(name.into());
        self
    }

    /// Carries this context from where a task is submitted to the thread that runs it. Several contexts are
    /// entered in the order of these calls. Initializers see none. See the example of [`TaskContext`].
    pub fn context<C: TaskContext>(mut self) -> Self {
        self.contexts.push(capture_here::<C>);
        self
    }

    /// Runs the tasks on the blocking threads of this runtime, instead of on threads of the pool's own. The
    /// pool still sets the bound. Threads are given back after 50 ms of work, so that others get their turn.
    ///
    /// The pool then depends on the runtime: when the runtime shuts down, it waits for running bodies, and
    /// queued tasks are rejected. This option cannot be combined with options for threads: a name, an
    /// initializer, a stack size or a keep-alive time.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    /// use tokio::runtime::Handle;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::builder().max_workers(4).runtime(Handle::current()).build()?;
    /// assert_eq!(pool.submit(u64::pow, (2, 10)).await?, 1024);
    /// # Ok(())
    /// # }
    /// ```
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Makes the pool. No thread starts before the first task. See the example of [`ThreadPoolBuilder`].
    ///
    /// # Errors
    /// If an option is invalid: 0 workers, a thread name with a NUL byte, or options for threads together
    /// with a runtime.
    pub fn build(self) -> Result<ThreadPoolExecutor, BuildError> {
        let max_workers = self.max_workers.unwrap_or_else(cpus::default_threads);
        if max_workers == 0 {
            return Err(BuildError::invalid("max_workers is 0: give at least 1"));
        }
        let spawner = match self.runtime {
            Some(handle) => {
                if self.thread_name_prefix.is_some()
                    || self.initializer.is_some()
                    || self.stack_size.is_some()
                    || self.keep_alive.is_some()
                {
                    return Err(BuildError::invalid(
                        "thread_name_prefix, initializer, stack_size and keep_alive are for \
                         threads of the pool's own: leave them out, or leave out runtime",
                    ));
                }
                Spawner::Runtime(handle)
            }
            None => Spawner::Threads {
                name_prefix: match self.thread_name_prefix {
                    Some(prefix) if prefix.contains('\0') => {
                        return Err(BuildError::invalid(
                            "thread_name_prefix contains a NUL byte",
                        ));
                    }
                    Some(prefix) => prefix,
                    None => default_prefix(),
                },
                started: AtomicUsize::new(0),
                stack_bytes: self.stack_size.unwrap_or(DEFAULT_STACK),
                keep_alive: self.keep_alive.unwrap_or(DEFAULT_KEEP_ALIVE),
            },
        };
        let observers = Observers::new(self.observer);
        #[cfg(feature = "metrics")]
        let observers = observers.and_metrics(self.metrics.map(|name| {
            let kind = Kind {
                has_processes: false,
                has_places: self.queue_limit.is_some(),
            };
            Metrics::new(name, kind)
        }));
        let shared = Shared::new(
            max_workers,
            self.queue_limit,
            spawner,
            observers,
            self.initializer,
            self.contexts,
        );
        Ok(ThreadPoolExecutor::of(shared))
    }
}

fn default_prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: only the uniqueness of the number matters.
    format!("pool-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("max_workers", &self.max_workers)
            .field("queue_limit", &self.queue_limit)
            .field("thread_name_prefix", &self.thread_name_prefix)
            .field("stack_size", &self.stack_size)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}
