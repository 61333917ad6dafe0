//! What a worker does last.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, Observer, Outcome, ProcessPoolBuilder, ProcessPoolExecutor, Run, Shutdown, TaskInfo,
};
use serde::{Serialize, Serializer};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::eventually_idle;
use crate::harness::{Door, PathGate, children, eventually, pass, subscribe, tests};

#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn arrive(door: Door) {
    door.arrive();
}

/// A pool whose workers come to the gate as the last thing they do.
fn builder(workers: usize, gate: &PathGate) -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder()
        .max_workers(workers)
        .finalizer(arrive, gate.door())
}

/// Notes the fields of each event.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

/// Has the thread that takes in results tell its events: it is the one that tells observers.
struct Subscribes(tracing::Dispatch);

impl Observer for Subscribes {
    fn finished(&self, _: TaskInfo<'_>, _: Outcome, _: Option<Run>) {
        subscribe(&self.0);
    }
}

/// The events of a pool of one worker that runs one task, is shut down, and does this last.
fn events_of(finalizer: fn(ProcessPoolBuilder) -> ProcessPoolBuilder) -> Vec<String> {
    let events = Events::default();
    let subscriber = tracing_subscriber::registry().with(events.clone());
    let observer = Arc::new(Subscribes(tracing::Dispatch::new(subscriber)));
    let builder = ProcessPoolExecutor::builder()
        .max_workers(1)
        .observer(observer);
    let pool = finalizer(builder).build().unwrap();
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    assert!(children().is_empty());
    let events = events.0.lock().unwrap().clone();
    events
        .into_iter()
        .filter(|event| event.starts_with("WARN"))
        .collect()
}

tests! {
    fn it_runs_once_in_each_worker_that_is_no_longer_needed() {
        let gate = PathGate::new();
        let pool = builder(3, &gate).build().unwrap();
        pool.warm_up().result().unwrap();
        let mut pids = super::pids(&pool);
        pool.submit(|| (), ()).result().unwrap();
        assert_eq!(gate.arrived(), 0);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        pids.sort_unstable();
        let mut arrivals = gate.arrivals();
        arrivals.sort_unstable();
        assert_eq!(arrivals, pids, "the shutdown has waited for it");
    }

    fn it_runs_after_the_last_task_of_a_worker_that_is_replaced() {
        let gate = PathGate::new();
        let pool = builder(1, &gate).max_tasks_per_worker(2).build().unwrap();
        let seen = |door: Door| (std::process::id(), door.arrivals().len());
        let seen: Vec<_> = (0..6).map(|_| pool.submit(seen, gate.door()).result().unwrap()).collect();
        let before: Vec<_> = seen.iter().map(|(_, before)| *before).collect();
        assert_eq!(before, [0, 0, 1, 1, 2, 2]);
        eventually("the last one has run", || gate.arrived() == 3);
        let pids: Vec<_> = seen.iter().step_by(2).map(|(pid, _)| *pid).collect();
        assert_eq!(gate.arrivals(), pids);
    }

    fn it_runs_in_a_worker_that_was_idle_for_long_and_in_one_that_is_too_many() {
        let gate = PathGate::new();
        let pool = builder(1, &gate).idle_timeout(Duration::ZERO).build().unwrap();
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        eventually("it has run", || gate.arrivals() == [pid]);

        let gate = PathGate::new();
        let pool = builder(2, &gate).build().unwrap();
        pool.warm_up().result().unwrap();
        pool.resize(1).unwrap();
        eventually_idle(&pool, 1);
        assert_eq!(gate.arrived(), 1);
        assert_ne!(gate.arrivals(), super::pids(&pool));
    }

    fn it_does_not_run_in_a_worker_that_is_ended_or_dies_or_was_never_ready() {
        let gate = PathGate::new();
        let pool = builder(1, &gate).build().unwrap();
        pool.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
        let running = pool.submit(std::thread::sleep, Duration::from_secs(1_000));
        eventually("it runs", || running.is_running());
        running.abort();
        running.result().unwrap_err();
        pool.submit(|| (), ()).result().unwrap();
        pool.kill_workers();
        pool.blocking_shutdown(Shutdown::new()).unwrap();

        let unready = builder(1, &gate).initializer(|| Err::<(), _>("no"), ()).build().unwrap();
        unready.submit(|| (), ()).result().unwrap_err();
        unready.blocking_shutdown(Shutdown::new()).unwrap();
        assert_eq!(gate.arrived(), 0);
    }

    fn its_error_its_panic_and_its_death_are_a_warning_and_nothing_else() {
        let events = events_of(|builder| builder.finalizer(|| Err::<(), _>("the lock was gone"), ()));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("the lock was gone"), "{events:?}");

        let events = events_of(|builder| builder.finalizer(|text: String| assert!(text.is_empty(), "{text}"), "no goodbye".to_owned()));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("no goodbye"), "{events:?}");

        let events = events_of(|builder| builder.finalizer(|| -> () { std::process::abort() }, ()));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("SIGABRT"), "{events:?}");

        let slow = |builder: ProcessPoolBuilder| {
            let forever = Duration::from_secs(1_000);
            builder.finalizer(std::thread::sleep, forever).kill_grace(Duration::from_millis(50))
        };
        let events = events_of(slow);
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("SIGKILL") && events[0].contains("had not returned"), "{events:?}");

        assert_eq!(events_of(|builder| builder.finalizer(|| (), ())).len(), 0);
        assert_eq!(events_of(|builder| builder).len(), 0);
    }

    fn it_has_the_grace_and_a_shutdown_waits_for_it() {
        let gate = PathGate::new();
        let grace = Duration::from_millis(300);
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .finalizer(pass, gate.door())
            .kill_grace(grace)
            .build()
            .unwrap();
        pool.submit(|| (), ()).result().unwrap();
        let begin = Instant::now();
        let ending = pool.shutdown(Shutdown::new());
        gate.wait_for(1);
        assert!(!ending.is_done());
        ending.result().unwrap();
        assert!(begin.elapsed() >= grace);
    }

    fn other_workers_do_not_wait_for_it() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .finalizer(pass, gate.door())
            .kill_grace(Duration::from_secs(1_000))
            .build()
            .unwrap();
        pool.warm_up().result().unwrap();
        pool.resize(1).unwrap();
        gate.wait_for(1);
        for _ in 0..100 {
            assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        }
        assert_eq!(pool.worker_stats().len(), 2, "one is at it still");
        gate.open();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert_eq!(gate.arrived(), 2);
    }

    fn its_argument_may_be_large_and_is_an_error_of_the_builder_if_it_cannot_be_encoded() {
        let gate = PathGate::new();
        let check = |door: Door, bytes: Vec<u8>| {
            if bytes == [7; 1 << 20] {
                door.arrive();
            }
        };
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(|bytes: Vec<u8>| assert_eq!(bytes.len(), 1 << 20), vec![1; 1 << 20])
            .finalizer(check, (gate.door(), vec![7; 1 << 20]))
            .build()
            .unwrap();
        pool.submit(|| (), ()).result().unwrap();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert_eq!(gate.arrived(), 1);

        #[derive(serde::Deserialize)]
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not to be written"))
            }
        }
        let error = ProcessPoolExecutor::builder().finalizer(|_: Unwritable| (), Unwritable).build().unwrap_err();
        assert!(error.to_string().starts_with("the finalizer cannot be sent"), "{error}");
    }
}
