//! The state of a pool, under its one lock: what is queued, which workers there are, what was counted.
//!
//! Methods change the state and say in [`Actions`] what is to be done outside of the lock: bells to
//! ring, results to give, things to drop. No foreign code runs and no process is started here.

mod control;
mod handing_over;
mod pinned;
mod resizing;
mod results;
#[cfg(test)]
mod tests;
mod workers;

use resizing::WarmUp;
pub(in crate::process) use workers::{FailedStart, Rest};

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Rejection, TaskError};
use crate::executor::{Ranked, WorkerId};
use crate::process::large::Shelf;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::{Completion, Link, Worker};
use crate::process::sys::Signal;
use crate::task::{CellRef, Outcome, Promise, Remote};
use crate::time::Timer;

pub(in crate::process) struct State {
    /// Memory for large arguments that have none yet.
    shelf: Arc<Shelf>,
    pub(in crate::process) phase: PoolPhase,
    pub(in crate::process) queue: Ranked<RemoteTask>,
    /// Tasks for one worker alone that could not be handed over yet.
    pinned: VecDeque<RemoteTask>,
    /// There was a task of another priority than 0.
    has_priorities: bool,
    pub(in crate::process) workers: Vec<Worker>,
    /// Places that are free because their worker is gone, or that wait for one.
    places: Places,
    /// Those who wait until all workers are ready.
    warm_ups: Vec<WarmUp>,
    /// Starts that were asked for, and have not led to a worker or a failure.
    pub(in crate::process) asked_starts: usize,
    /// Failed starts in a row.
    failed_starts: u32,
    /// No start is tried before.
    pub(in crate::process) no_start_before: u64,
    /// Workers that are to be ended, for the supervisor.
    pub(in crate::process) to_end: Vec<(u64, Signal)>,
    /// Changes when workers come or go, for the collector.
    pub(in crate::process) links_version: u64,
    pub(in crate::process) counts: Counts,
    /// A moving average of how long tasks run.
    mean_nanos: Option<u64>,
    /// How many tasks of that length a worker may have at a time.
    depth: usize,
    last_rescue: u64,
    /// Tasks in the queue that were cancelled there.
    withdrawn: usize,
    /// Who waits for the end, and whether with a deadline.
    pub(in crate::process) closers: Vec<(Promise<()>, bool)>,
    /// Deadlines of shutdowns that are waited for.
    pub(in crate::process) deadlines: Vec<Timer>,
    /// The deadline of a shutdown that has passed.
    pub(in crate::process) overdue: Option<Duration>,
    /// All workers were ended: none is started any more.
    pub(in crate::process) is_ended: bool,
    /// There is an observer.
    is_observed: bool,
    /// A task could not be handed over for want of room: to be tried again soon.
    pub(in crate::process) lacks_room: bool,
    /// The supervisor knows when to look for workers that are idle for long.
    pub(in crate::process) is_idle_watched: bool,
    /// The supervisor looks whether workers that have work are stopped.
    pub(in crate::process) is_work_watched: bool,
    /// The supervisor was started.
    pub(in crate::process) has_supervisor: bool,
}

#[derive(Clone)]
pub(in crate::process) enum PoolPhase {
    Open,
    ShutDown,
    Broken(TaskError),
}

