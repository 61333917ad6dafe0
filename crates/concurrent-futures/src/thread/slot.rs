//! What one worker counts: written by the lease that has the slot, read by `stats()`.
//!
//! A slot outlives its lease and is given to the next, so that nothing that was counted is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::{AtomicHistogram, Histogram};

use crate::executor::{GROUPING_POWER, MAX_VALUE_POWER, WorkerId};
use crate::task::Outcome;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) worker: WorkerId,
    /// Bodies that have begun, and that have ended.
    started: AtomicU64,
    ended: AtomicU64,
    /// Tasks that became final at the end of their body.
    finished: [AtomicU64; Outcome::COUNT],
    waiting_times: AtomicHistogram,
    running_times: AtomicHistogram,
}

impl Slot {
    pub(super) fn new(worker: usize) -> Self {
        let histogram =
            || AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect("the powers are valid");
        Self {
            worker: WorkerId(worker),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            finished: [const { AtomicU64::new(0) }; Outcome::COUNT],
            waiting_times: histogram(),
            running_times: histogram(),
        }
    }

    pub(super) fn started(&self) {
        add_one(&self.started);
    }

    /// A body has ended after `time`. `None`: somebody else has made its task final.
    pub(super) fn ended(&self, outcome: Option<Outcome>, time: Duration) {
        record(&self.running_times, time);
        if let Some(outcome) = outcome {
            add_one(&self.finished[outcome as usize]);
        }
        add_one(&self.ended);
    }

    pub(super) fn waited(&self, time: Duration) {
        record(&self.waiting_times, time);
    }

    /// Adds what has ended; to be read before what has started.
    pub(super) fn add_finished(&self, finished: &mut [u64; Outcome::COUNT]) {
        for (sum, count) in finished.iter_mut().zip(&self.finished) {
            // Acquire: pairs with the release in `add_one`, so that the start of whatever is seen
            // as finished is seen too.
            *sum += count.load(Ordering::Acquire);
        }
    }

    pub(super) fn ended_count(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn started_count(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn add_times(&self, waiting: &mut Histogram, running: &mut Histogram) {
        for (sum, times) in [
            (waiting, &self.waiting_times),
            (running, &self.running_times),
        ] {
            *sum = sum
                .wrapping_add(&times.load())
                .expect("all have the same powers");
        }
    }
}

/// Only the lease that has the slot writes, so no read-modify-write is needed.
fn add_one(counter: &AtomicU64) {
    // Release: what was counted before is seen by whoever sees this.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
}

fn record(histogram: &AtomicHistogram, time: Duration) {
    let most = (1 << MAX_VALUE_POWER) - 1;
    let nanos = u64::try_from(time.as_nanos()).map_or(most, |nanos| nanos.min(most));
    // Refuses only what is out of range, which was just excluded.
    let _ = histogram.increment(nanos);
}
