//! What workers say.

use std::borrow::Cow;

use super::{Actions, PoolPhase, Resolved, State};
use crate::error::{Rejection, TaskError};
use crate::executor::WorkerId;
use crate::process::parent::options::Options;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::{Applied, Completion, Ending, Life, Reply};
use crate::task::Outcome;

impl State {
    /// Takes in what a worker has said.
    pub(in crate::process) fn apply(
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
                    self.no_start_before = 0;
                    self.warmed();
                    self.has_idle(actions);
                    self.tell_begun(index, now, actions);
                }
                Ok(Applied::NotReady(why)) => {
                    worker.life = Life::Leaving;
                    worker.ending = Some(Ending::Aborted);
                    let why = TaskError::rejected(Rejection::Broken).caused_by(why);
                    self.break_down(&why, actions);
                }
                Ok(Applied::NotFinalized(error)) => {
                    let pid = worker.link.pid;
                    let why = error.message().map(Cow::into_owned);
                    let why = why.unwrap_or_else(|| error.to_string());
                    actions.unfinalized.push((pid, why));
                }
                Ok(Applied::Finished(handed, completion, nanos)) => {
                    let place = worker.place;
                    if worker.unfinished() == 0 {
                        worker.idle_since = now;
                        self.has_idle(actions);
                    }
                    self.failed_starts = 0;
                    self.measured(nanos);
                    let begun = now.saturating_sub(nanos).max(handed.at);
                    self.resolve(
                        handed.task,
                        completion,
                        Some((place, nanos)),
                        begun,
                        actions,
                    );
                    self.tell_begun(index, now, actions);
                }
                Ok(Applied::Partly(task)) => {
                    if worker.unfinished() == 0 {
                        worker.idle_since = now;
                        self.has_idle(actions);
                    }
                    self.failed_starts = 0;
                    self.go_on(task, actions);
                    self.tell_begun(index, now, actions);
                }
                Err(violation) => self.violated(index, violation, actions),
            }
        }
    }

    /// What a worker gives back, of a chunk or as a whole, is handed over again; unless it was asked to
    /// stop, or the pool has ended.
    pub(super) fn go_on(&mut self, task: RemoteTask, actions: &mut Actions) {
        if task.was_lost() || task.chunk.as_ref().is_some_and(|chunk| chunk.done > 0) {
            // It cannot be cancelled as a whole any more.
            task.cell().note_start();
        }
        match self.objection(&task) {
            Some(why) => self.give_up(task, &why, actions),
            None => self.put_back(task),
        }
    }

    /// Why a task that was begun is not to be run any more, if there is a reason.
    pub(super) fn objection(&self, task: &RemoteTask) -> Option<TaskError> {
        match &self.phase {
            PoolPhase::Broken(why) => Some(why.clone()),
            _ if self.is_ended || task.cell().is_stop_requested() => Some(TaskError::cancelled()),
            _ => None,
        }
    }

    /// What comes back goes before its equals; what is for one worker alone waits for that one.
    pub(super) fn put_back(&mut self, task: RemoteTask) {
        if task.pinned_to().is_some() {
            self.pinned.push_front(task);
        } else {
            self.queue.push_front(task.priority(), task);
        }
    }

    /// If somebody observes: the task that a worker begins now is told, once.
    pub(super) fn tell_begun(&mut self, index: usize, now: u64, actions: &mut Actions) {
        if !self.is_observed || self.workers[index].life != Life::Ready {
            return;
        }
        let worker = &mut self.workers[index];
        let place = worker.place;
        let Some(handed) = worker.current_mut() else {
            return;
        };
        if !std::mem::replace(&mut handed.task.was_told, true) {
            actions.begun.push((handed.task.cell().clone(), place, now));
        }
    }

    /// Has the supervisor look after workers that are idle for long, if it does not.
    pub(super) fn has_idle(&mut self, actions: &mut Actions) {
        if !self.is_idle_watched {
            self.is_idle_watched = true;
            actions.notify = true;
        }
    }

    /// After a round of results.
    pub(in crate::process) fn after_round(
        &mut self,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        if options.max_memory_per_worker.is_some() {
            self.note_outgrown(actions);
        }
        self.rescue(now);
        self.dispatch(options, now, actions);
    }

    /// Workers that have too much memory get nothing more, and what they have not begun goes to others.
    fn note_outgrown(&mut self, actions: &mut Actions) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            let Some(bytes) = worker.outgrown().filter(|_| !worker.is_outgrown) else {
                continue;
            };
            worker.is_outgrown = true;
            actions.outgrown.push((worker.link.pid, bytes));
            for task in worker.take_back_last(usize::MAX) {
                self.put_back(task);
            }
        }
    }

    fn measured(&mut self, nanos: u64) {
        self.set_mean(match self.mean_nanos {
            None => nanos,
            Some(mean) => mean - mean / 8 + nanos / 8,
        });
    }

    pub(super) fn resolve(
        &mut self,
        task: RemoteTask,
        completion: Completion,
        run: Option<(WorkerId, u64)>,
        begun: u64,
        actions: &mut Actions,
    ) {
        // Until the result is given, outside of the lock, nobody may cancel what is counted here.
        if !task.cell().settle() {
            actions.discarded.push(task);
            return;
        }
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
}
