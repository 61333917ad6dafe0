//! The state of a pool, under its one lock: what is queued, which workers there are, what was counted.
//!
//! Methods change the state and say in [`Actions`] what is to be done outside of the lock: bells to
//! ring, results to give, things to drop. No foreign code runs and no process is started here.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::options::Options;
use super::ring::{Phase, Violation};
use super::sys::Signal;
use super::task::RemoteTask;
use super::worker_state::{
    Applied, Completion, Ending, Handed, Life, Link, Refusal, Reply, Worker,
};
use crate::error::{Loss, Ran, Rejection, TaskError, WorkerExit};
use crate::executor::WorkerId;
use crate::task::{CellRef, Outcome, Promise};
use crate::time::Timer;

/// How many times in a row a worker may die before it is ready, while there is no other, before the
/// tasks that wait for it fail.
const MOST_FAILED_STARTS: u32 = 3;

/// Work that may lie ready at a busy worker, so that it need not wait for the next hand-over.
const AHEAD_NANOS: u64 = 1_000_000;
const MOST_AHEAD: u64 = 100;
/// Tasks that take longer are handed over one at a time.
const LONG_NANOS: u64 = 5_000_000;

/// What lies behind a task that has run for this long already is given to others.
const STUCK_NANOS: u64 = 2_000_000;

pub(super) struct State {
    pub(super) phase: PoolPhase,
    pub(super) queue: VecDeque<RemoteTask>,
    pub(super) workers: Vec<Worker>,
    /// Places that are free because their worker is gone, or that wait for one.
    places: Places,
    /// Starts that were asked for, and have not led to a worker or a failure.
    pub(super) asked_starts: usize,
    /// Failed starts in a row.
    failed_starts: u32,
    /// No start is tried before.
    pub(super) no_start_before: u64,
    /// Workers that are to be ended, for the supervisor.
    pub(super) to_end: Vec<(u64, Signal)>,
    /// Changes when workers come or go, for the collector.
    pub(super) links_version: u64,
    pub(super) counts: Counts,
    /// A moving average of how long tasks run.
    mean_nanos: Option<u64>,
    last_rescue: u64,
    /// Tasks in the queue that were cancelled there.
    withdrawn: usize,
    /// Who waits for the end, and whether with a deadline.
    pub(super) closers: Vec<(Promise<()>, bool)>,
    /// Deadlines of shutdowns that are waited for.
    pub(super) deadlines: Vec<Timer>,
    /// The deadline of a shutdown that has passed.
    pub(super) overdue: Option<Duration>,
    /// Tasks with a time limit were handed over whose clock was not started.
    pub(super) has_new_limits: bool,
    /// The supervisor was started.
    pub(super) has_supervisor: bool,
    pub(super) restarts: u64,
}

#[derive(Clone)]
pub(super) enum PoolPhase {
    Open,
    ShutDown,
    Broken(TaskError),
}

#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    pub(super) submitted: u64,
    pub(super) rejected: u64,
    pub(super) finished: [u64; Outcome::COUNT],
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(super) struct Actions {
    /// Workers that have something to read.
    pub(super) wake: Vec<Arc<Link>>,
    pub(super) resolved: Vec<Resolved>,
    /// The supervisor has something to do.
    pub(super) notify: bool,
    /// To be dropped.
    pub(super) discarded: Vec<RemoteTask>,
}

/// A task that is over.
pub(super) struct Resolved {
    pub(super) task: RemoteTask,
    pub(super) completion: Completion,
    /// Where and how long it ran, if it did to its end.
    pub(super) run: Option<(WorkerId, u64)>,
    /// When it began, or was handed over.
    pub(super) begun: u64,
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
    pub(super) fn new() -> Self {
        Self {
            phase: PoolPhase::Open,
            queue: VecDeque::new(),
            workers: Vec::new(),
            places: Places::default(),
            asked_starts: 0,
            failed_starts: 0,
            no_start_before: 0,
            to_end: Vec::new(),
            links_version: 0,
            counts: Counts::default(),
            mean_nanos: None,
            last_rescue: 0,
            withdrawn: 0,
            closers: Vec::new(),
            deadlines: Vec::new(),
            overdue: None,
            has_new_limits: false,
            has_supervisor: false,
            restarts: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, PoolPhase::Open)
    }

