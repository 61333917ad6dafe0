//! What a running task can know of itself, above all that it was asked to stop.

use std::fmt;

use tokio_util::sync::CancellationToken;

use super::cell::{self, CellRef};
use super::future::debug_task;
use crate::id::TaskId;

/// The task that the calling thread runs at this moment; `None` outside of one.
///
/// ```
/// use concurrent_futures::{task, Executor, ThreadPoolExecutor};
///
/// fn count() -> u64 {
///     let task = task::current().expect("runs as a task");
///     let mut rounds = 0;
///     while !task.is_stop_requested() {
///         rounds += 1;
///     }
///     rounds
/// }
///
/// let pool = ThreadPoolExecutor::new(1);
/// let future = pool.submit(count, ());
/// while !future.is_running() {}
/// future.abort();
/// assert!(future.result().is_ok());
/// ```
#[must_use]
pub fn current() -> Option<CurrentTask> {
    cell::current().map(CurrentTask)
}

/// The running task, as it sees itself: see [`current`].
#[derive(Clone)]
pub struct CurrentTask(CellRef);

impl CurrentTask {
    /// The id that the task shares with its future.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.id()
    }

    /// The name that the task was given when it was submitted.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.info().name()
    }

    /// Somebody wants the task to stop: its future was aborted, or its running time is over.
    ///
    /// Costs one atomic load: cheap enough for an inner loop.
    #[must_use]
    pub fn is_stop_requested(&self) -> bool {
        self.0.is_stop_requested()
    }

    /// A token that is cancelled when the task is asked to stop: for code that takes tokio-util's
    /// token, and for awaiting the request.
    ///
    /// Made when first asked for. Cancelling it yourself stops what you gave it to, and says
    /// nothing to anybody else.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        // A child: cancelling it must not look like a request to the task's other holders.
        self.0.token().child_token()
    }
}

impl fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_task(f, "CurrentTask", &self.0)
    }
}
