//! Which task goes to which worker, and when.

use std::sync::Arc;

use super::{Actions, PoolPhase, State};
use crate::error::TaskError;
use crate::process::parent::options::Options;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::{Ending, Life, Refusal, Worker};
use crate::process::ring::Phase;
use crate::process::sys::Signal;

/// Work that may lie ready at a busy worker, so that it need not wait for the next hand-over.
const AHEAD_NANOS: u64 = 8_000_000;
const MOST_AHEAD: u64 = 100;
/// Tasks that take longer are handed over one at a time.
const LONG_NANOS: u64 = 5_000_000;

/// What lies behind a task that has run for this long already is given to others.
const STUCK_NANOS: u64 = 2_000_000;

/// After which a worker that had no room is asked to leave again.
const SOON: u64 = 1_000_000;

/// Room for this many tasks is kept when the queue is empty.
const MOST_KEPT: usize = 4_096;

impl State {
    /// Gives queued tasks to workers that have room, and asks for more workers where that is allowed.
    pub(in crate::process) fn dispatch(
        &mut self,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        self.hand_over_pinned(options, now, actions);
        let has_surplus = self.let_surplus_go(options, actions);
        while !has_surplus && !self.queue.is_empty() {
            let picked = self.pick(options);
            let is_full = picked.is_none() && self.workers.len() >= options.max_workers();
            if is_full && !self.has_priorities {
                // Who goes or says something leads here again.
                break;
            }
            let Some(next) = self.queue.peek() else {
                break;
            };
            let front = next.task;
            if !front.cell().is_unfinished() {
                self.withdrawn = self.withdrawn.saturating_sub(1);
                actions.discarded.extend(self.take_next());
                continue;
            }
            if front.chunk.is_some() && front.cell().is_stop_requested() {
                // It was handed over before, and taken back since it was asked.
                if let Some(task) = self.take_next() {
                    self.give_up(task, &TaskError::cancelled(), actions);
                }
                continue;
            }
            let priority = front.priority();
            let Some(index) = self.least_ahead(picked, priority) else {
                break;
            };
            let Some(task) = self.take_next() else {
                break;
            };
            // After it was taken from the queue: what comes back may be next there, for its age.
            if self.has_priorities {
                let has_taken_back = self.take_back_less_urgent(index, priority);
                let is_its_turn = has_taken_back || picked == Some(index);
                if !is_its_turn || !self.has_room(&self.workers[index], options) {
                    // What was to make room has begun, or more is in the way. Then all workers are busy,
                    // and what they say next leads here again.
                    self.put_back(task);
                    break;
                }
            }
            self.hand_over(index, task, options, now, actions);
        }
        // What filled it may have been taken back: then it says nothing by which it would be heard of.
        let is_silent = |worker: &Worker| worker.is_full && worker.unfinished() == 0;
        let has_waiting = !self.queue.is_empty() || !self.pinned.is_empty();
        if has_waiting && self.workers.iter().any(is_silent) {
            self.try_again(actions);
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(MOST_KEPT);
            if !has_surplus {
                self.share(options, now, actions);
            }
        }
        self.end_warm_ups(options, now, actions);
        if self.wanted_starts() > 0 {
            self.ask_for_workers(options, actions);
        }
        self.retire(options, actions);
    }

    fn take_next(&mut self) -> Option<RemoteTask> {
        let taken = self.queue.pop()?;
        let mut task = taken.task;
        task.is_due |= taken.for_its_age;
        Some(task)
    }

