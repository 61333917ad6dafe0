//! What a pool of processes tells about its workers.

use crate::executor::WorkerId;

/// A worker process at one moment, made by [`worker_stats`](super::ProcessPoolExecutor::worker_stats).
///
/// ```
/// use concurrent_futures::{ProcessPoolExecutor, WorkerState};
///
/// let pool = ProcessPoolExecutor::new(2);
/// pool.warm_up().result()?;
/// let workers = pool.worker_stats();
/// for worker in &workers {
///     println!("worker {} is process {} and has run {} tasks", worker.id(), worker.pid(), worker.tasks());
///     assert_eq!((worker.restarts(), worker.dropped_events()), (0, 0));
/// }
/// let stopped = workers.iter().filter(|worker| worker.state() == WorkerState::Stopped);
/// assert_eq!(stopped.count(), 0);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStats {
    pub(super) id: WorkerId,
    pub(super) pid: u32,
    pub(super) state: WorkerState,
    pub(super) tasks: u64,
    pub(super) restarts: u64,
    pub(super) dropped_events: u64,
}

/// What a worker process is doing: see the example of [`WorkerStats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It was started, but has not finished its initializer.
    Starting,
    /// It waits for work.
    Idle,
    /// It has work.
    Busy,
    /// It was told to leave, or is being ended.
    Ending,
    /// A signal has stopped it, and it gets no work until it goes on.
    Stopped,
}

impl WorkerStats {
    /// The worker's number in its pool, the lowest that was free. Its successor gets the same number. See the
    /// example of [`WorkerStats`].
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// The process id: see the example of [`WorkerStats`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What the worker is doing: see the example of [`WorkerStats`].
    #[must_use]
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// How many tasks, and items of maps, this process has run, not counting those of its predecessors. See
    /// the example of [`WorkerStats`].
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.tasks
    }

    /// How many processes had this number before it. See the example of [`WorkerStats`].
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How many `tracing` events, spans and changes of spans this process has dropped, because they came
    /// faster than the pool could emit them. See the example of [`WorkerStats`].
    #[must_use]
    pub fn dropped_events(&self) -> u64 {
        self.dropped_events
    }
}
