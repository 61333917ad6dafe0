//! What pools publish through the facade `metrics`, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ::metrics::with_local_recorder;
use concurrent_futures::{
    AnyExecutor, Executor as _, InlineExecutor, Observer, Outcome, ProcessPoolExecutor, Run,
    Shutdown, TaskInfo, TaskOptions, ThreadPoolExecutor, WorkerId,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::harness::{Door, PathGate, Processes, Threads, eventually, on_every_pool, pass, tests};

/// A pool that can have metrics.
trait Measured {
    fn pool(name: Option<&str>, queue_limit: usize, observer: Arc<dyn Observer>) -> AnyExecutor;
}

impl Measured for Threads {
    fn pool(name: Option<&str>, queue_limit: usize, observer: Arc<dyn Observer>) -> AnyExecutor {
        let mut builder = ThreadPoolExecutor::builder()
            .max_workers(1)
            .observer(observer);
        if let Some(name) = name {
            builder = builder.metrics(name);
        }
        builder.queue_limit(queue_limit).build().unwrap().into()
    }
}

impl Measured for Processes {
    fn pool(name: Option<&str>, queue_limit: usize, observer: Arc<dyn Observer>) -> AnyExecutor {
        let mut builder = ProcessPoolExecutor::builder()
            .max_workers(1)
            .observer(observer);
        if let Some(name) = name {
            builder = builder.metrics(name);
        }
        builder.queue_limit(queue_limit).build().unwrap().into()
    }
}

/// Does nothing.
struct Nobody;

impl Observer for Nobody {}

/// What Prometheus would scrape.
struct Scraped(String);

impl Scraped {
    fn from(recorder: &PrometheusRecorder) -> Self {
        Self(recorder.handle().render())
    }

    /// The samples: `name{labels} value`.
    fn samples(&self) -> BTreeMap<&str, f64> {
        let lines = self.0.lines();
        let samples = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        samples
            .map(|line| line.rsplit_once(' ').expect("a sample has a value"))
            .map(|(series, value)| (series, value.parse().expect("it is a number")))
            .collect()
    }

    fn value(&self, series: &str) -> f64 {
        let series = format!("concurrent_futures_{series}");
        let samples = self.samples();
        let value = samples.get(&*series);
        *value.unwrap_or_else(|| panic!("no {series} in:\n{}", self.0))
    }

    /// The value of a series that has no label but that of the pool `hash`.
    fn of_hash(&self, name: &str) -> f64 {
        self.value(&format!("{name}{{pool=\"hash\"}}"))
    }

    fn finished(&self, outcome: &str) -> f64 {
        let name = "tasks_finished_total";
        self.value(&format!("{name}{{pool=\"hash\",outcome=\"{outcome}\"}}"))
    }

    /// What is called so, of all outcomes.
    fn all_finished(&self) -> f64 {
        let is_one = |series: &&str| series.contains("tasks_finished_total");
        let samples = self.samples();
        samples
            .iter()
            .filter(|(series, _)| is_one(series))
            .map(|(_, value)| value)
            .sum()
    }
}

/// Histograms with buckets, whose sums and counts are never reset.
fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new().set_buckets(&[0.001, 0.01, 0.1, 1.0]);
    builder.expect("there are buckets").build_recorder()
}

/// A pool of one worker with the name `hash`, made under a recorder of its own.
fn measured<S: Measured>(queue_limit: usize) -> (AnyExecutor, PrometheusRecorder) {
    let recorder = recorder();
    let pool = with_local_recorder(&recorder, || {
        S::pool(Some("hash"), queue_limit, Arc::new(Nobody))
    });
    (pool, recorder)
}

fn scrape(pool: &AnyExecutor, recorder: &PrometheusRecorder) -> Scraped {
    pool.publish_metrics();
    Scraped::from(recorder)
}

