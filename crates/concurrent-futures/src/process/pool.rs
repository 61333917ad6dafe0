//! The pool of processes as its users have it.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use super::builder::ProcessPoolBuilder;
use super::call::{JobCall, PointerCall, decode_chunk, decode_result, encode_with};
use super::parent::{Arguments, Shared};
use super::record::name_of;
use super::stats::WorkerStats;
use super::sys::Signal;
use crate::error::Direction;
use crate::executor::{
    Admission, BuildError, Call, Chunk, Executor, Job, Place, Portable, Shutdown, Stats, TaskFn,
    TaskOptions, assert_captures_nothing,
};
use crate::panic::guarded_drop;
use crate::task::TaskFuture;

/// Runs tasks in worker processes, up to a fixed number at a time.
///
/// A worker is this same program, started again. It takes over before `main`, and needs no registration, no
/// macro and no call in `main`. A crash in a task costs only that task: its future says how the worker ended,
/// another worker takes its place, and everything else goes on. You can stop a running task with
/// [`abort`](TaskFuture::abort) or a run timeout, which ends its process.
///
/// Functions, arguments and results are as for every [`Executor`]; here they really travel. What a function
/// leaves in statics stays with the worker that ran it.
///
/// This is a handle: clones share the pool. Dropping the last handle is a shutdown without waiting: the tasks
/// that were taken still run, and their futures resolve. When this process ends, in whatever way, its workers
/// end with it.
///
/// ```
/// use concurrent_futures::{Executor, ProcessPoolExecutor};
///
/// let pool = ProcessPoolExecutor::new(2);
/// assert_eq!(pool.submit(u64::pow, (2, 10)).result()?, 1024);
///
/// let error = pool.submit(|| -> u32 { std::process::abort() }, ()).result().unwrap_err();
/// assert!(error.is_worker_lost());
/// assert_eq!(pool.submit(std::process::id, ()).result()? == std::process::id(), false);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// # Tracing
/// What a task reports to `tracing` arrives in the pool's process. Its events and spans are recreated there,
/// in the span that was current when the task was submitted. They go to the subscriber of that span, or to
/// the global one if there was none, and arrive before the result. A worker sends only what the subscribers
/// of the pool's process may want by its level. It learns of a changed level with the next task.
///
/// - Times are those of arrival. Spans are entered only while something is emitted in them, and
///   `follows_from` does not travel. A task's spans are closed when it ends, at the latest.
/// - Nothing waits for a subscriber. What comes too fast is dropped, and this is reported and counted
///   ([`dropped_events`](WorkerStats::dropped_events)).
/// - A process has at most 1 024 callsites of workers. Further events and spans have a message that says it
///   all, and one callsite for each level.
/// - If the initializer sets a global subscriber, events go to that one instead.
#[derive(Clone)]
pub struct ProcessPoolExecutor {
    handle: Arc<Handle>,
}

