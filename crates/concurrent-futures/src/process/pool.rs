//! The pool of processes as its users have it.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use super::builder::ProcessPoolBuilder;
use super::call::{JobCall, PointerCall, decode_chunk, decode_result, encode};
use super::parent::{Shared, encoded};
use super::record::name_of;
use super::stats::WorkerStats;
use super::sys::Signal;
use crate::error::Direction;
use crate::executor::{
    Admission, Chunk, Executor, Job, Place, Portable, Shutdown, Stats, TaskOptions,
};
use crate::panic::guarded_drop;
use crate::task::TaskFuture;

/// Runs tasks in worker processes, up to a fixed number at a time.
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
    /// A pool that runs up to `max_workers` tasks at a time.
    ///
    /// # Panics
    /// If `max_workers` is 0, and where [`build`](ProcessPoolBuilder::build) gives an error: this
    /// program cannot be started as a worker, or the system has no such pools.
    #[must_use]
    pub fn new(max_workers: usize) -> Self {
        match Self::builder().max_workers(max_workers).build() {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// A pool with options.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::new()
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle(shared)),
        }
    }

    /// The pool's counters at this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.0.stats()
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
    pub fn kill_workers(&self) {
        self.handle.0.end_all(Signal::KILL);
    }
}

impl Executor for ProcessPoolExecutor {
    fn max_workers(&self) -> usize {
        self.handle.0.options.max_workers
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
        let bytes = encoded(|out| encode(&arguments, out, Direction::EncodeArguments));
        guarded_drop(arguments);
        let name = name_of::<JobCall<J>>();
        let decode = decode_result::<J::Output>;
        self.handle
            .0
            .submit(name, bytes, None, decode, place, options)
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        let bytes = encoded(|out| {
            PointerCall::push_pointer(function, out);
            encode(&argument, out, Direction::EncodeArguments)
        });
        guarded_drop(argument);
        let name = name_of::<PointerCall<A, T>>();
        let decode = decode_result::<T>;
        self.handle
            .0
            .submit(name, bytes, None, decode, place, options)
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
        self.handle
            .0
            .submit(name, Ok(bytes), chunk, decode, place, options)
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
