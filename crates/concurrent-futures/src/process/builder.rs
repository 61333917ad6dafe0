//! The options of a pool of processes.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::call::encoded_call;
use super::carried::{Capture, capture_into};
use super::parent::{Options, Shared, cpus_of_each};
use super::pool::ProcessPoolExecutor;
use super::record::Name;
use super::sys::Limits;
use super::{sys, worker};
use crate::cpus;
use crate::error::TaskError;
use crate::executor::{
    BuildError, InitializerResult, Observer, Observers, Portable, TaskContext, TaskFn,
};
#[cfg(feature = "metrics")]
use crate::executor::{Kind, Metrics};

const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_KILL_GRACE: Duration = Duration::from_secs(3);
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_MAX_PAYLOAD: u64 = 2 << 30;
const DEFAULT_STOPPED_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker has a few, and needs more for large values.
const LEAST_DESCRIPTORS: u64 = 32;

/// The kernel allows little more for the name of shared memory.
const MOST_NAME: usize = 200;

/// Options for a [`ProcessPoolExecutor`], made by [`ProcessPoolExecutor::builder`].
///
/// ```
/// use concurrent_futures::{Executor, ProcessPoolExecutor};
/// use std::time::Duration;
///
/// fn prepare(level: u32) {
///     assert!(level < 10);
/// }
///
/// let pool = ProcessPoolExecutor::builder()
///     .max_workers(2)
///     .name("resize")
///     .initializer(prepare, 3)
///     .start_timeout(Duration::from_secs(120))
///     .env("RESIZE_QUALITY", "80")
///     .env_remove("LD_PRELOAD")
///     .current_dir("/")
///     .idle_timeout(Duration::from_secs(5))
///     .kill_grace(Duration::from_millis(500))
///     .build()?;
/// let quality = pool.submit(|| std::env::var("RESIZE_QUALITY").unwrap(), ());
/// assert_eq!(quality.result()?, "80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ProcessPoolBuilder {
    max_workers: Option<usize>,
    name: Option<String>,
    initializer: Option<Result<(Name, Vec<u8>), TaskError>>,
    max_tasks_per_worker: Option<usize>,
    environment: Vec<(OsString, Option<OsString>)>,
    current_dir: Option<PathBuf>,
    start_timeout: Duration,
    kill_grace: Duration,
    idle_timeout: Duration,
    max_payload: u64,
    queue_limit: Option<usize>,
    queue_bytes: Option<u64>,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metrics: Option<String>,
    contexts: Vec<Capture>,
    finalizer: Option<Result<(Name, Vec<u8>), TaskError>>,
    capture_output: bool,
    stopped_timeout: Duration,
    limits: Limits,
    max_memory_per_worker: Option<u64>,
    cpus_per_worker: Option<usize>,
}