/// The handles together. When the last one goes, nothing can be submitted any more.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ProcessPoolExecutor {
    /// Makes a pool that runs up to `max_workers` tasks at a time: see the example of
    /// [`ProcessPoolExecutor`].
    ///
    /// # Panics
    /// If `max_workers` is 0, or if [`build`](ProcessPoolBuilder::build) gives an error: this program cannot
    /// be started as a worker, or the system has no such pools.
    #[must_use]
    #[track_caller]
    pub fn new(max_workers: usize) -> Self {
        match Self::builder().max_workers(max_workers).build() {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns a builder for a pool with options: see the example of [`ProcessPoolBuilder`].
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::new()
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle(shared)),
        }
    }

    /// The current counters of the pool: see the example of [`Stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.0.stats()
    }

    /// Publishes the pool's current numbers through the `metrics` facade: those that are not counted as they
    /// change. Call this just before they are read, as in the handler of `GET /metrics`, or now and then for
    /// exporters that push. It does nothing in a pool without [`metrics`](ProcessPoolBuilder::metrics). Needs
    /// the feature `metrics`.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// let prometheus = PrometheusBuilder::new().install_recorder()?;
    /// let pool = ProcessPoolExecutor::builder().max_workers(2).metrics("resize").build()?;
    /// pool.submit(u64::pow, (2, 10)).result()?;
    /// pool.publish_metrics();
    /// assert!(prometheus.render().contains(r#"concurrent_futures_workers{pool="resize"} 1"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        self.handle.0.publish_metrics();
    }

    /// The worker processes that exist at this moment, in the order of their numbers.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::new(2);
    /// let pid = pool.submit(std::process::id, ()).result()?;
    /// let workers = pool.worker_stats();
    /// assert_eq!((workers.len(), workers[0].pid(), workers[0].tasks()), (1, pid, 1));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use]
    pub fn worker_stats(&self) -> Vec<WorkerStats> {
        self.handle.0.worker_stats()
    }

    /// Sets the maximum number of workers from now on.
    ///
    /// If the number grows, queued tasks start further workers at once. If it shrinks, surplus workers go:
    /// idle ones at once, busy ones when their task is over. Running tasks are not stopped, and until the
    /// surplus workers are gone no further task begins. The [queue limit](ProcessPoolBuilder::queue_limit)
    /// counts from the new number; places already given are kept. If several calls are made at the same time,
    /// one wins. The call is harmless on a pool that is shut down.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// pool.resize(3)?;
    /// assert_eq!(pool.max_workers(), 3);
    /// assert!(pool.resize(0).is_err());
    /// # Ok::<(), concurrent_futures::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// If `max_workers` is 0.
    pub fn resize(&self, max_workers: usize) -> Result<(), BuildError> {
        self.handle.0.resize(max_workers)
    }

    /// Starts workers up to the maximum, and resolves once each has been ready: started, with its initializer
    /// run. They are kept for the [idle timeout](ProcessPoolBuilder::idle_timeout), which begins then.
    ///
    /// The workers start whether or not somebody waits for the future. After [`abort`](TaskFuture::abort),
    /// they start only for queued tasks.
    ///
    /// ```
    /// use concurrent_futures::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(2);
    /// pool.warm_up().result()?;
    /// assert_eq!(pool.worker_stats().len(), 2);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// Those of the future: the error that has [broken](crate::Rejection::Broken) the pool, such as that of a
    /// failed initializer; [`NoWorker`](crate::Rejection::NoWorker) after three failed starts, with the cause
    /// of the last; or [`ShutDown`](crate::Rejection::ShutDown).
    pub fn warm_up(&self) -> TaskFuture<()> {
        self.handle.0.warm_up()
    }

    /// Runs a function once in each worker process that exists, for example to reload a configuration or to
    /// drop a cache. Returns a future for each worker, in the order of their [numbers](WorkerStats::id), and
    /// none if there are no workers.
    ///
    /// In each worker, the function runs after what was handed over to that worker before, and before
    /// everything that is submitted afterwards. In a worker that is starting, it runs after the initializer.
    /// Workers that start later do not run it; use the [initializer](ProcessPoolBuilder::initializer) for
    /// what each of them must do. A call belongs to one worker and never runs in another. If that worker is
    /// gone before, the future says so ([`is_worker_lost`](crate::TaskError::is_worker_lost), and
    /// [`ran`](crate::TaskError::ran) says that it did not begin). The call needs no place of the
    /// [queue limit](ProcessPoolBuilder::queue_limit), and otherwise counts as a task. The arguments are
    /// encoded once.
    ///
    /// If the pool takes no more tasks, or the arguments cannot be encoded, the call returns a single future,
    /// with that error.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static LEVEL: AtomicU32 = AtomicU32::new(0);
    ///
    /// let pool = ProcessPoolExecutor::new(2);
    /// pool.warm_up().result()?;
    /// for told in pool.broadcast(|level| LEVEL.store(level, Ordering::Relaxed), 3) {
    ///     told.result()?;
    /// }
    /// assert_eq!(pool.submit(|| LEVEL.load(Ordering::Relaxed), ()).result()?, 3);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn broadcast<F, Args, Marker>(&self, function: F, args: Args) -> Vec<TaskFuture<F::Output>>
    where
        F: TaskFn<Args, Marker, Output: Portable>,
        Args: Portable,
        Marker: 'static,
    {
        assert_captures_nothing::<F>();
        let _made_anew = function;
        let encoded = self
            .handle
            .0
            .encoded(|out, large| encode_with(&args, out, Some(large), Direction::EncodeArguments));
        guarded_drop(args);
        let name = name_of::<JobCall<Call<F, Args, Marker>>>();
        let decode = decode_result::<F::Output>;
        self.handle.0.broadcast(name, encoded, decode)
    }

    /// Shuts down and ends all workers with SIGTERM, and after the [grace](ProcessPoolBuilder::kill_grace)
    /// with SIGKILL. Running tasks are [aborted](crate::TaskError::is_aborted), and queued tasks are
    /// cancelled.
    ///
    /// Returns at once; a [`shutdown`](Executor::shutdown) afterwards waits until the workers are gone. The
    /// call is harmless on a pool that is idle, was never used, or is shut down.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let future = pool.submit(std::thread::sleep, Duration::from_secs(60));
    /// while !future.is_running() {}
    /// pool.terminate_workers();
    /// assert!(future.result().unwrap_err().is_aborted());
    /// ```
    pub fn terminate_workers(&self) {
        self.handle.0.end_all(Signal::TERM);
    }

    /// Like [`terminate_workers`](Self::terminate_workers), but with SIGKILL at once.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let future = pool.submit(std::thread::sleep, Duration::from_secs(60));
    /// pool.kill_workers();
    /// assert!(future.result().is_err());
    /// pool.blocking_shutdown(Shutdown::new())?;
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn kill_workers(&self) {
        self.handle.0.end_all(Signal::KILL);
    }
}

