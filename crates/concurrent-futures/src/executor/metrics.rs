//! What a pool tells through the facade `metrics`: counters and times as things happen, and the rest of
//! its statistics when it is asked to publish them.
//!
//! Always: a series is registered once for each pool, and what a task costs is a few atomic operations of
//! the recorder. Pools of the same name add up, because everything here only adds: a gauge gets the
//! difference to what the pool gave last, and it gets that back when the pool is gone.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, SharedString, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram, with_recorder,
};

use super::admission::Places;
use super::observer::{Observer, Run, WorkerId};
use super::stats::Stats;
use crate::panic;
use crate::task::{Outcome, TaskInfo};

const SUBMITTED: &str = "concurrent_futures_tasks_submitted_total";
const FINISHED: &str = "concurrent_futures_tasks_finished_total";
const REJECTED: &str = "concurrent_futures_tasks_rejected_total";
const RETRIED: &str = "concurrent_futures_tasks_retried_total";
const WAITING: &str = "concurrent_futures_task_waiting_seconds";
const RUNNING_TIME: &str = "concurrent_futures_task_running_seconds";
const QUEUED: &str = "concurrent_futures_tasks_queued";
const RUNNING: &str = "concurrent_futures_tasks_running";
const WORKERS: &str = "concurrent_futures_workers";
const IDLE: &str = "concurrent_futures_workers_idle";
const BLOCKED: &str = "concurrent_futures_workers_blocked";
const MAX_WORKERS: &str = "concurrent_futures_max_workers";
const STARTED: &str = "concurrent_futures_workers_started_total";
const PLACES: &str = "concurrent_futures_places";
const PLACES_TAKEN: &str = "concurrent_futures_places_taken";
const PLACES_REFUSED: &str = "concurrent_futures_places_refused_total";

/// What a pool has at a moment, to be published.
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    /// If tasks are limited.
    pub(crate) places: Option<Places>,
    /// How many worker processes there have been.
    pub(crate) workers_started: u64,
}

/// Which series there are beside those that every pool has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) has_processes: bool,
    pub(crate) has_places: bool,
}

/// The metrics of one pool.
pub(crate) struct Metrics {
    pool: SharedString,
    kind: Kind,
    at_build: Series,
    /// There seemed to be no recorder then.
    early: Option<Early>,
}

/// What is counted until a recorder is there.
#[derive(Default)]
struct Early {
    submitted: AtomicU64,
    finished: [AtomicU64; Outcome::COUNT],
    /// Those of the recorder, once it is there.
    series: OnceLock<Series>,
}

impl Metrics {
    /// Registers the series of a pool with this name.
    pub(crate) fn new(pool: String, kind: Kind) -> Self {
        let pool = SharedString::from(pool);
        Self {
            early: (!has_recorder()).then(Early::default),
            at_build: Series::register(&pool, kind),
            pool,
            kind,
        }
    }

    /// Where to count now, and also where else if no recorder is there yet.
    #[inline]
    fn counting(&self) -> (&Series, Option<&Early>) {
        match &self.early {
            None => (&self.at_build, None),
            Some(early) => match early.series.get() {
                Some(series) => (series, None),
                None => (&self.at_build, Some(early)),
            },
        }
    }

    /// Registers the series anew if a recorder has come since the pool was made.
    #[cold]
    fn look_again(&self, early: &Early) {
        if has_recorder() {
            // Not in `get_or_init`, where others would wait for the recorder. Who comes second has the same.
            let _ = early.series.set(Series::register(&self.pool, self.kind));
            early.hand_over();
        }
    }

    pub(crate) fn publish(&self, snapshot: &Snapshot) {
        if let Some(early) = &self.early {
            match early.series.get() {
                None => self.look_again(early),
                // Some may have been about to count there when the series came.
                Some(_) => early.hand_over(),
            }
        }
        self.counting().0.publish(snapshot);
    }
}

impl Early {
    /// Gives what was counted here to the series, each count once.
    fn hand_over(&self) {
        if let Some(series) = self.series.get() {
            let give = |count: &AtomicU64, counter: &Counter| {
                counter.increment(count.swap(0, Ordering::Relaxed));
            };
            give(&self.submitted, &series.submitted);
            for (count, counter) in self.finished.iter().zip(&series.finished) {
                give(count, counter);
            }
        }
    }
}

/// Whether there is a recorder other than the one that does nothing. That one has no size, and nothing
/// else tells it from others: another that has none is used as well, if it is there when a pool is made.
fn has_recorder() -> bool {
    with_recorder(|recorder| size_of_val(recorder) > 0)
}

impl Observer for Metrics {
    fn queued(&self, _task: TaskInfo<'_>) {
        let (series, early) = self.counting();
        series.submitted.increment(1);
        if let Some(early) = early {
            early.submitted.fetch_add(1, Ordering::Relaxed);
            self.look_again(early);
        }
    }

    fn started(&self, _task: TaskInfo<'_>, _worker: WorkerId, waited: Duration) {
        self.counting().0.waiting.record(waited);
    }

