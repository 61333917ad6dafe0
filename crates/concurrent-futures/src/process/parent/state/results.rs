//! What workers say.

use super::{Actions, Resolved, State};
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
                    self.resolve(
                        handed.task,
                        completion,
                        Some((place, nanos)),
                        begun,
                        actions,
                    );
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
    pub(in crate::process) fn after_round(
        &mut self,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        self.rescue(now);
        self.dispatch(options, now, actions);
    }

    fn measured(&mut self, nanos: u64) {
        self.mean_nanos = Some(match self.mean_nanos {
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
