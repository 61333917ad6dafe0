//! How many workers there are to be: letting go of those that are too many, and starting all that there may be.

use super::{Actions, State};
use crate::error::TaskError;
use crate::process::parent::options::Options;
use crate::process::parent::worker_state::{Ending, Life, Worker};
use crate::process::sys::Signal;
use crate::task::{CellRef, Remote};

/// How many starts may fail before a warm-up does.
const MOST_FAILURES: u32 = 3;

/// Somebody waits until all workers have been ready.
pub(in crate::process) struct WarmUp {
    promise: Remote,
    /// How many have to become ready yet.
    left: usize,
    failures: u32,
}

impl State {
    /// Lets workers go while there are more than there may be: idle ones now, and busy ones when their
    /// task is over. True if some of those are left; until they are gone nothing is handed over, so that
    /// whoever is ready first goes.
    pub(super) fn let_surplus_go(&mut self, options: &Options, actions: &mut Actions) -> bool {
        let most = options.max_workers();
        if self.workers.len() <= most {
            return false;
        }
        let stays = |worker: &Worker| matches!(worker.life, Life::Starting | Life::Ready);
        let staying = self.workers.iter().filter(|worker| stays(worker)).count();
        let mut surplus = staying.saturating_sub(most);
        if surplus == 0 {
            return false;
        }
        self.take_back_ready();
        let mut free: Vec<usize> = (0..self.workers.len())
            .filter(|&index| {
                let worker = &self.workers[index];
                stays(worker) && worker.unfinished() == 0 && !self.has_pinned(index)
            })
            .collect();
        // Those that are not ready first, and then those that were idle for the longest.
        free.sort_by_key(|&index| {
            let worker = &self.workers[index];
            (worker.life == Life::Ready, worker.idle_since)
        });
        for index in free.into_iter().take(surplus) {
            match self.workers[index].life {
                Life::Starting => self.end(index, Ending::Aborted, Signal::TERM, actions),
                _ => self.let_go(index, actions),
            }
            surplus -= usize::from(!stays(&self.workers[index]));
        }
        surplus > 0
    }

    /// Takes back all that lies ready: what lies first at some worker comes first again.
    fn take_back_ready(&mut self) {
        let mut taken = Vec::new();
        for worker in &mut self.workers {
            let last_first = worker.take_back_last(usize::MAX);
            taken.extend(last_first.into_iter().rev().enumerate());
        }
        taken.sort_by_key(|(position, _)| *position);
        for (_, task) in taken.into_iter().rev() {
            self.put_back(task);
        }
    }

    /// There may be more workers, or fewer.
    pub(in crate::process) fn resized(&mut self, options: &Options) {
        let most = options.max_workers().saturating_sub(self.workers.len());
        self.asked_starts = self.asked_starts.min(most);
    }

    /// How many workers that have nothing to do are wanted, if there may be as many.
    pub(in crate::process) fn wanted_starts(&self) -> usize {
        if self.warm_ups.is_empty() {
            self.queue.len()
        } else {
            usize::MAX
        }
    }

    /// Resolves the promise once all workers have been ready that there may be.
    pub(in crate::process) fn warm_up(&mut self, promise: Remote, options: &Options) {
        let left = options.max_workers().saturating_sub(self.ready());
        self.warm_ups.push(WarmUp {
            promise,
            left,
            failures: 0,
        });
    }

    fn ready(&self) -> usize {
        let is_ready = |worker: &&Worker| worker.life == Life::Ready;
        self.workers.iter().filter(is_ready).count()
    }

    /// A worker has become ready. Also one that has left since counts: some may come and go all the time.
    pub(super) fn warmed(&mut self) {
        for warm_up in &mut self.warm_ups {
            warm_up.left = warm_up.left.saturating_sub(1);
        }
    }

    /// Tells those whose workers have been ready.
    pub(super) fn end_warm_ups(&mut self, options: &Options, now: u64, actions: &mut Actions) {
        if self.warm_ups.is_empty() {
            return;
        }
        let is_all = self.ready() >= options.max_workers();
        self.resolve_warm_ups(|warm_up| warm_up.left == 0 || is_all, None, actions);
        if self.warm_ups.is_empty() {
            // The time for which they are kept begins when all are there.
            for worker in self.workers.iter_mut().filter(|worker| worker.is_idle()) {
                worker.idle_since = now;
            }
        }
    }

    /// A worker could not be started, or has ended before it was ready.
    pub(super) fn warm_up_failed(&mut self, why: &TaskError, actions: &mut Actions) {
        for warm_up in &mut self.warm_ups {
            warm_up.failures += 1;
        }
        let has_enough = |warm_up: &WarmUp| warm_up.failures >= MOST_FAILURES;
        self.resolve_warm_ups(has_enough, Some(why), actions);
    }

    /// No more workers will become ready.
    pub(in crate::process) fn give_up_warm_ups(&mut self, why: &TaskError, actions: &mut Actions) {
        self.resolve_warm_ups(|_| true, Some(why), actions);
    }

    /// Nobody waits for it any more. False if it is over, or no warm-up.
    pub(super) fn abort_warm_up(&mut self, cell: &CellRef, actions: &mut Actions) -> bool {
        let before = self.warm_ups.len();
        let is_meant = |warm_up: &WarmUp| warm_up.promise.cell().id() == cell.id();
        self.resolve_warm_ups(is_meant, Some(&TaskError::aborted()), actions);
        self.warm_ups.len() < before
    }

    fn resolve_warm_ups(
        &mut self,
        is_over: impl Fn(&WarmUp) -> bool,
        error: Option<&TaskError>,
        actions: &mut Actions,
    ) {
        if self.warm_ups.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.warm_ups).into_iter();
        let (over, left): (Vec<_>, Vec<_>) = all.partition(is_over);
        self.warm_ups = left;
        let over = over
            .into_iter()
            .map(|warm_up| (warm_up.promise, error.cloned()));
        actions.warmed.extend(over);
        if self.warm_ups.is_empty() {
            // Meanwhile nobody has looked for workers that are idle for too long.
            self.has_idle(actions);
        }
    }
}
