//! The running time of tasks that have a limit.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::state::Actions;
use crate::error::TaskError;
use crate::panic;
use crate::process::clock;
use crate::process::ring::Phase;
use crate::time::{Alarm, schedule};

/// An alarm that is so late says that this process, and maybe its workers, stood still meanwhile.
const STANDSTILL: Duration = Duration::from_secs(1);

/// How soon a task is looked at again whose time is all but over.
const SOON: Duration = Duration::from_millis(1);

/// The clock of a task that was handed over. It is set again and again, since it counts from where the
/// worker says that the task, or the item, has begun.
#[derive(Clone, Copy)]
pub(in crate::process) struct RunClock {
    launch: u64,
    number: u64,
    limit: Duration,
    /// How often it was set before.
    settings: u32,
    /// It does not count from before this time.
    not_before: u64,
    /// When the worker has said first that the task began: a worker that says another time later is not
    /// believed, but for the items of a chunk.
    begun: Option<u64>,
}

impl RunClock {
    pub(in crate::process) fn new(launch: u64, number: u64, limit: Duration) -> Self {
        Self {
            launch,
            number,
            limit,
            settings: 0,
            not_before: 0,
            begun: None,
        }
    }
}

impl Shared {
    /// Looks in `time` whether the task has run for its limit.
    pub(in crate::process) fn start_clock(&self, clock: RunClock, time: Duration) {
        let Some(at) = Instant::now().checked_add(time) else {
            return;
        };
        let overdue = Arc::new(Overdue {
            pool: self.me.clone(),
            clock,
            at,
        });
        let timer = match schedule(at, overdue) {
            Ok(timer) => timer,
            Err(error) => {
                panic::contain(|| tracing::error!(%error, "no thread for the run timeout"));
                return;
            }
        };
        let mut state = self.lock();
        let handed = state
            .index_of(clock.launch)
            .and_then(|index| state.workers[index].handed_mut(clock.number));
        // The task may be over by now, or the alarm has rung, and the clock was set again.
        let useless = match handed {
            Some(handed) if handed.clock_settings <= clock.settings => {
                handed.clock_settings = clock.settings;
                handed.timer.replace(timer)
            }
            _ => Some(timer),
        };
        drop(state);
        drop(useless);
    }
}

struct Overdue {
    pool: Weak<Shared>,
    clock: RunClock,
    /// When it was to ring.
    at: Instant,
}

impl Alarm for Overdue {
    fn ring(&self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let mut clock = self.clock;
        let now = clock::now();
        let limit = u64::try_from(clock.limit.as_nanos()).unwrap_or(u64::MAX);
        let mut state = pool.lock();
        let Some(index) = state.index_of(clock.launch) else {
            return;
        };
        let worker = &mut state.workers[index];
        let is_running = worker.phase(clock.number) == Some(Phase::Running);
        let begun = worker.link.memory.slot(clock.number).begun_at();
        let Some(handed) = worker.handed_mut(clock.number) else {
            return;
        };
        // What a worker says of the time is believed within what is possible.
        let mut begun = begun.clamp(handed.at.min(now), now);
        if is_running && handed.task.chunk.is_none() {
            begun = *clock.begun.get_or_insert(begun);
        }
        let begun = begun.max(clock.not_before);
        let mut left = if is_running {
            limit.saturating_sub(now.saturating_sub(begun))
        } else {
            limit
        };
        if left == 0 && self.at.elapsed() > STANDSTILL && clock.not_before == 0 {
            // It begins anew, once.
            clock.not_before = now;
            left = limit;
        }
        if left == 0 {
            let mut actions = Actions::default();
            let error = TaskError::overrun(clock.limit);
            if state.stop(index, clock.number, error, &mut actions) {
                state.dispatch(&pool.options, now, &mut actions);
                drop(state);
                pool.act(actions);
                return;
            }
        }
        drop(state);
        clock.settings += 1;
        pool.start_clock(clock, Duration::from_nanos(left).max(SOON));
    }
}