fn every_task_is_counted_with_its_outcome<S: Measured>() {
    let (pool, recorder) = measured::<S>(100);
    let gate = PathGate::new();
    let succeeds = pool.submit(pass, gate.door());
    gate.wait_for(1);
    let cancelled = pool.submit(pass, gate.door());
    assert!(cancelled.cancel());
    let impatient = TaskOptions::new().queue_timeout(Duration::from_millis(1));
    let too_late = pool.with(impatient).submit(pass, gate.door());
    assert!(too_late.result().unwrap_err().is_timed_out());
    gate.open();
    succeeds.result().unwrap();
    let fails = pool.try_submit(|| Err::<(), _>(std::io::Error::other("no luck")), ());
    assert!(fails.result().unwrap_err().is_failed());
    let panics = pool.submit(|| -> () { panic!("no luck") }, ());
    assert!(panics.result().unwrap_err().is_panicked());
    let gate = PathGate::new();
    let hurried = TaskOptions::new().run_timeout(Duration::from_millis(1));
    let too_long = pool.with(hurried).submit(pass, gate.door());
    assert!(too_long.result().unwrap_err().is_timed_out());
    gate.open();

    // Nothing of this waits for the pool to publish.
    let scraped = Scraped::from(&recorder);
    for (outcome, count) in [
        ("succeeded", 1.0),
        ("cancelled", 1.0),
        ("timed_out", 2.0),
        ("failed", 1.0),
        ("panicked", 1.0),
        ("rejected", 0.0),
        ("abandoned", 0.0),
        ("worker_lost", 0.0),
        ("aborted", 0.0),
        ("other", 0.0),
    ] {
        assert_eq!(scraped.finished(outcome), count, "{outcome}");
    }
    assert_eq!(scraped.of_hash("tasks_submitted_total"), 6.0);
    assert_eq!(scraped.all_finished(), 6.0);
    // The four that have started; of those, three were run to the end in their time.
    assert_eq!(scraped.of_hash("task_waiting_seconds_count"), 4.0);
    assert_eq!(scraped.of_hash("task_running_seconds_count"), 3.0);
}

/// Some of these panic.
fn some_panic(number: u32) -> u32 {
    assert_ne!(number % 4, 1, "no luck");
    number
}

/// Some of these fail.
fn some_fail(number: u32) -> Result<u32, std::io::Error> {
    match number % 4 {
        0 => Err(std::io::Error::other("no luck")),
        _ => Ok(some_panic(number)),
    }
}

