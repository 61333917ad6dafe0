//! The pool of processes on systems that have none: it can be named, and its builder says why there is
//! no pool.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::{
    Admission, BuildError, Chunk, Executor, InitializerResult, Job, Observer, Place, Portable,
    Shutdown, Stats, TaskContext, TaskFn, TaskOptions,
};
use crate::task::TaskFuture;

#[cfg(concurrent_futures_loom)]
#[path = "ring/mod.rs"]
mod ring;
#[path = "stats.rs"]
mod stats;

pub use stats::{WorkerState, WorkerStats};

/// Would run tasks in worker processes, which this system does not have: no such value exists.
#[derive(Clone, Debug)]
pub struct ProcessPoolExecutor(Infallible);

impl ProcessPoolExecutor {
    /// # Panics
    /// Always, since this system has no worker processes. [`builder`](Self::builder) gives an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_workers: usize) -> Self {
        match Self::builder().max_workers(max_workers).build() {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns a builder, whose `build` gives an error.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder(())
    }

    /// There is no pool to ask.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self.0 {}
    }

    /// There is no pool to ask.
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        match self.0 {}
    }

    /// There is no pool to ask.
    #[must_use]
    pub fn worker_stats(&self) -> Vec<WorkerStats> {
        match self.0 {}
    }

    /// There is no pool to resize.
    ///
    /// # Errors
    /// None.
    pub fn resize(&self, _max_workers: usize) -> Result<(), BuildError> {
        match self.0 {}
    }

    /// There is no pool to start.
    pub fn warm_up(&self) -> TaskFuture<()> {
        match self.0 {}
    }

    /// There is no pool to ask.
    pub fn broadcast<F, Args, Marker>(
        &self,
        _function: F,
        _args: Args,
    ) -> Vec<TaskFuture<F::Output>>
    where
        F: TaskFn<Args, Marker, Output: Portable>,
        Args: Portable,
        Marker: 'static,
    {
        match self.0 {}
    }

    /// There is no pool to end.
    pub fn terminate_workers(&self) {
        match self.0 {}
    }

    /// There is no pool to end.
    pub fn kill_workers(&self) {
        match self.0 {}
    }
}

impl Executor for ProcessPoolExecutor {
    fn max_workers(&self) -> usize {
        match self.0 {}
    }

    fn admission(&self) -> &Admission {
        match self.0 {}
    }

    fn execute<J: Job>(
        &self,
        _job: J,
        _place: Option<Place>,
        _options: &TaskOptions,
    ) -> TaskFuture<J::Output> {
        match self.0 {}
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        _function: fn(A) -> T,
        _argument: A,
        _place: Option<Place>,
        _options: &TaskOptions,
    ) -> TaskFuture<T> {
        match self.0 {}
    }

    fn execute_chunk<J: Job>(
        &self,
        _function: J::Function,
        _items: Vec<J::Args>,
        _place: Option<Place>,
        _options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>> {
        match self.0 {}
    }

    fn shutdown(&self, _how: Shutdown) -> TaskFuture<()> {
        match self.0 {}
    }
}

/// Options for a process pool, which this system does not have: `build` gives an error.
#[derive(Debug)]
#[must_use]
pub struct ProcessPoolBuilder(());

impl ProcessPoolBuilder {
    /// Ignored.
    pub fn max_workers(self, _workers: usize) -> Self {
        self
    }

    /// Ignored.
    pub fn name(self, _name: impl Into<String>) -> Self {
        self
    }

    /// Ignored.
    pub fn initializer<F, A, Marker>(self, _function: F, _argument: A) -> Self
    where
        F: TaskFn<A, Marker, Output: InitializerResult>,
        A: Portable,
        Marker: 'static,
    {
        self
    }

    /// Ignored.
    pub fn max_tasks_per_worker(self, _tasks: usize) -> Self {
        self
    }

    /// Ignored.
    pub fn env(self, _key: impl Into<OsString>, _value: impl Into<OsString>) -> Self {
        self
    }

    /// Ignored.
    pub fn env_remove(self, _key: impl Into<OsString>) -> Self {
        self
    }

    /// Ignored.
    pub fn current_dir(self, _path: impl Into<PathBuf>) -> Self {
        self
    }

    /// Ignored.
    pub fn start_timeout(self, _limit: Duration) -> Self {
        self
    }

    /// Ignored.
    pub fn kill_grace(self, _time: Duration) -> Self {
        self
    }

    /// Ignored.
    pub fn idle_timeout(self, _time: Duration) -> Self {
        self
    }

    /// Ignored.
    pub fn max_payload(self, _bytes: u64) -> Self {
        self
    }

    /// Ignored.
    pub fn queue_limit(self, _tasks: usize) -> Self {
        self
    }

    /// Ignored.
    pub fn queue_bytes(self, _bytes: u64) -> Self {
        self
    }

    /// Ignored.
    pub fn observer(self, _observer: Arc<dyn Observer>) -> Self {
        self
    }

    /// Ignored.
    #[cfg(feature = "metrics")]
    pub fn metrics(self, _name: impl Into<String>) -> Self {
        self
    }

    /// Ignored.
    pub fn context<C: TaskContext>(self) -> Self {
        self
    }

    /// Ignored.
    pub fn finalizer<F, A, Marker>(self, _function: F, _argument: A) -> Self
    where
        F: TaskFn<A, Marker, Output: InitializerResult>,
        A: Portable,
        Marker: 'static,
    {
        self
    }

    /// Ignored.
    pub fn capture_output(self, _capture: bool) -> Self {
        self
    }

    /// Ignored.
    pub fn stopped_timeout(self, _limit: Duration) -> Self {
        self
    }

    /// Ignored.
    pub fn memory_limit(self, _bytes: u64) -> Self {
        self
    }

    /// Ignored.
    pub fn max_memory_per_worker(self, _bytes: u64) -> Self {
        self
    }

    /// Ignored.
    pub fn cpus_per_worker(self, _cpus: usize) -> Self {
        self
    }

    /// Ignored.
    pub fn nice(self, _increment: i32) -> Self {
        self
    }

    /// Ignored.
    pub fn file_size_limit(self, _bytes: u64) -> Self {
        self
    }

    /// Ignored.
    pub fn descriptor_limit(self, _descriptors: u64) -> Self {
        self
    }

    /// # Errors
    /// Always, [of the kind `Unsupported`](crate::BuildErrorKind::Unsupported).
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        Err(BuildError::unsupported(
            "worker processes need Linux on x86-64 or aarch64: \
             use ThreadPoolExecutor here, or choose by AnyExecutor",
        ))
    }
}

/// The way into a worker, where there are workers.
pub mod worker {
    /// Returns at once: this system has no worker processes.
    pub fn init() {}
}
