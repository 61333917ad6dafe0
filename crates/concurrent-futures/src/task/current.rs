//! What a running task can know of itself, above all that it was asked to stop.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::cell::{self, CellRef};
use super::future::debug_task;
use crate::id::TaskId;

/// The task that the calling thread runs at this moment. `None` outside of a task.
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
    if let Some(cell) = cell::current() {
        return Some(CurrentTask(Place::Here(cell)));
    }
    // A thread that ends runs no task.
    let remote = REMOTE.try_with(|remote| remote.borrow().clone());
    remote
        .ok()
        .flatten()
        .map(|task| CurrentTask(Place::FromElsewhere(task)))
}

/// The running task, as it sees itself: see [`current`].
#[derive(Clone)]
pub struct CurrentTask(Place);

#[derive(Clone)]
enum Place {
    /// Its future is in this process.
    Here(CellRef),
    /// This is a worker process; its future is in another one.
    FromElsewhere(RemoteCurrent),
}

impl CurrentTask {
    /// The id that the task shares with its future: see the example of [`name`](Self::name). In a worker
    /// process, it is unique in the process that submitted the task.
    #[must_use]
    pub fn id(&self) -> TaskId {
        match &self.0 {
            Place::Here(cell) => cell.id(),
            Place::FromElsewhere(task) => task.id,
        }
    }

    /// The name that the task was given when it was submitted. In a worker process, at most its first 1 024
    /// bytes.
    ///
    /// ```
    /// use concurrent_futures::{task, Executor, TaskOptions, ThreadPoolExecutor};
    ///
    /// fn describe() -> String {
    ///     let task = task::current().expect("runs as a task");
    ///     format!("{} is task {}", task.name().unwrap_or("this"), task.id())
    /// }
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let future = pool.with(TaskOptions::new().name("report")).submit(describe, ());
    /// let id = future.id();
    /// assert_eq!(future.result()?, format!("report is task {id}"));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Place::Here(cell) => cell.info().name(),
            Place::FromElsewhere(task) => task.name.as_deref(),
        }
    }

    /// Whether the task should stop, because its future was aborted or its running time is over. See the
    /// example of [`current`].
    ///
    /// In these cases a worker process is ended. So its tasks see only a softer request, which is made to the
    /// items of a dropped map.
    #[must_use]
    pub fn is_stop_requested(&self) -> bool {
        match &self.0 {
            Place::Here(cell) => cell.is_stop_requested(),
            Place::FromElsewhere(task) => task.source.is_asked_to_stop(task.number),
        }
    }

    /// A token that is cancelled when the task should stop, for code that waits. If you cancel it yourself,
    /// only those to whom you gave it learn of it.
    ///
    /// In a worker process, the token is cancelled from the start or never: a task that has to stop there is
    /// ended with its process.
    ///
    /// ```
    /// use concurrent_futures::{task, Executor, ThreadPoolExecutor};
    /// use tokio::runtime::Handle;
    ///
    /// /// Waits for something, or until it should stop.
    /// fn listen() -> bool {
    ///     let token = task::current().expect("runs as a task").token();
    ///     Handle::current().block_on(token.cancelled());
    ///     token.is_cancelled()
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), concurrent_futures::TaskError> {
    /// let pool = ThreadPoolExecutor::new(1);
    /// let future = pool.submit(listen, ());
    /// while !future.is_running() {
    ///     tokio::task::yield_now().await;
    /// }
    /// future.abort();
    /// assert!(future.await?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        match &self.0 {
            // A child: cancelling it must not look like a request to the task's other holders.
            Place::Here(cell) => cell.token().child_token(),
            Place::FromElsewhere(_) => {
                let token = CancellationToken::new();
                if self.is_stop_requested() {
                    token.cancel();
                }
                token
            }
        }
    }
}

impl fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Here(cell) => debug_task(f, "CurrentTask", cell),
            Place::FromElsewhere(task) => f
                .debug_struct("CurrentTask")
                .field("id", &task.id.get())
                .finish_non_exhaustive(),
        }
    }
}

thread_local! {
    static REMOTE: RefCell<Option<RemoteCurrent>> = const { RefCell::new(None) };
}

/// Who knows, in a worker process, whether a task was asked to stop.
pub(crate) trait StopSource: Sync {
    fn is_asked_to_stop(&self, number: u64) -> bool;
}

/// A task that runs here for another process.
#[derive(Clone)]
pub(crate) struct RemoteCurrent {
    id: TaskId,
    name: Option<Arc<str>>,
    number: u64,
    source: &'static dyn StopSource,
}

/// Ends the time in which a task is current.
pub(crate) struct LeaveRemote(());

impl RemoteCurrent {
    /// The calling thread runs this task until the answer is dropped.
    pub(crate) fn enter(
        id: TaskId,
        name: Option<Arc<str>>,
        number: u64,
        source: &'static dyn StopSource,
    ) -> LeaveRemote {
        REMOTE.set(Some(Self {
            id,
            name,
            number,
            source,
        }));
        LeaveRemote(())
    }
}

impl Drop for LeaveRemote {
    fn drop(&mut self) {
        REMOTE.set(None);
    }
}