fn what_is_published_agrees_with_the_statistics_after_a_storm<S: Measured>() {
    let (pool, recorder) = measured::<S>(30);
    std::thread::scope(|scope| {
        for seed in 0..3_u32 {
            let pool = pool.clone();
            scope.spawn(move || {
                for number in seed..seed + 60 {
                    let micros = Duration::from_micros(u64::from(number) * 20);
                    match number % 7 {
                        0 => drop(pool.submit(some_panic, number).cancel_on_drop()),
                        1 => drop(pool.submit(some_panic, number).abort_on_drop()),
                        2 => {
                            let options = TaskOptions::new().queue_timeout(micros);
                            pool.with(options).submit(some_panic, number).detach();
                        }
                        3 => {
                            let options = TaskOptions::new().run_timeout(micros).retries(1);
                            pool.with(options).submit(some_panic, number).detach();
                        }
                        4 => {
                            let mut results = pool.mapping().chunk_size(3).map(some_panic, 0..20);
                            let _ = results.blocking_next();
                        }
                        5 => drop(pool.try_reserve()),
                        _ => drop(pool.try_submit(some_fail, number).result()),
                    }
                }
            });
        }
    });
    let gate = PathGate::new();
    pool.submit(pass, gate.door()).detach();
    let left: Vec<_> = (0..50).map(|_| pool.submit(pass, gate.door())).collect();
    let ended = std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| pool.blocking_shutdown(Shutdown::new().cancel_pending(true)));
        // The one that runs holds it up, if it was taken.
        gate.open();
        shutdown.join().unwrap()
    });
    ended.unwrap();
    for task in left {
        let _ = task.result();
    }

    let scraped = scrape(&pool, &recorder);
    let stats = match &pool {
        AnyExecutor::Threads(pool) => pool.stats(),
        AnyExecutor::Processes(pool) => pool.stats(),
        _ => unreachable!("it is a pool"),
    };
    let of = |name: &str| scraped.of_hash(name) as u64;
    assert_eq!(of("tasks_submitted_total"), stats.submitted());
    assert_eq!(scraped.all_finished() as u64, stats.finished());
    assert_eq!(stats.finished(), stats.submitted());
    for (label, outcome) in [
        ("succeeded", Outcome::Succeeded),
        ("failed", Outcome::Failed),
        ("panicked", Outcome::Panicked),
        ("cancelled", Outcome::Cancelled),
        ("timed_out", Outcome::TimedOut),
        ("rejected", Outcome::Rejected),
        ("worker_lost", Outcome::WorkerLost),
        ("aborted", Outcome::Aborted),
    ] {
        let counted = scraped.finished(label) as u64;
        assert_eq!(counted, stats.finished_with(outcome), "{label}");
    }
    assert_eq!(of("tasks_rejected_total"), stats.rejected());
    let ran = of("task_running_seconds_count");
    assert_eq!(ran, stats.running_times().count());
    // More have started than were run to the end.
    let begun = of("task_waiting_seconds_count");
    assert!(
        (ran..=stats.submitted()).contains(&begun),
        "{begun} of {stats:?}"
    );
    for nothing in ["tasks_queued", "tasks_running", "places_taken", "workers"] {
        assert_eq!(of(nothing), 0, "{nothing}");
    }
}

fn times_are_in_seconds<S: Measured>() {
    let (pool, recorder) = measured::<S>(100);
    let gate = PathGate::new();
    let running = pool.submit(pass, gate.door());
    gate.wait_for(1);
    let queued = pool.submit(pass, gate.door());
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    let at_least = begun.elapsed().as_secs_f64();
    gate.open();
    running.result().unwrap();
    queued.result().unwrap();
    let scraped = Scraped::from(&recorder);
    for name in ["task_waiting_seconds_sum", "task_running_seconds_sum"] {
        let sum = scraped.of_hash(name);
        assert!(
            (at_least..60.0).contains(&sum),
            "{name}: {sum} for {at_least}"
        );
    }
    let quick = scraped.value("task_running_seconds_bucket{pool=\"hash\",le=\"0.01\"}");
    let all = scraped.value("task_running_seconds_bucket{pool=\"hash\",le=\"+Inf\"}");
    assert!(quick <= 1.0 && all == 2.0, "{}", scraped.0);
}

