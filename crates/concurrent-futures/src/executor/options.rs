//! What can be said of one submission, and of a shutdown.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;
use tracing::level_filters::LevelFilter;

use crate::task::Extras;

/// Options for a task, used with [`Executor::with`](super::Executor::with).
///
/// ```
/// use concurrent_futures::{Executor, TaskOptions, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let careful = TaskOptions::new()
///     .name("power")
///     .queue_timeout(Duration::from_secs(5))
///     .run_timeout(Duration::from_secs(1));
/// assert_eq!(pool.with(careful).submit(u64::pow, (2, 10)).result()?, 1024);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TaskOptions {
    name: Option<Arc<str>>,
    queue_timeout: Option<Duration>,
    run_timeout: Option<Duration>,
    priority: i32,
    retries: u32,
}

impl TaskOptions {
    /// Makes options with no name, no time limits, priority 0 and no retries: see the example of
    /// [`TaskOptions`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a name for errors, logs and observers: see [`TaskError::task_name`](crate::TaskError::task_name).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long the task may wait for a worker. After that it is dropped from the queue, and its future gives
    /// an error with the clock [`Queue`](crate::Clock::Queue).
    ///
    /// ```
    /// use concurrent_futures::{Clock, Executor, TaskOptions, ThreadPoolExecutor};
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (open, gate) = channel::<()>();
    /// let busy = pool.spawn(move || gate.recv());
    /// let hurried = pool.with(TaskOptions::new().queue_timeout(Duration::from_millis(1)));
    /// let error = hurried.submit(u64::pow, (2, 10)).result().unwrap_err();
    /// assert_eq!(error.clock(), Some(Clock::Queue));
    /// # drop(open);
    /// # assert!(busy.result()?.is_err());
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// How long the task may run. After that its future gives an error with the clock
    /// [`Run`](crate::Clock::Run). In a worker process, the task is ended with its process. On a thread, the
    /// task is asked to stop, may go on, and keeps its worker until it ends. For a `map`, the limit applies
    /// to each item.
    ///
    /// ```
    /// use concurrent_futures::{Clock, Executor, ProcessPoolExecutor, TaskOptions};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let limited = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(10)));
    /// let error = limited.submit(std::thread::sleep, Duration::from_secs(60)).result().unwrap_err();
    /// assert_eq!(error.clock(), Some(Clock::Run));
    /// assert_eq!(pool.submit(u64::pow, (2, 10)).result()?, 1024);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn run_timeout(mut self, limit: Duration) -> Self {
        self.run_timeout = Some(limit);
        self
    }

    /// How urgent the task is. A worker that becomes free takes the most urgent task; of equally urgent tasks
    /// it takes the one that was submitted first. The default is 0, and larger numbers go first.
    ///
    /// No task waits for ever: while an older, less urgent task waits, one of every 16 tasks that are taken
    /// is the oldest there is. Running tasks are never interrupted.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, TaskOptions};
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let report = pool.with(TaskOptions::new().priority(-1)).submit(u64::pow, (3, 4));
    /// let click = pool.with(TaskOptions::new().priority(1)).submit(u64::pow, (2, 10));
    /// assert_eq!((click.result()?, report.result()?), (1024, 81));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// How often the task is run again if the worker process that runs it is lost: by a crash, an exit, or a
    /// signal from outside. The default is 0.
    ///
    /// Use this only for functions that may run twice: a worker may be lost after the function has done its
    /// work. Nothing else is tried again: not an error, a panic, a task that was aborted or timed out, or a
    /// task that a [`shutdown`](super::Executor::shutdown) has ended. In a `map`, each item counts for
    /// itself: the lost item is run again, and the items before it keep their results. Threads are never
    /// lost.
    ///
    /// A task that is tried again goes before others of its [`priority`](Self::priority), and its running
    /// time starts anew. It has begun, so it cannot be cancelled any more, but it can be
    /// [aborted](crate::TaskFuture::abort). If the last try is lost too, the error says how many workers the
    /// task has cost: [`TaskError::attempts`](crate::TaskError::attempts).
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, TaskOptions};
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let twice = pool.with(TaskOptions::new().retries(1));
    /// let error = twice.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
    /// assert!(error.is_worker_lost());
    /// assert_eq!(error.attempts(), 2);
    /// ```
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    pub(crate) fn urgency(&self) -> i32 {
        self.priority
    }

    pub(crate) fn most_retries(&self) -> u32 {
        self.retries
    }

    pub(crate) fn has_run_timeout(&self) -> bool {
        self.run_timeout.is_some()
    }

    pub(crate) fn run_limit(&self) -> Option<Duration> {
        self.run_timeout
    }

    /// The rare parts of a task that is submitted now, on this thread, if it has any.
    #[inline]
    pub(crate) fn extras(&self) -> Option<Box<Extras>> {
        // No span can be current while every level is off, as without any subscriber.
        let span = if LevelFilter::current() == LevelFilter::OFF {
            Span::none()
        } else {
            Span::current()
        };
        let plain = self.name.is_none()
            && self.queue_timeout.is_none()
            && self.run_timeout.is_none()
            && span.is_none();
        (!plain).then(|| {
            let mut extras = Box::<Extras>::default();
            extras.name.clone_from(&self.name);
            extras.queue_timeout = self.queue_timeout;
            extras.run_timeout = self.run_timeout;
            extras.span = (!span.is_none()).then_some(span);
            extras
        })
    }
}

/// How to shut down an executor, used with [`Executor::shutdown`](super::Executor::shutdown).
///
/// By default the tasks that were taken still run, and the shutdown waits for them.
///
/// ```
/// use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let how = Shutdown::new().cancel_pending(true).deadline(Duration::from_secs(60));
/// pool.blocking_shutdown(how)?;
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Shutdown {
    pub(crate) wait: bool,
    pub(crate) cancel_pending: bool,
    pub(crate) deadline: Option<Duration>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            wait: true,
            cancel_pending: false,
            deadline: None,
        }
    }
}

impl Shutdown {
    /// Runs all tasks that were taken, and waits for them: see the example of [`Shutdown`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to wait until all workers are gone. If not, the tasks that were taken still run, and their
    /// futures resolve.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let future = pool.submit(u64::pow, (2, 10));
    /// pool.blocking_shutdown(Shutdown::new().wait(false))?;
    /// assert_eq!(future.result()?, 1024);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Whether to cancel the tasks that have not started: see the example of [`Shutdown`].
    pub fn cancel_pending(mut self, cancel: bool) -> Self {
        self.cancel_pending = cancel;
        self
    }

    /// How long to wait. After that the shutdown goes on unobserved, and the wait gives an error with the
    /// clock [`Wait`](crate::Clock::Wait). See the example of [`Shutdown`].
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }
}
