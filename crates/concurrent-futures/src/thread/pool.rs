//! The thread pool as its users have it.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::builder::ThreadPoolBuilder;
use super::scope::Scope;
use super::shared::Shared;
use crate::context;
use crate::error::TaskError;
use crate::executor::{
    Admission, Chunk, Executor, Job, Permit, Place, Portable, Shutdown, Stats, TaskOptions,
    WithOptions, run_chunk,
};
use crate::task::TaskFuture;

/// Runs tasks on threads, up to a fixed number at a time, in the order in which they were submitted. More
/// [urgent](TaskOptions::priority) tasks go first.
///
/// Threads are started on demand, and end when they have been without work for a while. The pool does not
/// depend on a tokio runtime: it works inside one, outside of any, from several, and in a `static`. A task
/// that was submitted in a runtime runs in the context of that runtime, so `Handle::current()` works there.
///
/// This is a handle: clones share the pool. Dropping the last handle is a shutdown without waiting: the tasks
/// that were taken still run, and their futures resolve. When `main` returns or the process exits, running
/// tasks are cut off and queued tasks never run. To have them finish, wait for a
/// [`shutdown`](Executor::shutdown).
///
/// A task may wait for other tasks of its own pool, whatever the number of workers: see
/// [`TaskFuture::result`]. By default the pool takes every task that is submitted;
/// [`queue_limit`](ThreadPoolBuilder::queue_limit) sets a bound.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
/// use std::sync::LazyLock;
///
/// static POOL: LazyLock<ThreadPoolExecutor> = LazyLock::new(|| ThreadPoolExecutor::new(4));
///
/// assert_eq!(POOL.submit(u64::pow, (2, 10)).result()?, 1024);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone)]
pub struct ThreadPoolExecutor {
    handle: Arc<Handle>,
}

/// The handles together. When the last one goes, nothing can be submitted any more.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ThreadPoolExecutor {
    /// Makes a pool that runs up to `max_workers` tasks at a time: see the example of [`ThreadPoolExecutor`].
    ///
    /// # Panics
    /// If `max_workers` is 0. [`builder`](Self::builder) gives an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_workers: usize) -> Self {
        match Self::builder().max_workers(max_workers).build() {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns a builder for a pool with options: see the example of [`ThreadPoolBuilder`].
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle(shared)),
        }
    }

    /// Runs a closure. It may capture and return any values that can be sent.
    ///
    /// Only threads can do this; [`submit`](Executor::submit) is the portable form. The value that the
    /// closure returns is passed on as it is: a future that it makes (`|| async { … }`) has not run, and
    /// belongs in tokio's `spawn`.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let text = String::from("captured");
    /// assert_eq!(pool.spawn(move || text.len()).result()?, 8);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> TaskFuture<T> {
        self.run(move || Ok(body()), None, &TaskOptions::default())
    }

    /// Runs tasks that borrow from the caller, and returns when all of them are over. This is what Python's
    /// `with` block does, in blocking code.
    ///
    /// A task may borrow whatever lives longer than the call. It may also borrow the [`Scope`] itself, to
    /// spawn more tasks. The call returns the function's value once every task has ended, their closures and
    /// callbacks have been dropped, and so have the results that nobody took. The scope waits for bodies: a
    /// body that is aborted, or whose running time is over, keeps the scope open until it returns.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let text = String::from("borrowed");
    /// let mut letters = Vec::new();
    /// let length = pool.scope(|scope| {
    ///     let length = scope.spawn(|| text.len());
    ///     scope.spawn(|| letters.extend(text.chars())).detach();
    ///     length.result()
    /// })??;
    /// assert_eq!(length, 8);
    /// assert_eq!(letters, ['b', 'o', 'r', 'r', 'o', 'w', 'e', 'd']);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// [`is_would_block`](TaskError::is_would_block) in async code, where waiting for the tasks would stop
    /// the runtime; then nothing has run. The errors of tasks stay in their futures: a task that panics, or
    /// is refused because the pool was shut down, does not make the scope fail.
    ///
    /// # Panics
    /// If `f` panics, after the tasks are over.
    ///
    /// # Deadlocks
    /// The scope waits for its tasks as `f` would wait for their futures. If a task waits for something that
    /// happens only after the scope, or for a lock that the caller holds, neither the task nor the scope ever
    /// ends.
    #[doc(alias = "with")]
    pub fn scope<'env, R>(
        &self,
        f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R, TaskError> {
        if context::is_async() {
            return Err(TaskError::would_block().never_run());
        }
        Ok(Scope::enter(self.clone(), f))
    }

    /// The current counters of the pool: see the example of [`Stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.0.stats()
    }

    /// Publishes the pool's current numbers through the `metrics` facade: those that are not counted as they
    /// change. Call this just before they are read, as in the handler of `GET /metrics`, or now and then for
    /// exporters that push. It does nothing in a pool without [`metrics`](ThreadPoolBuilder::metrics). Needs
    /// the feature `metrics`.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// let prometheus = PrometheusBuilder::new().install_recorder()?;
    /// let pool = ThreadPoolExecutor::builder().max_workers(2).metrics("resize").build()?;
    /// pool.submit(u64::pow, (2, 10)).result()?;
    /// pool.publish_metrics();
    /// assert!(prometheus.render().contains(r#"concurrent_futures_workers{pool="resize"} 1"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        self.handle.0.publish_metrics();
    }

    pub(super) fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        self.handle.0.submit(body, place, options)
    }
}

impl Executor for ThreadPoolExecutor {
    fn max_workers(&self) -> usize {
        self.handle.0.queue.max_leases()
    }

    fn admission(&self) -> &Admission {
        &self.handle.0.admission
    }

    fn execute<J: Job>(
        &self,
        job: J,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<J::Output> {
        let (function, args) = job.into_parts();
        self.run(move || J::call(function, args), place, options)
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        self.run(move || Ok(function(argument)), place, options)
    }

    fn execute_chunk<J: Job>(
        &self,
        function: J::Function,
        items: Vec<J::Args>,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>> {
        self.run(move || Ok(run_chunk::<J>(function, items)), place, options)
    }

    fn shutdown(&self, how: Shutdown) -> TaskFuture<()> {
        self.handle.0.shutdown(how)
    }
}

impl WithOptions<'_, ThreadPoolExecutor> {
    /// Like [`ThreadPoolExecutor::spawn`].
    pub fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> TaskFuture<T> {
        self.executor.run(move || Ok(body()), None, &self.options)
    }
}

impl Permit<ThreadPoolExecutor> {
    /// Like [`ThreadPoolExecutor::spawn`].
    pub fn spawn<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> TaskFuture<T> {
        let body = move || Ok(body());
        self.executor.run(body, Some(self.place), &self.options)
    }
}

// No foreign code runs while the pool's own state is changed.
impl UnwindSafe for ThreadPoolExecutor {}
impl RefUnwindSafe for ThreadPoolExecutor {}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("max_workers", &self.max_workers())
            .field("spawner", &self.handle.0.spawner)
            .finish_non_exhaustive()
    }
}