fn gauges_say_what_the_pool_has_when_it_publishes<S: Measured>() {
    let (pool, recorder) = measured::<S>(3);
    let names = [
        "tasks_running",
        "tasks_queued",
        "workers",
        "workers_idle",
        "max_workers",
    ];
    let seen = |scraped: &Scraped| names.map(|name| scraped.of_hash(name));
    assert_eq!(seen(&scrape(&pool, &recorder)), [0.0, 0.0, 0.0, 0.0, 1.0]);
    let gate = PathGate::new();
    let tasks: Vec<_> = (0..3).map(|_| pool.submit(pass, gate.door())).collect();
    gate.wait_for(1);
    let permit = pool.try_reserve().unwrap();
    assert!(pool.try_reserve().unwrap_err().is_rejected());
    assert!(pool.try_reserve().unwrap_err().is_rejected());
    let before = Scraped::from(&recorder);
    assert_eq!(seen(&before), [0.0, 0.0, 0.0, 0.0, 1.0]);
    let scraped = scrape(&pool, &recorder);
    assert_eq!(seen(&scraped), [1.0, 2.0, 1.0, 0.0, 1.0]);
    assert_eq!(
        (scraped.of_hash("places"), scraped.of_hash("places_taken")),
        (4.0, 4.0)
    );
    assert_eq!(scraped.of_hash("places_refused_total"), 2.0);
    assert_eq!(scraped.of_hash("tasks_rejected_total"), 0.0);
    {
        // To wait for one is no refusal.
        let mut waiting = pin!(pool.reserve());
        let polled = waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    assert_eq!(
        scrape(&pool, &recorder).of_hash("places_refused_total"),
        2.0
    );
    let in_flight = scraped.of_hash("tasks_submitted_total") - scraped.all_finished();
    assert_eq!(in_flight, 3.0);
    drop(permit);
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    eventually("the worker is idle", || {
        seen(&scrape(&pool, &recorder)) == [0.0, 0.0, 1.0, 1.0, 1.0]
    });
    assert_eq!(scrape(&pool, &recorder).of_hash("places_taken"), 0.0);
}

fn what_is_rejected_is_counted_once_and_apart<S: Measured>() {
    let (pool, recorder) = measured::<S>(0);
    let gate = PathGate::new();
    let running = pool.submit(pass, gate.door());
    gate.wait_for(1);
    for _ in 0..2 {
        let refused = pool.submit(pass, gate.door()).result();
        assert!(refused.unwrap_err().is_rejected());
    }
    gate.open();
    running.result().unwrap();
    assert_eq!(
        scrape(&pool, &recorder).of_hash("tasks_rejected_total"),
        2.0
    );
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    pool.submit(pass, gate.door()).detach();
    assert_eq!(
        scrape(&pool, &recorder).of_hash("tasks_rejected_total"),
        3.0
    );
    let scraped = scrape(&pool, &recorder);
    assert_eq!(scraped.of_hash("tasks_rejected_total"), 3.0);
    assert_eq!(scraped.of_hash("tasks_submitted_total"), 1.0);
    assert_eq!(scraped.all_finished(), 1.0);
}

fn pools_of_the_same_name_add_up_and_what_is_gone_has_nothing_left<S: Measured>() {
    let recorder = recorder();
    let pool = || S::pool(Some("hash"), 0, Arc::new(Nobody));
    let [first, second] = with_local_recorder(&recorder, || [pool(), pool()]);
    for pool in [&first, &second] {
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        assert!(pool.submit(pass, gate.door()).result().is_err());
        pool.publish_metrics();
        gate.open();
        running.result().unwrap();
    }
    let scraped = Scraped::from(&recorder);
    assert_eq!(scraped.of_hash("tasks_running"), 2.0);
    assert_eq!(scraped.of_hash("workers"), 2.0);
    assert_eq!(scraped.of_hash("max_workers"), 2.0);
    assert_eq!(scraped.of_hash("tasks_rejected_total"), 2.0);
    assert_eq!(scraped.of_hash("tasks_submitted_total"), 2.0);

    first.blocking_shutdown(Shutdown::new()).unwrap();
    drop(first);
    eventually("what is gone is subtracted", || {
        Scraped::from(&recorder).of_hash("max_workers") == 1.0
    });
    let scraped = scrape(&second, &recorder);
    assert_eq!(
        (scraped.of_hash("tasks_running"), scraped.of_hash("places")),
        (0.0, 1.0)
    );
    assert_eq!(scraped.of_hash("tasks_rejected_total"), 2.0);
}

fn a_recorder_that_comes_after_the_pool_gets_its_counts_all_the_same<S: Measured>() {
    let pool = S::pool(Some("hash"), 100, Arc::new(Nobody));
    pool.submit(u64::pow, (2, 10)).result().unwrap();
    let recorder = recorder();
    let later = with_local_recorder(&recorder, || pool.submit(u64::pow, (2, 10)));
    assert_eq!(later.result().unwrap(), 1024);
    pool.submit(u64::pow, (2, 10)).result().unwrap();
    let scraped = scrape(&pool, &recorder);
    assert_eq!(scraped.of_hash("tasks_submitted_total"), 3.0);
    assert_eq!(scraped.finished("succeeded"), 3.0);
    assert_eq!(scraped.of_hash("max_workers"), 1.0);
    let times = scraped.of_hash("task_running_seconds_count");
    assert!((1.0..=2.0).contains(&times), "{times}");

    // Before its first task as well.
    let unused = S::pool(Some("hash"), 100, Arc::new(Nobody));
    with_local_recorder(&recorder, || unused.publish_metrics());
    assert_eq!(Scraped::from(&recorder).of_hash("max_workers"), 2.0);
}

fn a_pool_without_metrics_publishes_nothing<S: Measured>() {
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        let pool = S::pool(None, 100, Arc::new(Nobody));
        pool.submit(u64::pow, (2, 10)).result().unwrap();
        pool.publish_metrics();
        InlineExecutor::new()
            .submit(u64::pow, (2, 10))
            .result()
            .unwrap();
        AnyExecutor::from(InlineExecutor::new()).publish_metrics();
    });
    assert_eq!(Scraped::from(&recorder).0, "");
}

