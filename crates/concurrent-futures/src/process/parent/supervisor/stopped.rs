//! Workers that live, and do nothing: a signal has stopped them from outside, such as SIGSTOP, or they do
//! not keep to the rules.
//!
//! Nobody tells, so it is looked for, once a second, and only while workers have something to do.

use std::time::Duration;

use super::{Held, Supervisor, nanos};
use crate::panic;
use crate::process::parent::state::{Actions, Rest};

/// How often is looked, in nanoseconds.
///
/// No look counts for more than this: one that is late says that this process stood still itself.
const PERIOD: u64 = 1_000_000_000;

/// How long a worker may rest that has something to do, in nanoseconds. On its way from one task to the next
/// it may have to write a large result.
const MOST_REST: u64 = 10_000_000_000;

/// When is looked, on the monotonic clock.
pub(super) struct Looks {
    /// The maximum while nobody has work.
    pub(super) next: u64,
    last: u64,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self {
            next: u64::MAX,
            last: 0,
        }
    }

    /// Has the next look one period from now. The time that has passed since the last one, as far as it
    /// counts.
    pub(super) fn go_on(&mut self, now: u64) -> u64 {
        self.next = now.saturating_add(PERIOD);
        let last = std::mem::replace(&mut self.last, now);
        now.saturating_sub(last).min(PERIOD)
    }
}

/// A worker that was found stopped.
pub(super) struct Stop {
    signal: i32,
    /// For how long, in nanoseconds.
    lasted: u64,
    /// What it had run when it was found. If it has run more it has gone on in between, as workers do that
    /// are slowed down by stopping them again and again.
    cpu_time: Option<Duration>,
}

/// A worker that was found at rest.
pub(super) struct Resting {
    at: Rest,
    /// For how long, in nanoseconds.
    lasted: u64,
}

impl Supervisor {
    /// Looks if it is time to. What lies ready at a stopped worker is taken back, and one that stays
    /// stopped is ended.
    pub(super) fn look_for_stopped(&mut self, now: u64) {
        if self.stop_looks.next > now {
            return;
        }
        let mut actions = Actions::default();
        let watched = self.pool.lock().watch_work(&mut actions);
        self.pool.act(actions);
        if watched.is_empty() {
            self.stop_looks.next = u64::MAX;
            return;
        }
        let passed = self.stop_looks.go_on(now);
        let limit = nanos(self.pool.options.stopped_timeout);
        let mut changed = Vec::new();
        let mut overdue = Vec::new();
        let mut rested = Vec::new();
        for (launch, rest) in watched {
            let Some(held) = self.held.get_mut(&launch) else {
                continue;
            };
            let was_stopped = held.stop.is_some();
            held.look_whether_stopped(passed);
            if held.stop.is_none() && held.rests_too_long(rest, passed) {
                rested.extend(rest.map(|rest| (launch, rest)));
            }
            if was_stopped || held.stop.is_some() {
                changed.push((launch, held.stop.is_some()));
            }
            if let Some(stop) = &held.stop {
                match limit.saturating_sub(stop.lasted) {
                    0 => overdue.push((launch, stop.signal)),
                    left => {
                        let next = &mut self.stop_looks.next;
                        *next = now.saturating_add(left).min(*next);
                    }
                }
            }
        }
        if changed.is_empty() && rested.is_empty() {
            return;
        }
        let mut actions = Actions::default();
        let mut state = self.pool.lock();
        for (launch, is_stopped) in changed {
            state.found_stopped(launch, is_stopped, &mut actions);
        }
        for (launch, signal) in overdue {
            state.end_stopped(launch, signal, &mut actions);
        }
        for (launch, rest) in rested {
            state.end_resting(launch, rest, &mut actions);
        }
        state.dispatch(&self.pool.options, now, &mut actions);
        drop(state);
        self.pool.act(actions);
    }
}

impl Held {
    fn rests_too_long(&mut self, rest: Option<Rest>, passed: u64) -> bool {
        let before = self.resting.take().filter(|before| Some(before.at) == rest);
        self.resting = rest.map(|at| Resting {
            at,
            lasted: before.map_or(0, |before| before.lasted.saturating_add(passed)),
        });
        let is_over = |resting: &Resting| resting.lasted >= MOST_REST;
        // Whoever holds it in a debugger may do so.
        self.resting.as_ref().is_some_and(is_over) && !self.child.is_traced()
    }

    fn look_whether_stopped(&mut self, passed: u64) {
        let Some(signal) = self.child.stopped_by() else {
            self.stop = None;
            return;
        };
        let cpu_time = self.child.cpu_time();
        match &mut self.stop {
            Some(stop) if stop.cpu_time == cpu_time => {
                stop.lasted = stop.lasted.saturating_add(passed);
            }
            Some(_) => self.stop = None,
            None => {
                self.stop = Some(Stop {
                    signal,
                    lasted: 0,
                    cpu_time,
                });
                let pid = self.link.pid;
                panic::contain(|| {
                    tracing::warn!(pid, "a worker process is stopped by signal {signal}");
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_which_this_process_stood_still_does_not_count() {
        let mut looks = Looks::new();
        looks.go_on(5);
        assert_eq!(looks.go_on(5 + PERIOD / 2), PERIOD / 2);
        assert_eq!(looks.go_on(3_600 * PERIOD), PERIOD);
        assert_eq!(looks.next, 3_601 * PERIOD);
    }
}