    fn finished(&self, _task: TaskInfo<'_>, outcome: Outcome, run: Option<Run>) {
        let (series, early) = self.counting();
        series.finished[outcome as usize].increment(1);
        if let Some(run) = run {
            series.running_time.record(run.time());
        }
        if let Some(early) = early {
            early.finished[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("pool", &self.pool)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The handles of a pool's series.
struct Series {
    submitted: Counter,
    finished: [Counter; Outcome::COUNT],
    waiting: Histogram,
    running_time: Histogram,
    rejected: Total,
    queued: Level,
    running: Level,
    workers: Level,
    idle: Level,
    max_workers: Level,
    of_kind: SeriesOfKind,
    places: Option<SeriesOfPlaces>,
}

struct SeriesOfPlaces {
    all: Level,
    taken: Level,
    refused: Total,
}

enum SeriesOfKind {
    Threads { blocked: Level },
    Processes { retried: Total, started: Total },
}

impl Series {
    fn register(pool: &SharedString, kind: Kind) -> Self {
        describe(kind);
        let counter = |name| counter!(name, "pool" => pool.clone());
        let total = |name| Total::new(counter(name));
        let level = |name| Level::new(gauge!(name, "pool" => pool.clone()));
        let histogram = |name| histogram!(name, "pool" => pool.clone());
        let finished = |index| {
            let outcome = label(Outcome::from_bits(index as u64));
            counter!(FINISHED, "pool" => pool.clone(), "outcome" => outcome)
        };
        Self {
            submitted: counter(SUBMITTED),
            finished: std::array::from_fn(finished),
            waiting: histogram(WAITING),
            running_time: histogram(RUNNING_TIME),
            rejected: total(REJECTED),
            queued: level(QUEUED),
            running: level(RUNNING),
            workers: level(WORKERS),
            idle: level(IDLE),
            max_workers: level(MAX_WORKERS),
            of_kind: if kind.has_processes {
                SeriesOfKind::Processes {
                    retried: total(RETRIED),
                    started: total(STARTED),
                }
            } else {
                SeriesOfKind::Threads {
                    blocked: level(BLOCKED),
                }
            },
            places: kind.has_places.then(|| SeriesOfPlaces {
                all: level(PLACES),
                taken: level(PLACES_TAKEN),
                refused: total(PLACES_REFUSED),
            }),
        }
    }

    fn publish(&self, snapshot: &Snapshot) {
        let stats = &snapshot.stats;
        self.rejected.raise_to(stats.rejected());
        self.queued.set(stats.queued());
        self.running.set(stats.running());
        self.workers.set(stats.workers() as u64);
        self.idle.set(stats.idle() as u64);
        self.max_workers.set(stats.max_workers() as u64);
        match &self.of_kind {
            SeriesOfKind::Threads { blocked } => blocked.set(stats.blocked() as u64),
            SeriesOfKind::Processes { retried, started } => {
                retried.raise_to(stats.retried());
                started.raise_to(snapshot.workers_started);
            }
        }
        if let (Some(places), Some(now)) = (&self.places, &snapshot.places) {
            places.all.set(now.all as u64);
            places.taken.set(now.taken as u64);
            places.refused.raise_to(now.refused);
        }
    }
}

/// A counter that follows one of the pool's. It gets the difference, so that pools of the same name add up.
struct Total {
    counter: Counter,
    /// What it got in all.
    given: AtomicU64,
}

impl Total {
    fn new(counter: Counter) -> Self {
        let given = AtomicU64::new(0);
        Self { counter, given }
    }

    fn raise_to(&self, now: u64) {
        // Relaxed: each difference is given once, whoever sees it. An older value gives none.
        let given = self.given.fetch_max(now, Ordering::Relaxed);
        self.counter.increment(now.saturating_sub(given));
    }
}

/// A gauge that follows a number of the pool's. It gets the difference, so that pools of the same name add up.
struct Level {
    gauge: Gauge,
    /// What it holds for this pool.
    given: AtomicU64,
}

impl Level {
    fn new(gauge: Gauge) -> Self {
        let given = AtomicU64::new(0);
        Self { gauge, given }
    }

    fn set(&self, now: u64) {
        // Relaxed: the differences add up to the last value, in whichever order they arrive.
        let given = self.given.swap(now, Ordering::Relaxed);
        if now != given {
            self.gauge.increment(now as f64 - given as f64);
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        // The recorder is foreign code, and this may be anybody's thread.
        panic::contain(|| self.set(0));
    }
}

/// The value of the label `outcome`.
fn label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Panicked => "panicked",
        Outcome::Cancelled => "cancelled",
        Outcome::TimedOut => "timed_out",
        Outcome::Rejected => "rejected",
        Outcome::Abandoned => "abandoned",
        Outcome::Other => "other",
        Outcome::WorkerLost => "worker_lost",
        Outcome::Aborted => "aborted",
    }
}

fn describe(kind: Kind) {
    let total = |name: &'static str, text| describe_counter!(name, Unit::Count, text);
    let level = |name: &'static str, text| describe_gauge!(name, Unit::Count, text);
    let times = |name: &'static str, text| describe_histogram!(name, Unit::Seconds, text);
    total(SUBMITTED, "Tasks that the pool has taken.");
    total(FINISHED, "Tasks that are over, by how they ended.");
    total(REJECTED, "Tasks that the pool has not taken.");
    times(WAITING, "How long tasks waited for a worker.");
    times(RUNNING_TIME, "How long tasks ran that were run to the end.");
    level(QUEUED, "Tasks that wait for a worker.");
    level(RUNNING, "Tasks that run.");
    level(WORKERS, "Workers that exist.");
    level(IDLE, "Workers that look or wait for work.");
    level(MAX_WORKERS, "Workers that may exist at the same time.");
    if kind.has_processes {
        total(
            RETRIED,
            "Tasks that were run again after the loss of their worker.",
        );
        total(STARTED, "Worker processes that were started.");
    } else {
        level(
            BLOCKED,
            "Workers that wait for other tasks, or for a place.",
        );
    }
    if kind.has_places {
        level(PLACES, "Tasks that the pool takes at the same time.");
        level(PLACES_TAKEN, "Places that tasks and permits have.");
        total(
            PLACES_REFUSED,
            "Places that were asked for without waiting while there was none.",
        );
    }
}
