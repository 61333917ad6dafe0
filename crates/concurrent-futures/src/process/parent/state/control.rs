//! Cancelling, stopping, and looking.

use super::{Actions, PoolPhase, State};
use crate::error::TaskError;
use crate::executor::Taken;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::Ending;
use crate::process::ring::Phase;
use crate::process::sys::Signal;
use crate::task::CellRef;

impl State {
    /// The task that a worker knows by this number; the one that it runs for none.
    pub(in crate::process) fn task_of(&self, launch: u64, number: Option<u64>) -> Option<CellRef> {
        let worker = &self.workers[self.index_of(launch)?];
        worker.task(number).cloned()
    }

    /// Claims a task that has not begun, wherever it lies. False if it has begun.
    pub(in crate::process) fn withdraw(&mut self, cell: &CellRef, actions: &mut Actions) -> bool {
        if !cell.is_queued() {
            return false;
        }
        let place = (0..self.workers.len())
            .find_map(|index| Some((index, self.workers[index].find(cell)?)));
        let Some((index, number)) = place else {
            let is_claimed = cell.claim_queued();
            if is_claimed {
                self.drop_claimed(cell, actions);
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

    /// A task was claimed in the queue. If somebody may wait for its place it is taken out, which is
    /// cheap where the queue is limited; otherwise it goes with others.
    fn drop_claimed(&mut self, cell: &CellRef, actions: &mut Actions) {
        if let Some(task) = self.take_pinned(cell) {
            actions.discarded.push(task);
            return;
        }
        let is_limited = |next: Taken<&RemoteTask>| next.task.has_place();
        if self.queue.peek().is_some_and(is_limited) {
            let task = self.take_queued(cell);
            actions.discarded.extend(task);
        } else {
            self.withdrawn += 1;
            self.sweep(actions);
        }
    }

    /// Once most of the queue is cancelled, lets go of that part.
    pub(super) fn sweep(&mut self, actions: &mut Actions) {
        if self.withdrawn > 32 && self.withdrawn > self.queue.len() / 2 {
            let gone = self.queue.take_unless(|task| task.cell().is_unfinished());
            actions.discarded.extend(gone);
            self.withdrawn = 0;
        }
    }

    /// Asks a chunk to stop before its next item.
    pub(in crate::process) fn ask_to_stop(&mut self, cell: &CellRef, actions: &mut Actions) {
        if let Some((index, number)) = self.place_of(cell) {
            let memory = &self.workers[index].link.memory;
            memory.slot(number).ask_to_stop(number);
        } else if let Some(task) = self.take_queued(cell) {
            self.give_up(task, &TaskError::cancelled(), actions);
        }
    }

    /// Stops a task that has begun. False if it is over.
    pub(in crate::process) fn abort(&mut self, cell: &CellRef, actions: &mut Actions) -> bool {
        let taken = match self.place_of(cell) {
            Some((index, number)) => {
                if self.stop(index, number, TaskError::aborted(), actions)
                    || self.workers[index].is_ending_for(number)
                {
                    return true;
                }
                // A chunk that was begun elsewhere; this part may begin just now.
                let taken = self.workers[index].take_back(number);
                if taken.is_none() && self.stop(index, number, TaskError::aborted(), actions) {
                    return true;
                }
                taken
            }
            None if self.abort_warm_up(cell, actions) => return true,
            None => self.take_queued(cell),
        };
        match taken {
            Some(task) => {
                self.give_up(task, &TaskError::aborted(), actions);
                true
            }
            None => false,
        }
    }

    fn take_queued(&mut self, cell: &CellRef) -> Option<RemoteTask> {
        self.take_pinned(cell)
            .or_else(|| self.queue.take(|task| task.cell().id() == cell.id()))
    }

    /// Where a task is that was handed over.
    pub(in crate::process) fn place_of(&self, cell: &CellRef) -> Option<(usize, u64)> {
        self.workers
            .iter()
            .enumerate()
            .find_map(|(index, worker)| Some((index, worker.find(cell)?)))
    }

    /// Ends the worker of a task that runs. False if the task is over, or has not begun.
    pub(in crate::process) fn stop(
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
    pub(in crate::process) fn end_all(&mut self, signal: Signal, actions: &mut Actions) {
        if self.is_open() {
            self.phase = PoolPhase::ShutDown;
        }
        self.is_ended = true;
        self.cancel_all(actions);
        for index in 0..self.workers.len() {
            self.end(index, Ending::Aborted, signal, actions);
        }
        actions.notify = true;
    }

    /// Cancels all that has not begun.
    pub(in crate::process) fn cancel_all(&mut self, actions: &mut Actions) {
        self.give_up_all(&TaskError::cancelled(), actions);
    }

    /// How many tasks run at this moment.
    pub(in crate::process) fn running(&self) -> u64 {
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
