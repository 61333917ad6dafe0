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

/// Runs tasks in worker processes, up to a number of them at a time.
///
/// A worker is this same program, started again; it takes over before `main` and needs no
/// registration, no macro and no call in `main`. A crash in a task costs that task and nothing else: its
/// future says how the worker ended, another worker takes its place, and everything else goes on. A
/// running task can be stopped with [`abort`](TaskFuture::abort) or a run timeout, which ends its
/// process.
///
/// Functions, arguments and results are as for every [`Executor`]; here they really travel. What a
/// function leaves in statics stays with the worker that ran it.
///
/// This is a handle: clones share the pool. Dropping the last one is a shutdown without waiting: the
/// tasks that were taken still run, and their futures resolve. When this process ends, whichever way,
/// its workers end with it.
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
/// What a task says to `tracing` is heard in the process of the pool: its events and spans are made anew
/// there, in the span that was current when the task was submitted, for the subscriber of that span, or
/// for the global one if there was none. They come before the result. A worker says only what the
/// subscribers of the pool's process may want by its level; it is told of another level with the next
/// task.
///
/// - Times are those of arrival; spans are entered only while something is emitted in them; `follows_from`
///   does not travel. A task's spans are closed when it ends, at the latest.
/// - Nobody waits for a subscriber. What comes too fast is dropped, and told and counted
///   ([`dropped_events`](WorkerStats::dropped_events)).
/// - There are at most 1 024 callsites of workers in a process. Events and spans of others have a message
///   that says it all, and one callsite for each level.
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
    /// A pool that runs up to `max_workers` tasks at a time: see the example of [`ProcessPoolExecutor`].
    ///
    /// # Panics
    /// If `max_workers` is 0, and where [`build`](ProcessPoolBuilder::build) gives an error: this
    /// program cannot be started as a worker, or the system has no such pools.
    #[must_use]
    #[track_caller]
    pub fn new(max_workers: usize) -> Self {
        match Self::builder().max_workers(max_workers).build() {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// A pool with options: see the example of [`ProcessPoolBuilder`].
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::new()
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle(shared)),
        }
    }

    /// The pool's counters at this moment: see the example of [`Stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.0.stats()
    }

    /// Publishes the pool's numbers of this moment through the facade `metrics`: those that are not counted as
    /// they change. To be called just before they are read, as in the handler of `GET /metrics`, or now and
    /// then for exporters that push. Does nothing in a pool without [`metrics`](ProcessPoolBuilder::metrics). Needs
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

    /// The worker processes that there are at this moment, in the order of their numbers.
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

    /// Sets how many workers there may be from now on.
    ///
    /// With more, what is queued starts further workers at once. With fewer, those that are too many go:
    /// idle ones at once, busy ones when their task is over, which nothing stops; until then no further
    /// task begins. The [queue limit](ProcessPoolBuilder::queue_limit) counts from the new number, and who
    /// has a place keeps it. Of several calls at the same time, one wins. Harmless on a pool that is shut
    /// down.
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
    /// For 0 workers.
    pub fn resize(&self, max_workers: usize) -> Result<(), BuildError> {
        self.handle.0.resize(max_workers)
    }

    /// Starts all workers that there may be, and resolves once each has been ready: started, and its
    /// initializer run. They are kept for the [idle timeout](ProcessPoolBuilder::idle_timeout), which
    /// begins then.
    ///
    /// The starts happen whether or not somebody waits for the future; [`abort`](TaskFuture::abort)
    /// leaves them to what is queued.
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
    /// The future's: what has [broken](crate::Rejection::Broken) the pool, such as an initializer that
    /// fails; [`NoWorker`](crate::Rejection::NoWorker) after three starts that failed, with the cause of
    /// the last; [`ShutDown`](crate::Rejection::ShutDown).
    pub fn warm_up(&self) -> TaskFuture<()> {
        self.handle.0.warm_up()
    }

    /// Runs a function once in each worker process that there is, to reload a configuration, say, or to
    /// drop a cache. Gives a future for each of them, in the order of their
    /// [numbers](WorkerStats::id); none if there are none.
    ///
    /// In each worker it runs behind what was handed over to it before, and before all that is submitted
    /// afterwards; in one that is starting, after the initializer. Workers that are started later do not
    /// run it: what each of them is to do is the [initializer](ProcessPoolBuilder::initializer)'s. A call
    /// is for one worker and never runs in another: if that one is gone before, the future says so
    /// ([`is_worker_lost`](crate::TaskError::is_worker_lost), and [`ran`](crate::TaskError::ran) that it
    /// did not begin). It needs no place of the [queue limit](ProcessPoolBuilder::queue_limit), and counts
    /// as a task otherwise. The arguments are encoded once.
    ///
    /// A pool that takes nothing any more, and arguments that cannot be encoded, give a single future,
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

    /// Shuts down and ends all workers with SIGTERM, and after the
    /// [grace](ProcessPoolBuilder::kill_grace) with SIGKILL. What runs is
    /// [aborted](crate::TaskError::is_aborted), what is queued is cancelled.
    ///
    /// Returns at once; a [`shutdown`](Executor::shutdown) afterwards waits until they are gone.
    /// Harmless on a pool that is idle, was never used, or is shut down.
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

    /// As [`terminate_workers`](Self::terminate_workers), with SIGKILL at once.
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