impl Executor for ProcessPoolExecutor {
    fn max_workers(&self) -> usize {
        self.handle.0.options.max_workers()
    }

    fn admission(&self) -> &Admission {
        self.handle.0.admission()
    }

    fn execute<J: Job>(
        &self,
        job: J,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<J::Output> {
        let (_made_anew, arguments) = job.into_parts();
        let encoded = self.handle.0.encoded(|out, large| {
            encode_with(&arguments, out, Some(large), Direction::EncodeArguments)
        });
        guarded_drop(arguments);
        let name = name_of::<JobCall<J>>();
        let decode = decode_result::<J::Output>;
        self.handle
            .0
            .submit(name, encoded, None, decode, place, options)
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        let encoded = self.handle.0.encoded(|out, large| {
            PointerCall::push_pointer(function, out);
            encode_with(&argument, out, Some(large), Direction::EncodeArguments)
        });
        guarded_drop(argument);
        let name = name_of::<PointerCall<A, T>>();
        let decode = decode_result::<T>;
        self.handle
            .0
            .submit(name, encoded, None, decode, place, options)
    }

    fn execute_chunk<J: Job>(
        &self,
        _function: J::Function,
        items: Vec<J::Args>,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>> {
        if items.is_empty() {
            let (results, time) = (Vec::new(), Duration::ZERO);
            return TaskFuture::ready(Ok(Chunk { results, time }));
        }
        let (bytes, chunk) = self.handle.0.encode_items(items);
        let name = name_of::<JobCall<J>>();
        let decode = decode_chunk::<J::Output>;
        let chunk = Some(chunk);
        self.handle.0.submit(
            name,
            Ok(Arguments::Bytes(bytes)),
            chunk,
            decode,
            place,
            options,
        )
    }

    fn shutdown(&self, how: Shutdown) -> TaskFuture<()> {
        self.handle.0.shutdown(how)
    }
}

// No foreign code runs while the pool's own state is changed.
impl UnwindSafe for ProcessPoolExecutor {}
impl RefUnwindSafe for ProcessPoolExecutor {}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor")
            .field("name", &self.handle.0.options.name)
            .field("max_workers", &self.max_workers())
            .finish_non_exhaustive()
    }
}
