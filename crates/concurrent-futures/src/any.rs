//! An executor that is chosen at run time.

use crate::error::TaskError;
use crate::executor::{
    Admission, Chunk, Executor, InlineExecutor, Job, Place, Portable, Shutdown, TaskOptions,
};
use crate::process::ProcessPoolExecutor;
use crate::task::TaskFuture;
use crate::thread::ThreadPoolExecutor;

/// One of the executors of this crate, for choosing at run time. The trait has generic methods, so it cannot
/// be a trait object.
///
/// ```
/// use concurrent_futures::{AnyExecutor, Executor, InlineExecutor, ThreadPoolExecutor};
///
/// let on_threads = true;
/// let executor: AnyExecutor = if on_threads {
///     ThreadPoolExecutor::new(2).into()
/// } else {
///     InlineExecutor::new().into()
/// };
/// assert_eq!(executor.submit(u64::pow, (2, 10)).result()?, 1024);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyExecutor {
    /// Runs tasks on threads.
    Threads(ThreadPoolExecutor),
    /// Runs tasks in worker processes.
    Processes(ProcessPoolExecutor),
    /// Runs tasks where they are submitted.
    Inline(InlineExecutor),
}

/// Does the same with whichever executor it is.
macro_rules! delegate {
    ($self:ident, $executor:ident => $call:expr) => {
        match $self {
            Self::Threads($executor) => $call,
            Self::Processes($executor) => $call,
            Self::Inline($executor) => $call,
        }
    };
}

#[cfg(feature = "metrics")]
impl AnyExecutor {
    /// Like [`ThreadPoolExecutor::publish_metrics`] and [`ProcessPoolExecutor::publish_metrics`]. Does
    /// nothing for an [`InlineExecutor`], which has no metrics.
    pub fn publish_metrics(&self) {
        match self {
            Self::Threads(pool) => pool.publish_metrics(),
            Self::Processes(pool) => pool.publish_metrics(),
            Self::Inline(_) => {}
        }
    }
}

impl Executor for AnyExecutor {
    fn max_workers(&self) -> usize {
        delegate!(self, executor => executor.max_workers())
    }

    fn admission(&self) -> &Admission {
        delegate!(self, executor => executor.admission())
    }

    fn execute<J: Job>(
        &self,
        job: J,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<J::Output> {
        delegate!(self, executor => executor.execute(job, place, options))
    }

    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        delegate!(self, executor => executor.execute_fn(function, argument, place, options))
    }

    fn execute_chunk<J: Job>(
        &self,
        function: J::Function,
        items: Vec<J::Args>,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>> {
        delegate!(self, executor => executor.execute_chunk::<J>(function, items, place, options))
    }

    fn shutdown(&self, how: Shutdown) -> TaskFuture<()> {
        delegate!(self, executor => executor.shutdown(how))
    }

    fn blocking_shutdown(&self, how: Shutdown) -> Result<(), TaskError> {
        delegate!(self, executor => executor.blocking_shutdown(how))
    }
}

impl From<ThreadPoolExecutor> for AnyExecutor {
    fn from(executor: ThreadPoolExecutor) -> Self {
        Self::Threads(executor)
    }
}

impl From<ProcessPoolExecutor> for AnyExecutor {
    fn from(executor: ProcessPoolExecutor) -> Self {
        Self::Processes(executor)
    }
}

impl From<InlineExecutor> for AnyExecutor {
    fn from(executor: InlineExecutor) -> Self {
        Self::Inline(executor)
    }
}
