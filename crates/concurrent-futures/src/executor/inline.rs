//! The executor without workers: it runs a task at once, where it is submitted.

use super::admission::{Admission, Place};
use super::function::Portable;
use super::job::{Chunk, Job, run_chunk};
use super::options::{Shutdown, TaskOptions};
use super::submit::Executor;
use crate::error::{Rejection, TaskError};
use crate::id::OwnerId;
use crate::task::{Outcome, Recorder, TaskFuture, TaskInfo};
use std::fmt;

/// Runs each task on the calling thread, before `submit` returns. Use it for tests, and for programs that
/// must not start threads.
///
/// The futures that it returns are done. They hold panics and errors, as everywhere.
///
/// ```
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// let future = InlineExecutor::new().submit(u64::pow, (2, 10));
/// assert!(future.is_done());
/// assert_eq!(future.result()?, 1024);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Default)]
pub struct InlineExecutor {
    admission: Admission,
}

/// Nobody counts what runs inline.
struct Unrecorded;

impl Recorder for Unrecorded {
    fn finished(&mut self, _task: TaskInfo<'_>, _outcome: Outcome) {}
    fn told(&mut self) {}
    fn overtaken(&mut self) {}
}

impl InlineExecutor {
    /// Makes an executor that runs tasks where they are submitted: see the example of [`InlineExecutor`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        if let Some(why) = self.admission.closed() {
            return TaskFuture::ready(Err(why.clone()));
        }
        let (runnable, future) = TaskFuture::local(body, OwnerId::NONE, 0, options.extras());
        if let Some(started) = runnable.start() {
            started.run(&mut Unrecorded);
        }
        future
    }
}

impl Executor for InlineExecutor {
    fn max_workers(&self) -> usize {
        1
    }

    /// Without limits: a task is over when it is submitted.
    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn execute<J: Job>(
        &self,
        job: J,
        _place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<J::Output> {
        let (function, args) = job.into_parts();
        self.run(move || J::call(function, args), options)
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        _place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        self.run(move || Ok(function(argument)), options)
    }

    fn execute_chunk<J: Job>(
        &self,
        function: J::Function,
        items: Vec<J::Args>,
        _place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>> {
        self.run(move || Ok(run_chunk::<J>(function, items)), options)
    }

    fn shutdown(&self, _how: Shutdown) -> TaskFuture<()> {
        let why = TaskError::rejected(Rejection::ShutDown);
        self.admission.close(&why);
        TaskFuture::ready(Ok(()))
    }
}

impl fmt::Debug for InlineExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineExecutor").finish_non_exhaustive()
    }
}
