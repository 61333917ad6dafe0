//! What a pool of processes tells of itself.

use std::sync::atomic::Ordering;

use super::shared::Shared;
use super::state::Counts;
use super::worker_state::{Life, Worker};
#[cfg(feature = "metrics")]
use crate::executor::Snapshot;
use crate::executor::{Stats, Times};
use crate::process::stats::{WorkerState, WorkerStats};

impl Shared {
    pub(in crate::process) fn stats(&self) -> Stats {
        if self.is_copy() {
            return Stats::none(self.options.max_workers());
        }
        let state = self.lock();
        let Counts {
            submitted,
            rejected,
            retried,
            finished,
        } = state.counts.clone();
        let running = state.running();
        let count = |wanted: fn(&Worker) -> bool| {
            state.workers.iter().filter(|worker| wanted(worker)).count()
        };
        let workers = state.workers.len();
        let idle = count(|worker| {
            matches!(worker.life, Life::Starting | Life::Ready)
                && worker.unfinished() == 0
                && !worker.is_stopped
        });
        drop(state);
        let finished_count: u64 = finished.iter().sum();
        Stats {
            submitted,
            taken: (finished_count + running).min(submitted),
            finished,
            rejected,
            retried,
            blocked: 0,
            extra_workers: 0,
            occupied: usize::try_from(running).unwrap_or(usize::MAX),
            workers,
            idle,
            max_workers: self.options.max_workers(),
            waiting_times: Times(self.waiting_times.load()),
            running_times: Times(self.running_times.load()),
        }
    }

    pub(in crate::process) fn worker_stats(&self) -> Vec<WorkerStats> {
        if self.is_copy() {
            return Vec::new();
        }
        let state = self.lock();
        let mut workers: Vec<WorkerStats> = state
            .workers
            .iter()
            .map(|worker| WorkerStats {
                id: worker.place,
                pid: worker.link.pid,
                state: match worker.life {
                    Life::Starting | Life::Ready if worker.is_stopped => WorkerState::Stopped,
                    Life::Starting => WorkerState::Starting,
                    Life::Ready if worker.unfinished() == 0 => WorkerState::Idle,
                    Life::Ready => WorkerState::Busy,
                    Life::Leaving | Life::Ending => WorkerState::Ending,
                },
                tasks: worker.finished,
                restarts: state.restarts_of(worker.place),
                dropped_events: worker.link.memory.lane.dropped.load(Ordering::Relaxed),
            })
            .collect();
        drop(state);
        workers.sort_by_key(|worker| worker.id);
        workers
    }
    #[cfg(feature = "metrics")]
    pub(in crate::process) fn publish_metrics(&self) {
        self.options.observers.publish(|| Snapshot {
            stats: self.stats(),
            places: self.admission.places(),
            workers_started: match self.is_copy() {
                true => 0,
                false => self.lock().workers_started(),
            },
        });
    }
}