    /// The worker that gets the next task, if one has room.
    fn pick(&self, options: &Options) -> Option<usize> {
        let idle = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| {
                worker.is_idle() && worker.is_receptive() && worker.has_tasks_left(options)
            })
            // The one that was busy last: its caches are warm, and others can go.
            .max_by_key(|(_, worker)| worker.idle_since);
        if let Some((index, _)) = idle {
            return Some(index);
        }
        // One that starts has its first task waiting when it is ready.
        let starting = self.workers.iter().position(|worker| {
            // What its initializer writes is no task's.
            worker.is_unused() && worker.is_receptive() && !options.capture_output
        });
        if starting.is_some() {
            return starting;
        }
        // Nothing lies ready at a busy worker while others could be started for it.
        if self.workers.len() < options.max_workers() && self.failed_starts == 0 {
            return None;
        }
        self.workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| worker.life == Life::Ready && self.has_room(worker, options))
            .min_by_key(|(_, worker)| worker.unfinished())
            .map(|(index, _)| index)
    }

    /// One more task may lie at a worker, which is not told to end.
    fn has_room(&self, worker: &Worker, options: &Options) -> bool {
        let may_lie_behind = || {
            worker.life == Life::Ready
                && worker.unfinished() < self.depth(options)
                && !worker.is_stuck
                && !worker.is_reserved()
        };
        (worker.unfinished() == 0 || may_lie_behind() || worker.is_unused())
            && worker.is_receptive()
            && worker.has_tasks_left(options)
    }

    /// The worker at which the fewest tasks are ahead of one of this priority, if what is less urgent
    /// is taken back: the one that was picked, or one that has less urgent tasks lying ready.
    fn least_ahead(&self, picked: Option<usize>, priority: i32) -> Option<usize> {
        if !self.has_priorities || picked.is_some_and(|index| self.workers[index].unfinished() == 0)
        {
            return picked;
        }
        let ahead = |index: usize| {
            let worker = &self.workers[index];
            let less_urgent = worker.less_urgent(priority);
            let can_swap = less_urgent > 0
                && matches!(worker.life, Life::Starting | Life::Ready)
                && worker.is_receptive();
            (can_swap || picked == Some(index)).then(|| worker.unfinished() - less_urgent)
        };
        (0..self.workers.len())
            .filter_map(|index| Some((ahead(index)?, index)))
            .min()
            .map(|(_, index)| index)
    }

    /// Makes room for a task of this priority. False if there was nothing to take back.
    fn take_back_less_urgent(&mut self, index: usize, priority: i32) -> bool {
        let worker = &mut self.workers[index];
        let count = worker.less_urgent(priority);
        let taken = worker.take_back_last(count);
        let has_taken = !taken.is_empty();
        for task in taken {
            self.put_back(task);
        }
        has_taken
    }

    /// How many tasks a worker may have at a time.
    fn depth(&self, options: &Options) -> usize {
        if options.max_tasks_per_worker.is_some() || options.capture_output {
            return 1;
        }
        self.depth
    }

    /// How long tasks run, as far as is known, says how many may lie at a worker.
    pub(super) fn set_mean(&mut self, nanos: u64) {
        self.mean_nanos = Some(nanos);
        self.depth = if nanos < LONG_NANOS {
            let ahead = (AHEAD_NANOS / nanos.max(1)).clamp(1, MOST_AHEAD);
            usize::try_from(ahead).unwrap_or(1) + 1
        } else {
            1
        };
    }

    /// The task is back in the queue, if there was no room after all; then this worker is not picked
    /// again before it has said something.
    pub(super) fn hand_over(
        &mut self,
        index: usize,
        task: RemoteTask,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        let worker = &mut self.workers[index];
        let most = options
            .max_tasks_per_worker
            .map_or(usize::MAX, |most| most.saturating_sub(worker.given).max(1));
        let limit = task.run_timeout();
        let refused = match worker.hand_over(task, most, &self.shelf, now) {
            Ok(number) => {
                if let Some(limit) = limit {
                    actions.limits.push((worker.link.launch, number, limit));
                }
                if !actions
                    .wake
                    .iter()
                    .any(|link| Arc::ptr_eq(link, &worker.link))
                {
                    actions.wake.push(Arc::clone(&worker.link));
                }
                if !self.is_work_watched {
                    self.is_work_watched = true;
                    actions.notify = true;
                }
                self.tell_begun(index, now, actions);
                return;
            }
            Err(refused) => *refused,
        };
        match refused {
            (task, Refusal::Full) => {
                worker.is_full = true;
                self.put_back(task);
            }
            (task, Refusal::Lacking(error)) => {
                worker.is_full = true;
                // What runs may give back what the system is short of.
                if self.workers.iter().any(|worker| worker.unfinished() > 0) {
                    self.try_again(actions);
                    self.put_back(task);
                } else {
                    self.give_up(task, &error, actions);
                }
            }
            (task, Refusal::Violation(violation)) => {
                self.put_back(task);
                self.violated(index, violation, actions);
            }
        }
    }

    /// Where a worker is idle and another has tasks that have not begun, it gets half of them; and all
    /// that wait for a worker which is not ready yet.
    fn share(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        let may_take = |worker: &Worker| worker.is_idle() && worker.is_receptive();
        if !self.workers.iter().any(may_take) {
            return;
        }
        let spare = |worker: &Worker| match worker.life {
            Life::Starting if worker.is_unused() => 0,
            Life::Starting => worker.unfinished(),
            Life::Ready => worker.unfinished() / 2,
            Life::Leaving | Life::Ending => 0,
        };
        let Some(busiest) = (0..self.workers.len())
            .max_by_key(|&index| spare(&self.workers[index]))
            .filter(|&index| spare(&self.workers[index]) > 0)
        else {
            return;
        };
        let most = spare(&self.workers[busiest]);
        // The last come first, and are pushed to the front in this order.
        for task in self.workers[busiest].take_back_last(most) {
            self.put_back(task);
        }
        while let Some(task) = self.take_next() {
            if task.chunk.is_some() && task.cell().is_stop_requested() {
                self.give_up(task, &TaskError::cancelled(), actions);
                continue;
            }
            let other = (0..self.workers.len())
                .filter(|&index| {
                    let worker = &self.workers[index];
                    index != busiest
                        && worker.life == Life::Ready
                        && worker.is_receptive()
                        && !worker.is_reserved()
                        && worker.unfinished() < most
                        && worker.has_tasks_left(options)
                })
                .min_by_key(|&index| self.workers[index].unfinished());
            let Some(index) = other else {
                self.put_back(task);
                break;
            };
            self.hand_over(index, task, options, now, actions);
        }
    }

    /// What lies behind a task that turns out to be long goes back to the queue.
    pub(super) fn rescue(&mut self, now: u64) {
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
                worker.is_stuck = true;
                let most = worker.unfinished() - 1;
                for task in worker.take_back_last(most) {
                    self.put_back(task);
                }
            }
        }
    }

    fn ask_for_workers(&mut self, options: &Options, actions: &mut Actions) {
        if self.is_ended || matches!(self.phase, PoolPhase::Broken(_)) {
            return;
        }
        let starting = self
            .workers
            .iter()
            .filter(|worker| worker.is_unused())
            .count();
        let wanted = self.wanted_starts();
        while self.asked_starts + starting < wanted
            && self.workers.len() + self.asked_starts < options.max_workers()
        {
            self.asked_starts += 1;
            actions.notify = true;
        }
    }

    /// Lets workers go that have nothing more to do.
    fn retire(&mut self, options: &Options, actions: &mut Actions) {
        let is_closing = !self.is_open() && self.queue.is_empty();
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if is_closing
                && worker.life == Life::Starting
                && worker.unfinished() == 0
                && !self.has_pinned(index)
            {
                self.end(index, Ending::Aborted, Signal::TERM, actions);
                continue;
            }
            if !worker.is_idle() {
                continue;
            }
            if is_closing || !worker.has_tasks_left(options) {
                self.let_go(index, actions);
            }
        }
    }

    /// Tells an idle worker to leave.
    pub(super) fn let_go(&mut self, index: usize, actions: &mut Actions) {
        if self.has_pinned(index) {
            // It had no room for it; then it does that first.
            self.try_again(actions);
            return;
        }
        let worker = &mut self.workers[index];
        worker.life = Life::Leaving;
        actions.notify = true;
        match worker.tell_to_leave() {
            Ok(true) => actions.wake.push(Arc::clone(&worker.link)),
            Ok(false) => {
                worker.life = Life::Ready;
                self.try_again(actions);
            }
            Err(violation) => self.violated(index, violation, actions),
        }
    }

    /// What lies in the ring may be frames that the worker skips, without a word: so nobody says when
    /// there is room.
    fn try_again(&mut self, actions: &mut Actions) {
        self.lacks_room = true;
        actions.retry = true;
    }

    /// Time has passed: there may be room.
    pub(in crate::process) fn try_full_again(&mut self) {
        self.lacks_room = false;
        for worker in &mut self.workers {
            worker.is_full = false;
        }
    }

    /// Lets workers go that were idle for too long; says when to look again, if any is idle.
    pub(in crate::process) fn let_idle_go(
        &mut self,
        limit: u64,
        now: u64,
        actions: &mut Actions,
    ) -> u64 {
        let (mut next, mut is_any_idle) = (u64::MAX, false);
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if worker.is_idle() && self.warm_ups.is_empty() {
                is_any_idle = true;
                let mut end = worker.idle_since.saturating_add(limit);
                if end <= now {
                    self.let_go(index, actions);
                    if !self.workers[index].is_idle() {
                        continue;
                    }
                    end = now.saturating_add(SOON);
                }
                next = next.min(end);
            }
        }
        self.is_idle_watched = is_any_idle;
        next
    }
}
