//! Tasks that are for one worker alone.
//!
//! Always: they are handed over in their order, behind what the worker has, and are never given to
//! another one.

use std::collections::VecDeque;

use super::{Actions, State};
use crate::error::{Loss, TaskError};
use crate::process::parent::options::Options;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::{Life, Worker};
use crate::task::CellRef;

impl State {
    /// The launches of up to `most` workers that are not about to go, in the order of their numbers; those
    /// that were started first, if there are more.
    pub(in crate::process) fn launches(&self, most: usize) -> Vec<u64> {
        let stays = |worker: &&Worker| matches!(worker.life, Life::Starting | Life::Ready);
        let mut workers: Vec<&Worker> = self.workers.iter().filter(stays).collect();
        workers.sort_by_key(|worker| worker.link.launch);
        workers.truncate(most);
        workers.sort_by_key(|worker| worker.place);
        workers.iter().map(|worker| worker.link.launch).collect()
    }

    /// Takes a new task, which is for one worker alone.
    pub(in crate::process) fn enqueue_pinned(&mut self, task: RemoteTask) {
        self.counts.submitted += 1;
        self.pinned.push_back(task);
    }

    /// Hands over what is for one worker alone, where there is room.
    pub(super) fn hand_over_pinned(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        if self.pinned.is_empty() {
            return;
        }
        let mut kept = VecDeque::new();
        for task in std::mem::take(&mut self.pinned) {
            if !task.cell().is_unfinished() {
                actions.discarded.push(task);
                continue;
            }
            let index = task.pinned_to().and_then(|launch| self.index_of(launch));
            let takes = |worker: &Worker| {
                let is_in_time = match worker.life {
                    // What a worker writes has to be of one task.
                    _ if options.capture_output => worker.is_idle(),
                    Life::Starting | Life::Ready => true,
                    Life::Leaving | Life::Ending => false,
                };
                is_in_time && worker.is_receptive()
            };
            match index.filter(|&index| takes(&self.workers[index])) {
                Some(index) => self.hand_over(index, task, options, now, actions),
                None => kept.push_back(task),
            }
            // What was refused came back.
            kept.append(&mut self.pinned);
        }
        self.pinned = kept;
    }

    /// Whether something waits for this worker alone that could not be handed over.
    pub(super) fn has_pinned(&self, index: usize) -> bool {
        let launch = Some(self.workers[index].link.launch);
        self.pinned.iter().any(|task| task.pinned_to() == launch)
    }

    pub(super) fn take_pinned(&mut self, cell: &CellRef) -> Option<RemoteTask> {
        let is_meant = |task: &RemoteTask| task.cell().id() == cell.id();
        let place = self.pinned.iter().position(is_meant)?;
        self.pinned.remove(place)
    }

    /// The worker is gone for which these were.
    pub(super) fn give_up_pinned(&mut self, launch: u64, loss: &Loss, actions: &mut Actions) {
        let (gone, kept) = std::mem::take(&mut self.pinned)
            .into_iter()
            .partition(|task| task.pinned_to() == Some(launch));
        self.pinned = kept;
        for task in gone {
            let error = TaskError::worker_lost(loss.clone()).never_run();
            self.give_up(task, &error, actions);
        }
    }
}