/// Counts what it is told, and then panics.
#[derive(Default)]
struct Panics(AtomicUsize);

impl Observer for Panics {
    fn queued(&self, _: TaskInfo<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("queued");
    }

    fn started(&self, _: TaskInfo<'_>, _: WorkerId, _: Duration) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("started");
    }

    fn finished(&self, _: TaskInfo<'_>, _: Outcome, _: Option<Run>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("finished");
    }
}

fn an_observer_is_told_as_well_and_its_panics_hide_nothing<S: Measured>() {
    let recorder = recorder();
    let observer = Arc::new(Panics::default());
    let told = Arc::clone(&observer);
    let pool = with_local_recorder(&recorder, || S::pool(Some("hash"), 100, told));
    for _ in 0..3 {
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
    assert_eq!(observer.0.load(Ordering::SeqCst), 9);
    let scraped = Scraped::from(&recorder);
    assert_eq!(scraped.of_hash("tasks_submitted_total"), 3.0);
    assert_eq!(scraped.finished("succeeded"), 3.0);
    assert_eq!(scraped.of_hash("task_waiting_seconds_count"), 3.0);
}

fn a_chunk_of_a_map_is_one_task<S: Measured>() {
    let (pool, recorder) = measured::<S>(100);
    let mut results = pool.mapping().chunk_size(5).map(|n: u64| 60 / n, 0..10_u64);
    let results = std::iter::from_fn(|| results.blocking_next());
    let failed = results.filter(Result::is_err).count();
    assert_eq!(failed, 1);
    let scraped = Scraped::from(&recorder);
    assert_eq!(scraped.of_hash("tasks_submitted_total"), 2.0);
    assert_eq!(scraped.finished("succeeded"), 2.0);
}

fn every_series_is_described_and_named_as_prometheus_wants<S: Measured>() {
    let builder = PrometheusBuilder::new().set_buckets(&[0.1]).unwrap();
    // Adds units and suffixes to names that lack them.
    let recorder = builder.with_recommended_naming(true).build_recorder();
    let pool = with_local_recorder(&recorder, || S::pool(Some("hash"), 100, Arc::new(Nobody)));
    pool.submit(u64::pow, (2, 10)).result().unwrap();
    let scraped = scrape(&pool, &recorder);
    let of = |kind: &str| -> BTreeMap<&str, &str> {
        let lines = scraped.0.lines().filter_map(|line| line.strip_prefix(kind));
        lines
            .map(|line| line.split_once(' ').expect("a name and a text"))
            .collect()
    };
    let (types, helps) = (of("# TYPE "), of("# HELP "));
    assert!(types.len() >= 12, "{}", scraped.0);
    for (name, kind) in &types {
        assert!(name.starts_with("concurrent_futures_"), "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase()),
            "{name}"
        );
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        assert_eq!(*kind == "histogram", name.ends_with("_seconds"), "{name}");
        assert!(
            helps.get(name).is_some_and(|help| help.ends_with('.')),
            "{name}"
        );
    }
    let samples = scraped.samples();
    let labels: BTreeSet<_> = samples
        .keys()
        .filter_map(|series| Some(series.split_once('{')?.1.trim_end_matches('}')))
        .flat_map(|labels| labels.split(',').filter_map(|label| label.split_once('=')))
        .map(|(label, _)| label)
        .collect();
    assert_eq!(labels, BTreeSet::from(["pool", "outcome", "le"]));
    for series in samples.keys() {
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            name.strip_suffix(suffix)
                .filter(|name| types.contains_key(name))
        });
        assert!(types.contains_key(family.unwrap_or(name)), "{series}");
    }
}