    /// Nothing is left to do, and nothing will come.
    pub(super) fn is_over(&self) -> bool {
        !self.is_open()
            && self.queue.is_empty()
            && self.workers.is_empty()
            && self.asked_starts == 0
    }

    pub(super) fn restarts_of(&self, place: WorkerId) -> u64 {
        self.places
            .started
            .get(place.index())
            .map_or(0, |started| started.saturating_sub(1))
    }

    // ---- Handing over

    /// Gives queued tasks to workers that have room, and asks for more workers where that is allowed.
    pub(super) fn dispatch(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        while let Some(front) = self.queue.front() {
            if !front.cell().is_unfinished() {
                self.withdrawn = self.withdrawn.saturating_sub(1);
                actions.discarded.extend(self.queue.pop_front());
                continue;
            }
            let Some(index) = self.pick(options) else {
                break;
            };
            let Some(task) = self.queue.pop_front() else {
                break;
            };
            if !self.hand_over(index, task, options, now, actions) {
                break;
            }
        }
        if self.queue.is_empty() {
            self.share(options, now, actions);
        } else {
            self.ask_for_workers(options, actions);
        }
        self.retire(options, now, actions);
    }

    /// The worker that gets the next task, if one has room.
    fn pick(&self, options: &Options) -> Option<usize> {
        let has_tasks_left =
            |worker: &Worker| options.max_tasks_per_worker.is_none_or(|most| worker.given < most);
        let idle = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| worker.is_idle() && has_tasks_left(worker))
            // The one that was busy last: its caches are warm, and others can go.
            .max_by_key(|(_, worker)| worker.idle_since);
        if let Some((index, _)) = idle {
            return Some(index);
        }
        // One that starts has its first task waiting when it is ready.
        let starting = self
            .workers
            .iter()
            .position(|worker| worker.life == Life::Starting && worker.unfinished() == 0);
        if starting.is_some() {
            return starting;
        }
        // Nothing lies ready at a busy worker while others could be started for it.
        if self.workers.len() < options.max_workers && self.failed_starts == 0 {
            return None;
        }
        let depth = self.depth(options);
        self.workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| {
                worker.life == Life::Ready && worker.unfinished() < depth && has_tasks_left(worker)
            })
            .min_by_key(|(_, worker)| worker.unfinished())
            .map(|(index, _)| index)
    }

    /// How many tasks a worker may have at a time.
    fn depth(&self, options: &Options) -> usize {
        if options.max_tasks_per_worker.is_some() {
            return 1;
        }
        match self.mean_nanos {
            Some(nanos) if nanos < LONG_NANOS => {
                let ahead = (AHEAD_NANOS / nanos.max(1)).clamp(1, MOST_AHEAD);
                usize::try_from(ahead).unwrap_or(1) + 1
            }
            _ => 1,
        }
    }

    /// False if the task is back in the queue, since there was no room after all.
    fn hand_over(
        &mut self,
        index: usize,
        task: RemoteTask,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) -> bool {
        let worker = &mut self.workers[index];
        let most = options
            .max_tasks_per_worker
            .map_or(usize::MAX, |most| most.saturating_sub(worker.given).max(1));
        self.has_new_limits |= task.run_timeout.is_some();
        match worker.hand_over(task, most, now) {
            Ok(_) => {
                if !actions.wake.iter().any(|link| Arc::ptr_eq(link, &worker.link)) {
                    actions.wake.push(Arc::clone(&worker.link));
                }
                true
            }
            Err((task, Refusal::Full)) => {
                self.queue.push_front(task);
                false
            }
            Err((task, Refusal::Violation(violation))) => {
                self.queue.push_front(task);
                self.violated(index, violation, actions);
                false
            }
            Err((task, Refusal::Unsendable(error))) => {
                self.resolve(task, Completion::Error(error), None, now, actions);
                true
            }
        }
    }

    /// Where a worker is idle and another has tasks that have not begun, it gets half of them.
    fn share(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        if !self.workers.iter().any(Worker::is_idle) {
            return;
        }
        let Some(busiest) = (0..self.workers.len())
            .max_by_key(|&index| self.workers[index].unfinished())
            .filter(|&index| self.workers[index].unfinished() > 1)
        else {
            return;
        };
        let half = self.workers[busiest].unfinished() / 2;
        // The last come first, and are pushed to the front in this order.
        for task in self.workers[busiest].take_back_last(half) {
            self.queue.push_front(task);
        }
        while !self.queue.is_empty() {
            let idle = (0..self.workers.len()).find(|&index| {
                let worker = &self.workers[index];
                index != busiest && worker.life == Life::Ready && worker.unfinished() < half.max(1)
            });
            let Some(task) = idle.and_then(|_| self.queue.pop_front()) else {
                break;
            };
            let index = idle.unwrap_or(busiest);
            if !self.hand_over(index, task, options, now, actions) {
                break;
            }
        }
    }

    /// What lies behind a task that turns out to be long goes back to the queue.
    fn rescue(&mut self, now: u64) {
        if now.saturating_sub(self.last_rescue) < STUCK_NANOS / 2 {
            return;
        }
        self.last_rescue = now;
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.unfinished() < 2 {
                continue;
            }
            let Some((number, handed)) = worker.current() else {
                continue;
            };
            let begun = worker.link.memory.slot(number).begun_at().max(handed.at);
            let is_running = worker.phase(number) == Some(Phase::Running);
            if is_running && now.saturating_sub(begun) > STUCK_NANOS {
                let most = worker.unfinished() - 1;
                for task in worker.take_back_last(most) {
                    self.queue.push_front(task);
                }
            }
        }
    }

    fn ask_for_workers(&mut self, options: &Options, actions: &mut Actions) {
        let starting = self
            .workers
            .iter()
            .filter(|worker| worker.life == Life::Starting && worker.unfinished() == 0)
            .count();
        let wanted = self.queue.len();
        while self.asked_starts + starting < wanted
            && self.workers.len() + self.asked_starts < options.max_workers
        {
            self.asked_starts += 1;
            actions.notify = true;
        }
    }

    /// Lets workers go that have nothing more to do.
    fn retire(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        let is_closing = !self.is_open() && self.queue.is_empty();
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if !worker.is_idle() {
                continue;
            }
            let is_worn = options
                .max_tasks_per_worker
                .is_some_and(|most| worker.given >= most);
            if is_closing || is_worn {
                self.let_go(index, actions);
            }
        }
        let _ = now;
    }

    /// Tells an idle worker to leave.
    fn let_go(&mut self, index: usize, actions: &mut Actions) {
        let worker = &mut self.workers[index];
        worker.life = Life::Leaving;
        actions.notify = true;
        match worker.tell_to_leave() {
            Ok(true) => actions.wake.push(Arc::clone(&worker.link)),
            // The ring is empty, since the worker is idle.
            Ok(false) => self.violated(index, Violation("the ring does not empty"), actions),
            Err(violation) => self.violated(index, violation, actions),
        }
    }

    /// Lets workers go that were idle for too long; says when to look again.
    pub(super) fn let_idle_go(&mut self, limit: u64, now: u64, actions: &mut Actions) -> u64 {
        let mut next = now.saturating_add(limit);
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if worker.is_idle() {
                let end = worker.idle_since.saturating_add(limit);
                if end <= now {
                    self.let_go(index, actions);
                } else {
                    next = next.min(end);
                }
            }
        }
        next
    }

    // ---- Workers that come and go

    /// A process was started.
    pub(super) fn launched(
        &mut self,
        link: Arc<Link>,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        self.asked_starts -= 1;
        self.links_version += 1;
        let place = self.places.take();
        let mut worker = Worker::new(link, place, now);
        if let Some((call, argument)) = &options.initializer
            && worker.initialize(*call, argument).is_ok()
        {
            actions.wake.push(Arc::clone(&worker.link));
        }
        self.workers.push(worker);
        if self.is_open() || !self.queue.is_empty() {
            self.dispatch(options, now, actions);
        }
    }

    /// A worker could not be started, or died before it was ready.
    pub(super) fn start_failed(&mut self, why: TaskError, now: u64, actions: &mut Actions) {
        self.failed_starts += 1;
        let has_others = self
            .workers
            .iter()
            .any(|worker| matches!(worker.life, Life::Ready));
        if !has_others && self.failed_starts >= MOST_FAILED_STARTS {
            self.failed_starts = 0;
            let why = TaskError::rejected(Rejection::Broken).caused_by(why);
            self.reject_queue(&why, actions);
            return;
        }
        let pause = 10_000_000_u64 << self.failed_starts.min(9);
        self.no_start_before = now + pause;
        actions.notify = true;
    }

    /// Takes nothing any more, and rejects what is queued.
    pub(super) fn break_down(&mut self, why: &TaskError, actions: &mut Actions) {
        if self.is_open() {
            self.phase = PoolPhase::Broken(why.clone());
        }
        self.reject_queue(why, actions);
        for worker in &mut self.workers {
            let mut handed = worker.take_back_last(usize::MAX);
            handed.reverse();
            self.queue.extend(handed);
        }
        self.reject_queue(why, actions);
        actions.notify = true;
    }

    /// A worker was not ready in time: nor will another be.
    pub(super) fn start_timed_out(
        &mut self,
        launch: u64,
        why: TaskError,
        actions: &mut Actions,
    ) {
        let Some(index) = self.index_of(launch) else {
            return;
        };
        if self.workers[index].life != Life::Starting {
            return;
        }
        self.end(index, Ending::Aborted, Signal::KILL, actions);
        let why = TaskError::rejected(Rejection::Broken).caused_by(why);
        self.break_down(&why, actions);
    }

    pub(super) fn reject_queue(&mut self, why: &TaskError, actions: &mut Actions) {
        self.withdrawn = 0;
        for task in std::mem::take(&mut self.queue) {
            self.give_up(task, why, actions);
        }
    }

    /// Ends a task that no worker has. What a chunk has got so far it keeps.
    fn give_up(&mut self, mut task: RemoteTask, why: &TaskError, actions: &mut Actions) {
        if !task.cell().is_unfinished() {
            actions.discarded.push(task);
            return;
        }
        let completion = match &mut task.chunk {
            Some(chunk) if chunk.done > 0 => {
                for _ in 0..chunk.left() {
                    chunk.push_error(why);
                }
                Completion::Chunk
            }
            _ => Completion::Error(why.clone()),
        };
        self.resolve(task, completion, None, 0, actions);
    }

    /// A worker process is gone, and all that it had said was taken in.
    pub(super) fn lost(
        &mut self,
        launch: u64,
        exit: WorkerExit,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        let Some(index) = self.index_of(launch) else {
            return;
        };
        let mut worker = self.workers.swap_remove(index);
        self.links_version += 1;
        self.places.free.insert(worker.place.index());
        actions.notify = true;
        let was_starting = worker.life == Life::Starting;
        let was_expected = worker.life == Life::Leaving && worker.unfinished() == 0;
        if !was_expected {
            self.restarts += 1;
        }
        let loss = Loss {
            pid: worker.link.pid,
            exit,
            note: note_of(&worker),
        };
        let mut is_first = true;
        let mut again = Vec::new();
        for (number, handed) in worker.take_all() {
            // The worker begins them in order: only the first can have begun. What it says of others
            // is not believed.
            let has_begun = is_first && worker.phase(number) != Some(Phase::Handed);
            is_first = false;
            if has_begun {
                let error = match &worker.ending {
                    Some(Ending::Task {
                        number: stopped,
                        error,
                    }) if *stopped == number => error.clone(),
                    Some(Ending::Aborted) => TaskError::aborted(),
                    _ => TaskError::worker_lost(loss.clone()),
                };
                let begun = worker.link.memory.slot(number).items_begun();
                self.lost_task(worker.place, handed, begun, error, now, actions, &mut again);
            } else {
                again.push(handed.task);
            }
        }
        for task in again.into_iter().rev() {
            self.queue.push_front(task);
        }
        if was_starting && worker.ending.is_none() {
            self.start_failed(TaskError::worker_lost(loss), now, actions);
        }
        self.dispatch(options, now, actions);
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `lost`")]
    fn lost_task(
        &mut self,
        place: WorkerId,
        handed: Handed,
        begun: u64,
        error: TaskError,
        now: u64,
        actions: &mut Actions,
        again: &mut Vec<RemoteTask>,
    ) {
        let _ = place;
        let Handed { mut task, at, .. } = handed;
        let Some(chunk) = &mut task.chunk else {
            self.resolve(task, Completion::Error(error), None, at, actions);
            return;
        };
        // Items with a result keep it. One that has begun and has none is lost; the others never began.
        let with_result = chunk.results_of_this_hand_over() as u64;
        if begun > with_result && chunk.left() > 0 {
            chunk.push_error(&error);
        }
        let is_whole = chunk.left() == 0;
        if is_whole {
            self.resolve(task, Completion::Chunk, None, at, actions);
        } else if task.skip_done().is_ok() {
            // It cannot be cancelled as a whole any more.
            task.cell().note_start();
            again.push(task);
        } else {
            let error = TaskError::abandoned(Ran::Maybe);
            self.resolve(task, Completion::Error(error), None, now, actions);
        }
    }

    pub(super) fn index_of(&self, launch: u64) -> Option<usize> {
        self.workers
            .iter()
            .position(|worker| worker.link.launch == launch)
    }

    /// A worker breaks the rules: it is ended, and what it runs is lost.
    pub(super) fn violated(&mut self, index: usize, violation: Violation, actions: &mut Actions) {
        self.end(index, Ending::Violation(violation), Signal::KILL, actions);
    }

    /// Ends a worker, unless that was begun before.
    pub(super) fn end(
        &mut self,
        index: usize,
        why: Ending,
        signal: Signal,
        actions: &mut Actions,
    ) {
        let worker = &mut self.workers[index];
        if worker.ending.is_none() {
            worker.ending = Some(why);
            worker.life = Life::Ending;
        }
        self.to_end.push((worker.link.launch, signal));
        actions.notify = true;
    }

    // ---- Results

    /// Takes in what a worker has said.
    pub(super) fn apply(
        &mut self,
        launch: u64,
        replies: impl Iterator<Item = Reply>,
        now: u64,
        actions: &mut Actions,
    ) {
        for reply in replies {
            let Some(index) = self.index_of(launch) else {
                return;
            };
            let worker = &mut self.workers[index];
            match worker.apply(reply) {
                Ok(Applied::Item) => {}
                Ok(Applied::Ready) => {
                    worker.idle_since = now;
                    self.failed_starts = 0;
                    self.no_start_before = 0;
                }
                Ok(Applied::NotReady(error)) => {
                    worker.life = Life::Leaving;
                    worker.ending = Some(Ending::Aborted);
                    let why = TaskError::rejected(Rejection::Broken).caused_by(error);
                    self.break_down(&why, actions);
                }
                Ok(Applied::Finished(handed, completion, nanos)) => {
                    if worker.unfinished() == 0 {
                        worker.idle_since = now;
                    }
                    let place = worker.place;
                    self.measured(nanos);
                    let begun = now.saturating_sub(nanos).max(handed.at);
                    self.resolve(handed.task, completion, Some((place, nanos)), begun, actions);
                }
                Ok(Applied::Partly(task)) => {
                    task.cell().note_start();
                    if worker.unfinished() == 0 {
                        worker.idle_since = now;
                    }
                    self.queue.push_front(task);
                }
                Err(violation) => self.violated(index, violation, actions),
            }
        }
    }

    /// After a round of results.
    pub(super) fn after_round(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        self.rescue(now);
        self.dispatch(options, now, actions);
    }

    fn measured(&mut self, nanos: u64) {
        self.mean_nanos = Some(match self.mean_nanos {
            None => nanos,
            Some(mean) => mean - mean / 8 + nanos / 8,
        });
    }

    fn resolve(
        &mut self,
        task: RemoteTask,
        completion: Completion,
        run: Option<(WorkerId, u64)>,
        begun: u64,
        actions: &mut Actions,
    ) {
        let outcome = match &completion {
            Completion::Value(_) | Completion::Chunk => Outcome::Succeeded,
            Completion::Error(error) => Outcome::of_error(error),
        };
        self.counts.finished[outcome as usize] += 1;
        actions.resolved.push(Resolved {
            task,
            completion,
            run,
            begun,
        });
    }

    // ---- Control

    /// Claims a task that has not begun, wherever it lies. False if it has begun.
    pub(super) fn withdraw(&mut self, cell: &CellRef, actions: &mut Actions) -> bool {
        let place = (0..self.workers.len())
            .find_map(|index| Some((index, self.workers[index].find(cell)?)));
        let Some((index, number)) = place else {
            let is_claimed = cell.claim_queued();
            if is_claimed {
                self.withdrawn += 1;
                self.sweep(actions);
            }
            return is_claimed;
        };
        match self.workers[index].take_back(number) {
            Some(task) => {
                actions.discarded.push(task);
                cell.claim_queued()
            }
            None => {
                cell.note_start();
                false
            }
        }
    }

    /// Once most of the queue is cancelled, lets go of that part.
    fn sweep(&mut self, actions: &mut Actions) {
        if self.withdrawn > 32 && self.withdrawn > self.queue.len() / 2 {
            let (alive, gone) = std::mem::take(&mut self.queue)
                .into_iter()
                .partition(|task| task.cell().is_unfinished());
            self.queue = alive;
            let gone: VecDeque<RemoteTask> = gone;
            actions.discarded.extend(gone);
            self.withdrawn = 0;
        }
    }

    /// Asks a chunk to stop before its next item.
    pub(super) fn ask_to_stop(&mut self, cell: &CellRef, actions: &mut Actions) {
        if let Some((index, number)) = self.place_of(cell) {
            let memory = &self.workers[index].link.memory;
            memory.slot(number).ask_to_stop(number);
        } else if let Some(position) = self
            .queue
            .iter()
            .position(|task| task.cell().id() == cell.id())
            && let Some(task) = self.queue.remove(position)
        {
            self.give_up(task, &TaskError::cancelled(), actions);
        }
    }

    /// Where a task is that was handed over.
    pub(super) fn place_of(&self, cell: &CellRef) -> Option<(usize, u64)> {
        self.workers
            .iter()
            .enumerate()
            .find_map(|(index, worker)| Some((index, worker.find(cell)?)))
    }

    /// Ends the worker of a task that runs. False if the task is over, or has not begun.
    pub(super) fn stop(
        &mut self,
        index: usize,
        number: u64,
        error: TaskError,
        actions: &mut Actions,
    ) -> bool {
        let worker = &self.workers[index];
        if !worker.link.memory.slot(number).stop(number) {
            return false;
        }
        self.end(index, Ending::Task { number, error }, Signal::TERM, actions);
        true
    }

    /// Stops all that runs, and cancels what does not.
    pub(super) fn end_all(&mut self, signal: Signal, actions: &mut Actions) {
        if self.is_open() {
            self.phase = PoolPhase::ShutDown;
        }
        self.cancel_all(actions);
        for index in 0..self.workers.len() {
            self.end(index, Ending::Aborted, signal, actions);
        }
        actions.notify = true;
    }

    /// Cancels all that has not begun.
    pub(super) fn cancel_all(&mut self, actions: &mut Actions) {
        for index in 0..self.workers.len() {
            let mut taken = self.workers[index].take_back_last(usize::MAX);
            taken.reverse();
            self.queue.extend(taken);
        }
        for task in std::mem::take(&mut self.queue) {
            self.give_up(task, &TaskError::cancelled(), actions);
        }
        self.withdrawn = 0;
    }

    /// How many tasks run at this moment.
    pub(super) fn running(&self) -> u64 {
        self.workers
            .iter()
            .map(|worker| {
                worker
                    .tasks()
                    .filter(|(number, _)| worker.phase(*number) != Some(Phase::Handed))
                    .count() as u64
            })
            .sum()
    }
}

/// What a worker has left behind to explain its end.
fn note_of(worker: &Worker) -> Option<String> {
    use std::sync::atomic::Ordering;
    if let Some(Ending::Violation(violation)) = &worker.ending {
        return Some(format!("it was ended, because {violation}"));
    }
    let memory = &worker.link.memory;
    if memory.overflown.0.load(Ordering::Relaxed) != 0 {
        return Some("stack overflow".to_owned());
    }
    if worker.link.has_hung_up.load(Ordering::Relaxed) {
        return Some(
            "it had closed its channel: the task closed its descriptors, or became another program"
                .to_owned(),
        );
    }
    memory.note.read()
}