#[derive(Debug, Default, Clone)]
pub(in crate::process) struct Counts {
    pub(in crate::process) submitted: u64,
    pub(in crate::process) rejected: u64,
    pub(in crate::process) retried: u64,
    pub(in crate::process) finished: [u64; Outcome::COUNT],
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(in crate::process) struct Actions {
    /// Workers that have something to read.
    pub(in crate::process) wake: Vec<Arc<Link>>,
    pub(in crate::process) resolved: Vec<Resolved>,
    /// The supervisor has something to do.
    pub(in crate::process) notify: bool,
    /// Tasks that were handed over with a time limit: the worker's launch, their number, the limit.
    pub(in crate::process) limits: Vec<(u64, u64, Duration)>,
    /// Tasks that a worker begins, for the observer.
    pub(in crate::process) begun: Vec<(CellRef, WorkerId, u64)>,
    /// Tasks that are tried again, and how they were lost.
    pub(in crate::process) retried: Vec<(CellRef, TaskError)>,
    /// The collector has to try again soon.
    pub(in crate::process) retry: bool,
    /// Nothing is taken any more, for this reason.
    pub(in crate::process) closed: Option<TaskError>,
    /// Warm-ups that are over, and why they have failed if so.
    pub(in crate::process) warmed: Vec<(Remote, Option<TaskError>)>,
    /// Workers whose finalizer did not run to its end, by their process ids, and why.
    pub(in crate::process) unfinalized: Vec<(u32, String)>,
    /// Workers that are replaced because they have so many bytes of memory: their process ids.
    pub(in crate::process) outgrown: Vec<(u32, u64)>,
    /// To be dropped.
    pub(in crate::process) discarded: Vec<RemoteTask>,
}

/// A task that is over.
pub(in crate::process) struct Resolved {
    pub(in crate::process) task: RemoteTask,
    pub(in crate::process) completion: Completion,
    /// Where and how long it ran, if it did to its end.
    pub(in crate::process) run: Option<(WorkerId, u64)>,
    /// When it began, or was handed over.
    pub(in crate::process) begun: u64,
}

/// The numbers of workers: the lowest that is free.
#[derive(Default)]
struct Places {
    free: BTreeSet<usize>,
    made: usize,
    /// How many processes were started at each.
    started: Vec<u64>,
}

impl Places {
    fn take(&mut self) -> WorkerId {
        let index = self.free.pop_first().unwrap_or_else(|| {
            self.made += 1;
            self.started.push(0);
            self.made - 1
        });
        self.started[index] += 1;
        WorkerId(index)
    }
}

impl State {
    pub(in crate::process) fn new(is_observed: bool, shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            phase: PoolPhase::Open,
            queue: Ranked::default(),
            pinned: VecDeque::new(),
            has_priorities: false,
            workers: Vec::new(),
            places: Places::default(),
            warm_ups: Vec::new(),
            asked_starts: 0,
            failed_starts: 0,
            no_start_before: 0,
            to_end: Vec::new(),
            links_version: 0,
            counts: Counts::default(),
            mean_nanos: None,
            depth: 1,
            last_rescue: 0,
            withdrawn: 0,
            closers: Vec::new(),
            deadlines: Vec::new(),
            overdue: None,
            is_ended: false,
            is_observed,
            lacks_room: false,
            is_idle_watched: false,
            is_work_watched: false,
            has_supervisor: false,
        }
    }

    /// Takes a new task.
    pub(in crate::process) fn enqueue(&mut self, task: RemoteTask) {
        let priority = task.priority();
        self.has_priorities |= priority != 0;
        self.queue.push(priority, task);
    }

    pub(in crate::process) fn is_open(&self) -> bool {
        matches!(self.phase, PoolPhase::Open)
    }

    /// Why nothing is taken any more, if so.
    pub(in crate::process) fn refusal(&self) -> Option<TaskError> {
        match &self.phase {
            PoolPhase::Open => None,
            PoolPhase::ShutDown => Some(TaskError::rejected(Rejection::ShutDown)),
            PoolPhase::Broken(why) => Some(why.clone()),
        }
    }

    /// Nothing is left to do, and nothing will come.
    pub(in crate::process) fn is_over(&self) -> bool {
        !self.is_open()
            && self.queue.is_empty()
            && self.workers.is_empty()
            && self.asked_starts == 0
    }

    #[cfg(feature = "metrics")]
    pub(in crate::process) fn workers_started(&self) -> u64 {
        self.places.started.iter().sum()
    }

    pub(in crate::process) fn restarts_of(&self, place: WorkerId) -> u64 {
        self.places
            .started
            .get(place.index())
            .map_or(0, |started| started.saturating_sub(1))
    }
}