on_every_pool!(
    every_task_is_counted_with_its_outcome,
    what_is_published_agrees_with_the_statistics_after_a_storm,
    times_are_in_seconds,
    gauges_say_what_the_pool_has_when_it_publishes,
    what_is_rejected_is_counted_once_and_apart,
    pools_of_the_same_name_add_up_and_what_is_gone_has_nothing_left,
    a_recorder_that_comes_after_the_pool_gets_its_counts_all_the_same,
    a_pool_without_metrics_publishes_nothing,
    an_observer_is_told_as_well_and_its_panics_hide_nothing,
    a_chunk_of_a_map_is_one_task,
    every_series_is_described_and_named_as_prometheus_wants,
);

/// Ends its process the first time.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn die_once(door: Door) {
    door.arrive();
    if door.arrivals().len() == 1 {
        std::process::abort();
    }
}

tests! {
    fn lost_workers_and_what_is_run_again_are_counted() {
        let (pool, recorder) = measured::<Processes>(100);
        let gate = PathGate::new();
        let again = pool.with(TaskOptions::new().retries(1));
        again.submit(die_once, gate.door()).result().unwrap();
        let lost = pool.submit(|| -> () { std::process::abort() }, ());
        assert!(lost.result().unwrap_err().is_worker_lost());
        let aborted = pool.submit(pass, gate.door());
        gate.wait_for(3);
        aborted.abort();
        assert!(aborted.result().unwrap_err().is_aborted());
        pool.submit(u64::pow, (2, 10)).result().unwrap();
        let scraped = scrape(&pool, &recorder);
        assert_eq!(scraped.of_hash("tasks_retried_total"), 1.0);
        assert_eq!(scraped.finished("worker_lost"), 1.0);
        assert_eq!(scraped.finished("aborted"), 1.0);
        assert_eq!(scraped.finished("succeeded"), 2.0);
        assert_eq!(scraped.of_hash("tasks_submitted_total"), 4.0);
        // One for each death and the last.
        assert_eq!(scraped.of_hash("workers_started_total"), 4.0);
    }

    fn workers_that_wait_are_counted_as_blocked() {
        let recorder = recorder();
        let pool = with_local_recorder(&recorder, || {
            ThreadPoolExecutor::builder().max_workers(1).metrics("hash").build().unwrap()
        });
        let (inner, gate) = (pool.clone(), PathGate::new());
        let door = gate.door();
        let mut waiting = pool.spawn(move || {
            let mut child = inner.spawn(move || door.pass());
            child.result_timeout(Duration::from_secs(60)).unwrap();
        });
        gate.wait_for(1);
        pool.publish_metrics();
        assert_eq!(Scraped::from(&recorder).of_hash("workers_blocked"), 1.0);
        gate.open();
        waiting.result_timeout(Duration::from_secs(60)).unwrap();
        // Without a limit there are no places to speak of.
        assert!(!Scraped::from(&recorder).0.contains("places"));
    }
}