impl ProcessPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            name: None,
            initializer: None,
            max_tasks_per_worker: None,
            environment: Vec::new(),
            current_dir: None,
            start_timeout: DEFAULT_START_TIMEOUT,
            kill_grace: DEFAULT_KILL_GRACE,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            max_payload: DEFAULT_MAX_PAYLOAD,
            queue_limit: None,
            queue_bytes: None,
            observer: None,
            #[cfg(feature = "metrics")]
            metrics: None,
            contexts: Vec::new(),
            finalizer: None,
            capture_output: false,
            stopped_timeout: DEFAULT_STOPPED_TIMEOUT,
            limits: Limits::default(),
            max_memory_per_worker: None,
            cpus_per_worker: None,
        }
    }

    /// The maximum number of worker processes, and so of tasks that run at the same time; at least 1. Workers
    /// are started on demand. See the example of [`ProcessPoolBuilder`].
    ///
    /// The default is the number of usable CPUs. It respects the process's CPU affinity and the CPU quota of
    /// its control groups, and rounds a fractional quota up.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// The name of the workers in `ps` (its first 15 bytes), and the beginning of the names of the pool's own
    /// threads. The default is `pool-N`, with a number for each pool. See the example of
    /// [`ProcessPoolBuilder`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Runs this function once, with this argument, in each worker process before its first task. If it
    /// panics, returns an error, or does not finish within the [start timeout](Self::start_timeout), the pool
    /// is broken: queued and later tasks are rejected, with that error as the cause. See the example of
    /// [`ProcessPoolBuilder`].
    ///
    /// The function must be one that could be submitted: it captures nothing. Pass several arguments as a
    /// tuple, and none as `()`.
    pub fn initializer<F, A, Marker>(mut self, function: F, argument: A) -> Self
    where
        F: TaskFn<A, Marker, Output: InitializerResult>,
        A: Portable,
        Marker: 'static,
    {
        self.initializer = Some(encoded_call(function, argument));
        self
    }

    /// The number of tasks, or items of a map, after which a worker leaves and is replaced. By default,
    /// workers are never replaced this way. With this option, tasks are handed over one at a time.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(1).build()?;
    /// let first = pool.submit(std::process::id, ()).result()?;
    /// assert_ne!(pool.submit(std::process::id, ()).result()?, first);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_tasks_per_worker(mut self, tasks: usize) -> Self {
        self.max_tasks_per_worker = Some(tasks);
        self
    }

    /// Sets an environment variable of the workers. Otherwise they have those of this process, and some that
    /// say how many [CPUs](Self::cpus_per_worker) to use. See the example of [`ProcessPoolBuilder`].
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable from the workers. See the example of [`ProcessPoolBuilder`].
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), None));
        self
    }

    /// The directory in which workers begin. The default is the directory of this process when they start.
    /// See the example of [`ProcessPoolBuilder`].
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(path.into());
        self
    }

    /// How long a worker may take until it is ready for tasks, including its initializer. The default is 60
    /// seconds. See the example of [`ProcessPoolBuilder`].
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// How long a worker that is being ended has between SIGTERM and SIGKILL. The default is 3 seconds. A
    /// worker that does not handle SIGTERM is gone at once. See the example of [`ProcessPoolBuilder`].
    pub fn kill_grace(mut self, time: Duration) -> Self {
        self.kill_grace = time;
        self
    }

    /// How long a worker without work is kept. The default is 60 seconds. See the example of
    /// [`ProcessPoolBuilder`].
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.idle_timeout = time;
        self
    }

    /// The maximum size in bytes of an encoded argument or result. The default is 2 GiB. If a value is
    /// larger, its task gets the error [too large](TaskError::is_too_large) before anything is sent.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).max_payload(1_000_000).build()?;
    /// let length = |text: String| text.len();
    /// assert_eq!(pool.submit(length, "x".repeat(900_000)).result()?, 900_000);
    /// let error = pool.submit(length, "x".repeat(1_000_001)).result().unwrap_err();
    /// assert!(error.is_too_large());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How many tasks may be queued beyond those that the workers run. By default there is no limit. With 0,
    /// a task is taken only if a worker is free.
    ///
    /// At most `max_workers` plus this many tasks are unfinished or have a [`Permit`](crate::Permit). A
    /// further task is [rejected](crate::Rejection::QueueFull) if you submit it;
    /// [`reserve`](crate::Executor::reserve) waits for a place.
    pub fn queue_limit(mut self, tasks: usize) -> Self {
        self.queue_limit = Some(tasks);
        self
    }

    /// How many bytes of encoded arguments the pool may keep for unfinished tasks. By default there is no
    /// limit. The pool takes a task, or gives a place, while it keeps fewer bytes than this. So the last task
    /// may exceed the limit, and a task that is larger than the limit is taken when nothing is kept.
    /// Submitters that already have a permit are not held back.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, Rejection};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).queue_bytes(1_000).build()?;
    /// let slow = pool.submit(|_: Vec<u8>| std::thread::sleep(Duration::from_secs(60)), vec![0; 1_000]);
    /// let error = pool.submit(u64::pow, (2, 10)).result().unwrap_err();
    /// assert_eq!(error.rejection(), Some(Rejection::QueueFull));
    /// slow.abort();
    /// # Ok::<(), concurrent_futures::BuildError>(())
    /// ```
    pub fn queue_bytes(mut self, bytes: u64) -> Self {
        self.queue_bytes = Some(bytes);
        self
    }

    /// Tells this observer what happens to each task: see the example of [`Observer`].
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Publishes what the pool does through the `metrics` facade, under this name.
    /// [`ThreadPoolBuilder::metrics`](crate::ThreadPoolBuilder::metrics) lists what is published. Needs the
    /// feature `metrics`.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(2).metrics("resize").build()?;
    /// pool.publish_metrics();
    /// # Ok::<(), concurrent_futures::BuildError>(())
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, name: impl Into<String>) -> Self {
        self.metrics = Some(name.into());
        self
    }

    /// Carries this context from where a task is submitted to the worker that runs it. Several contexts are
    /// entered in the order of these calls. Initializers see none. See the example of [`TaskContext`].
    ///
    /// The values are encoded and travel with each task; all of them together may have 4 KiB. If they are
    /// larger, the task gets the error [too large](TaskError::is_too_large).
    pub fn context<C: TaskContext>(mut self) -> Self {
        self.contexts.push(capture_into::<C>);
        self
    }

    /// Runs this function once in each worker process that leaves in good order, after its last task. A
    /// worker does so if it was idle for long, has run its number of tasks, is surplus after a
    /// [`resize`](ProcessPoolExecutor::resize), or is no longer needed because the pool is shut down. The
    /// function does not run in a worker that crashes or is ended, nor when this process ends without a
    /// [`shutdown`](crate::Executor::shutdown) that waits.
    ///
    /// The function has the [grace](Self::kill_grace) to finish; then the worker is killed. A panic, an error
    /// or a death only causes an event at the level `WARN`. Only a shutdown, and a worker that is to take the
    /// place, wait for the function.
    ///
    /// The same rules apply to the function as to the [initializer](Self::initializer).
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown};
    ///
    /// fn say_goodbye(to: String) {
    ///     eprintln!("{to}: worker {} leaves", std::process::id());
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder()
    ///     .max_workers(1)
    ///     .finalizer(say_goodbye, "resize".to_owned())
    ///     .build()?;
    /// assert_eq!(pool.submit(u64::pow, (2, 10)).result()?, 1024);
    /// pool.blocking_shutdown(Shutdown::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finalizer<F, A, Marker>(mut self, function: F, argument: A) -> Self
    where
        F: TaskFn<A, Marker, Output: InitializerResult>,
        A: Portable,
        Marker: 'static,
    {
        self.finalizer = Some(encoded_call(function, argument));
        self
    }

    /// Whether to log here what workers write to stdout and stderr. By default it is not logged, and workers
    /// write to the stdout and stderr of this process.
    ///
    /// Each line becomes an event with the target `concurrent_futures::output`, at the level INFO for stdout
    /// and WARN for stderr. The line is its message, and its fields are `stream` (`stdout` or `stderr`),
    /// `worker` (a process id) and `task`. The event belongs to the span in which the task that the worker
    /// runs, or the chunk of items of a [map](crate::Executor::map), was submitted. It arrives before the
    /// task's result. Output that is written while no task runs, by an initializer or by what a task has left
    /// behind, has no `task` and no span. The events go to the global default subscriber; without one they
    /// are lost.
    ///
    /// Everything that is written to these streams is captured: by `print!`, by C, by programs that a task
    /// starts, and by panics. The buffers of `print!` and of C's `stdout` are written out when a task ends. A
    /// line of more than 16 KiB is split into several, and bytes that are not UTF-8 are replaced. Errors have
    /// the end of stderr: [`TaskError::stderr_tail`](crate::TaskError::stderr_tail).
    ///
    /// Tasks are handed over one at a time, so that each line belongs to one task. If a worker writes faster
    /// than the subscriber takes the lines, the worker waits in its write. Results wait for the lines before
    /// them, so a subscriber must not wait for tasks of this pool. Once a worker is gone, nothing more is
    /// read, even if a process that it has left behind still writes.
    ///
    /// Without this option, `cargo test` shows what workers print even for tests that succeed, because it
    /// captures only what the test itself prints.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(2).capture_output(true).build()?;
    /// tracing::info_span!("request", id = 17).in_scope(|| {
    ///     // A subscriber that writes text has it as something like this:
    ///     // WARN request{id=17}: concurrent_futures::output: 3 colours are missing stream="stderr" worker=2117
    ///     pool.submit(|| eprintln!("3 colours are missing"), ()).result()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn capture_output(mut self, capture: bool) -> Self {
        self.capture_output = capture;
        self
    }

    /// How long a worker that has work may stay stopped by a signal (SIGSTOP, or one from a terminal) before
    /// it is ended. The default is 10 seconds.
    ///
    /// The pool notices within about a second that a worker with work is stopped, and logs a warning. Tasks
    /// that lie ready at the worker then run elsewhere, and it gets nothing more. If the worker is continued
    /// in time, nothing else happens. Otherwise its task is lost with it, as the error says, and runs again
    /// if it [may](crate::TaskOptions::retries). A worker that stands still in a debugger is not stopped by a
    /// signal. Time during which this process itself is stopped does not count.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::builder().stopped_timeout(Duration::from_secs(60)).build()?;
    /// # Ok::<(), concurrent_futures::BuildError>(())
    /// ```
    pub fn stopped_timeout(mut self, limit: Duration) -> Self {
        self.stopped_timeout = limit;
        self
    }

    /// The maximum memory of its own that a worker may have, in bytes. By default there is no limit. This is
    /// the kernel's limit for memory that can be written and is not shared (`RLIMIT_DATA`): the heap and the
    /// stacks of threads, whether used yet or not. A worker begins with about 10 MB, of which the stack of
    /// the thread that runs tasks takes 8 MiB.
    ///
    /// A worker that is refused memory usually dies. This costs only the task that it ran, and the error of
    /// that task [says so](TaskError::is_out_of_memory_likely). A limit that leaves no room for a worker at
    /// all breaks the pool.
    ///
    /// This limit, and those of [files](Self::file_size_limit), of [descriptors](Self::descriptor_limit) and
    /// of [priority](Self::nice), are set before the initializer runs. They also apply to programs that tasks
    /// start, to each separately. If the system refuses a limit, such as one above its own for this process,
    /// the pool is [broken](crate::Rejection::Broken), with the reason as the cause.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// fn fill(bytes: usize) -> usize {
    ///     vec![1_u8; bytes].len()
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).memory_limit(256 << 20).build()?;
    /// let error = pool.submit(fill, 1 << 30).result().unwrap_err();
    /// assert!(error.is_worker_lost() && error.is_out_of_memory_likely());
    /// assert!(error.to_string().contains("memory_limit is 268435456 bytes"));
    /// assert_eq!(pool.submit(fill, 1 << 20).result()?, 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.limits.memory = Some(bytes);
        self
    }

    /// The resident memory of its own, in bytes, at which a worker leaves and is replaced. By default,
    /// workers are never replaced this way. Use it for tasks that leak, or for libraries that keep the memory
    /// they have once taken. Files and shared memory do not count.
    ///
    /// The pool checks this between tasks and between items of a map, at most every 5 milliseconds. So a
    /// worker may exceed it for a while, no task is lost, and what has not begun is handed to other workers
    /// in its order. The replacement is a `tracing` event at the level `INFO`. If the initializer alone takes
    /// this much memory, each worker runs one task.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// fn leak(bytes: usize) -> u32 {
    ///     vec![1_u8; bytes].leak();
    ///     std::process::id()
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).max_memory_per_worker(64 << 20).build()?;
    /// let leaky = pool.submit(leak, 100 << 20).result()?;
    /// // Another task is run by another process, sooner or later, and no task was lost.
    /// while pool.submit(std::process::id, ()).result()? == leaky {}
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Self {
        self.max_memory_per_worker = Some(bytes);
        self
    }

    /// How many CPUs a worker is told to use, at least 1. The default is the number of usable CPUs divided by
    /// [`max_workers`](Self::max_workers), rounded down, and at least 1.
    ///
    /// This is a hint, not a limit. The default sizes of pools that tasks make follow it, and so do libraries
    /// that read `RAYON_NUM_THREADS`, `TOKIO_WORKER_THREADS`, `OMP_NUM_THREADS`, `OPENBLAS_NUM_THREADS` or
    /// `MKL_NUM_THREADS`. These variables are set for the workers, except those that this process has, or
    /// that [`env`](Self::env) or [`env_remove`](Self::env_remove) names. The idea comes from loky, the pool
    /// of joblib.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::builder()
    ///     .max_workers(2)
    ///     .cpus_per_worker(3)
    ///     .env("OMP_NUM_THREADS", "1")
    ///     .build()?;
    /// let inside = pool.submit(|| ProcessPoolExecutor::builder().build().unwrap().max_workers(), ());
    /// assert_eq!(inside.result()?, 3);
    /// let read = |name: String| std::env::var(name).unwrap();
    /// assert_eq!(pool.submit(read, "RAYON_NUM_THREADS".to_owned()).result()?, "3");
    /// assert_eq!(pool.submit(read, "OMP_NUM_THREADS".to_owned()).result()?, "1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cpus_per_worker(mut self, cpus: usize) -> Self {
        self.cpus_per_worker = Some(cpus);
        self
    }

    /// By how much workers are nicer than this process, as with the command `nice`: at 19, a worker runs only
    /// when nothing else wants to. A negative number needs a privilege. Without the privilege the pool is
    /// broken, as with a [limit](Self::memory_limit) that the system refuses.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).nice(10).build()?;
    /// assert_eq!(pool.submit(u64::pow, (2, 10)).result()?, 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nice(mut self, increment: i32) -> Self {
        self.limits.nice = increment;
        self
    }

    /// The maximum size in bytes of a file that workers write (`RLIMIT_FSIZE`). By default there is no limit.
    /// A write beyond it gives the error [`FileTooLarge`](std::io::ErrorKind::FileTooLarge), and does not end
    /// the worker.
    ///
    /// The limit also applies to standard output if that is a file, and to files in memory. So a result above
    /// 128 KiB that is larger than the limit is an error of its task, and a process pool inside a task needs
    /// 2 MiB.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// fn write(bytes: usize) -> std::io::Result<()> {
    ///     let path = std::env::temp_dir().join(format!("limited-{}", std::process::id()));
    ///     let written = std::fs::write(&path, vec![0; bytes]);
    ///     std::fs::remove_file(path)?;
    ///     written
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).file_size_limit(4096).build()?;
    /// pool.try_submit(write, 4096).result()?;
    /// assert!(pool.try_submit(write, 4097).result().unwrap_err().is_failed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn file_size_limit(mut self, bytes: u64) -> Self {
        self.limits.file_size = Some(bytes);
        self
    }

    /// How many descriptors a worker can have open (`RLIMIT_NOFILE`), at least 32. The default is the limit
    /// of this process. A worker has a few of its own.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// fn open(files: usize) -> std::io::Result<usize> {
    ///     let files: Vec<_> = (0..files).map(|_| std::fs::File::open("/dev/null")).collect::<Result<_, _>>()?;
    ///     Ok(files.len())
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).descriptor_limit(64).build()?;
    /// assert_eq!(pool.try_submit(open, 10).result()?, 10);
    /// assert!(pool.try_submit(open, 64).result().unwrap_err().is_failed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn descriptor_limit(mut self, descriptors: u64) -> Self {
        self.limits.descriptors = Some(descriptors);
        self
    }

    /// Makes the pool. No process starts before the first task. See the example of [`ProcessPoolBuilder`].
    ///
    /// # Errors
    /// If an option is invalid: 0 workers, 0 tasks per worker, no payload, no time to start, no bytes in the
    /// queue, no memory or CPU for a worker, fewer than 32 descriptors, a name or a variable with a NUL byte,
    /// or an argument of the initializer or the finalizer that cannot be encoded. The error is
    /// [of the kind `WrongProgram`](crate::BuildErrorKind::WrongProgram) if this program cannot be started as
    /// a worker: the code is in a dynamic library, or the program runs through a loader. It is
    /// [of the kind `TooDeep`](crate::BuildErrorKind::TooDeep) in a worker of a worker, 10 deep: a function
    /// that makes a pool and submits itself would start processes without end. A program that a task starts
    /// begins at 0 again.
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        let max_workers = self.max_workers.unwrap_or_else(cpus::usable);
        if max_workers == 0 {
            return Err(BuildError::invalid("max_workers is 0: give at least 1"));
        }
        if self.max_tasks_per_worker == Some(0) {
            return Err(BuildError::invalid(
                "max_tasks_per_worker is 0: give at least 1, or leave it out",
            ));
        }
        if self.queue_bytes == Some(0) {
            return Err(BuildError::invalid(
                "queue_bytes is 0: nothing would be taken; give at least 1",
            ));
        }
        if self.max_payload == 0 || self.start_timeout.is_zero() {
            return Err(BuildError::invalid(
                "max_payload or start_timeout is 0: nothing could be run",
            ));
        }
        if self.limits.memory == Some(0)
            || self.max_memory_per_worker == Some(0)
            || self.cpus_per_worker == Some(0)
        {
            return Err(BuildError::invalid(
                "memory_limit, max_memory_per_worker or cpus_per_worker is 0: no worker could work",
            ));
        }
        if self
            .limits
            .descriptors
            .is_some_and(|most| most < LEAST_DESCRIPTORS)
        {
            return Err(BuildError::invalid(
                "descriptor_limit is less than 32, which is too few for a worker",
            ));
        }
        let name = self.name.unwrap_or_else(default_name);
        if name.is_empty() || name.contains('\0') || name.len() > MOST_NAME {
            return Err(BuildError::invalid(
                "the name is empty, contains a NUL byte, or has more than 200 bytes",
            ));
        }
        for (key, value) in &self.environment {
            let text = key.as_encoded_bytes();
            let has_nul = |text: &[u8]| text.contains(&0);
            if text.is_empty()
                || text.contains(&b'=')
                || has_nul(text)
                || value
                    .as_ref()
                    .is_some_and(|value| has_nul(value.as_encoded_bytes()))
            {
                return Err(BuildError::invalid(
                    "a variable's name is empty or contains `=`, or it contains a NUL byte",
                ));
            }
        }
        let initializer = match self.initializer.transpose() {
            Ok(initializer) => initializer,
            Err(error) => return Err(BuildError::unencodable("initializer", &error)),
        };
        let finalizer = match self.finalizer.transpose() {
            Ok(finalizer) => finalizer,
            Err(error) => return Err(BuildError::unencodable("finalizer", &error)),
        };
        if !worker::can_begin() {
            return Err(BuildError::wrong_program(
                "the feature `constructor` is off, so that workers begin in `main`: \
                 call `concurrent_futures::worker::init()` first thing in it",
            ));
        }
        let depth = sys::depth();
        if depth >= sys::MOST_DEPTH {
            return Err(BuildError::too_deep(depth));
        }
        sys::Program::current().map_err(|error| BuildError::wrong_program(error.to_string()))?;
        let observers = Observers::new(self.observer);
        #[cfg(feature = "metrics")]
        let observers = observers.and_metrics(self.metrics.map(|name| {
            let kind = Kind {
                has_processes: true,
                has_places: self.queue_limit.is_some(),
            };
            Metrics::new(name, kind)
        }));
        Ok(ProcessPoolExecutor::of(Shared::new(Options {
            max_workers: max_workers.into(),
            name: name.into(),
            initializer,
            max_tasks_per_worker: self.max_tasks_per_worker,
            environment: self.environment,
            current_dir: self.current_dir,
            start_timeout: self.start_timeout,
            kill_grace: self.kill_grace,
            idle_timeout: self.idle_timeout,
            max_payload: self.max_payload,
            queue_limit: self.queue_limit,
            queue_bytes: self.queue_bytes,
            observers,
            contexts: self.contexts,
            finalizer,
            capture_output: self.capture_output,
            stopped_timeout: self.stopped_timeout,
            limits: self.limits,
            max_memory_per_worker: self.max_memory_per_worker,
            cpus_per_worker: self
                .cpus_per_worker
                .unwrap_or_else(|| cpus_of_each(max_workers)),
        })))
    }
}

fn default_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: only the uniqueness of the number matters.
    format!("pool-p{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("max_workers", &self.max_workers)
            .field("name", &self.name)
            .field("max_tasks_per_worker", &self.max_tasks_per_worker)
            .finish_non_exhaustive()
    }
}
