//! What can be seen of a pool of processes from outside: counters, workers, observers, spans.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrent_futures::{
    Executor, Observer, Outcome, ProcessPoolExecutor, Run, Shutdown, TaskId, TaskInfo, TaskOptions,
    WorkerId, WorkerState, task,
};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::pid_of;
use crate::harness::{Door, PathGate, Processes, busy, eventually, pass, tests};

/// What an observer is told, by the task's id.
#[derive(Default)]
struct Diary(Mutex<Vec<(TaskId, String)>>);

impl Diary {
    fn write(&self, task: TaskInfo<'_>, what: String) {
        self.0.lock().unwrap().push((task.id(), what));
    }

    /// What was said of a task, in its order.
    fn of(&self, id: TaskId) -> Vec<String> {
        let entries = self.0.lock().unwrap();
        let own = entries.iter().filter(|(of, _)| *of == id);
        own.map(|(_, what)| what.clone()).collect()
    }
}

impl Observer for Diary {
    fn queued(&self, task: TaskInfo<'_>) {
        self.write(task, "queued".to_owned());
    }

    fn started(&self, task: TaskInfo<'_>, worker: WorkerId, waited: Duration) {
        assert!(waited < Duration::from_secs(60));
        self.write(task, format!("started on {worker}"));
    }

    fn finished(&self, task: TaskInfo<'_>, outcome: Outcome, run: Option<Run>) {
        let place = run.map_or_else(String::new, |run| format!(" on {}", run.worker()));
        self.write(task, format!("finished {outcome:?}{place}"));
    }
}

/// The level of an event, and the name of the span that it is in.
type Event = (tracing::Level, Option<String>);

/// Notes each event.
struct Events(Arc<Mutex<Vec<Event>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event).map(|span| span.name().to_owned());
        self.0
            .lock()
            .unwrap()
            .push((*event.metadata().level(), span));
    }
}

fn assert_adds_up(pool: &ProcessPoolExecutor) {
    let stats = pool.stats();
    assert!(stats.queued() <= stats.submitted(), "{stats:?}");
    assert!(stats.running() <= stats.submitted(), "{stats:?}");
    assert_eq!(
        stats.queued() + stats.running() + stats.finished(),
        stats.submitted(),
        "{stats:?}"
    );
    assert!(stats.workers() <= stats.max_workers(), "{stats:?}");
    assert!(stats.idle() <= stats.workers(), "{stats:?}");
}

tests! {
    fn counters_add_up_at_every_moment_of_a_storm_with_crashes() {
        let pool = ProcessPoolExecutor::new(3);
        let over = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let (mut samples, mut finished) = (0_u64, 0);
                while !over.load(Ordering::SeqCst) {
                    assert_adds_up(&pool);
                    let now = pool.stats().finished();
                    assert!(now >= finished, "counters only grow");
                    (samples, finished) = (samples + 1, now);
                }
                samples
            })
        };
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                std::thread::spawn(move || {
                    let mut outcomes = [0_u64; 3];
                    let futures: Vec<_> = (0..3_000_u64)
                        .map(|n| {
                            let future = pool.submit(
                                |n: u64| match n % 500 {
                                    0 => std::process::abort(),
                                    1..=20 => panic!("as it should"),
                                    _ => n,
                                },
                                n,
                            );
                            if n % 7 == 0 {
                                future.cancel();
                            }
                            future
                        })
                        .collect();
                    for (n, future) in (0..).zip(futures) {
                        match future.result() {
                            Ok(value) => assert_eq!(value, n),
                            Err(error) if error.is_worker_lost() => outcomes[0] += 1,
                            Err(error) if error.is_panicked() => outcomes[1] += 1,
                            Err(error) => {
                                assert!(error.is_cancelled(), "{error:?}");
                                outcomes[2] += 1;
                            }
                        }
                    }
                    outcomes
                })
            })
            .collect();
        let mut outcomes = [0_u64; 3];
        for submitter in submitters {
            let of_one = submitter.join().unwrap();
            for (sum, count) in outcomes.iter_mut().zip(of_one) {
                *sum += count;
            }
        }
        over.store(true, Ordering::SeqCst);
        assert!(watcher.join().unwrap() > 0);
        let stats = pool.stats();
        assert_eq!((stats.submitted(), stats.finished()), (6_000, 6_000));
        assert_eq!(
            [Outcome::WorkerLost, Outcome::Panicked, Outcome::Cancelled].map(|outcome| stats.finished_with(outcome)),
            outcomes
        );
        assert!(outcomes[0] > 0 && outcomes[1] > 0);
        assert_eq!((stats.queued(), stats.running()), (0, 0));
    }

    fn what_is_awaited_is_counted() {
        let pool = ProcessPoolExecutor::new(2);
        for n in 1..=300 {
            pool.submit(|| (), ()).result().unwrap();
            assert_eq!(pool.stats().finished_with(Outcome::Succeeded), n);
        }
    }

    fn the_workers_tell_what_they_do() {
        let (initializing, gate) = (PathGate::new(), PathGate::new());
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(pass, initializing.door())
            .build()
            .unwrap();
        assert!(pool.worker_stats().is_empty());
        let state = || pool.worker_stats()[0].state();
        let future = pool.submit(pass, gate.door());
        initializing.wait_for(1);
        assert_eq!(state(), WorkerState::Starting);
        initializing.open();
        gate.wait_for(1);
        assert_eq!(state(), WorkerState::Busy);
        let worker = pool.worker_stats()[0];
        assert_eq!((worker.pid(), worker.tasks(), worker.restarts()), (gate.arrivals()[0], 0, 0));
        gate.open();
        future.result().unwrap();
        assert_eq!((state(), pool.worker_stats()[0].tasks()), (WorkerState::Idle, 1));
        let results = pool.mapping().chunk_size(5).window(5).map(|n: u32| n, 0..5);
        assert_eq!(results.into_iter().count(), 5);
        assert_eq!(pool.worker_stats()[0].tasks(), 6, "items are counted one by one");
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(pool.worker_stats().is_empty());
    }

    fn a_successor_bears_the_number_and_counts_those_before_it() {
        let pool = ProcessPoolExecutor::new(1);
        for restarts in 0..4 {
            let pid = pid_of(&pool);
            let worker = pool.worker_stats()[0];
            assert_eq!((worker.pid(), worker.restarts(), worker.id().index()), (pid, restarts, 0));
            assert_eq!(worker.tasks(), 1, "of this process alone");
            let error = pool.submit(|| -> u8 { std::process::exit(1) }, ()).result().unwrap_err();
            assert!(error.is_worker_lost());
        }
    }

    fn an_observer_is_told_of_every_step_of_each_task() {
        let diary = Arc::new(Diary::default());
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .observer(Arc::clone(&diary) as Arc<dyn Observer>)
            .build()
            .unwrap();
        let gate = PathGate::new();
        let first = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let cancelled = pool.submit(|| 1, ());
        let panics = pool.submit(|| -> u8 { panic!("no luck") }, ());
        let crashes = pool.submit(|| -> u8 { std::process::abort() }, ());
        let last = pool.submit(|| 1, ());
        let ids = (first.id(), cancelled.id(), panics.id(), crashes.id(), last.id());
        assert!(cancelled.cancel());
        assert_eq!(diary.of(ids.1), ["queued", "finished Cancelled"]);
        gate.open();
        first.result().unwrap();
        // What is reported as finished is reported before the future resolves.
        assert_eq!(diary.of(ids.0), ["queued", "started on 0", "finished Succeeded on 0"]);
        panics.result().unwrap_err();
        assert_eq!(diary.of(ids.2), ["queued", "started on 0", "finished Panicked on 0"]);
        crashes.result().unwrap_err();
        let crashed = diary.of(ids.3);
        assert_eq!(crashed[..2], ["queued", "started on 0"], "{crashed:?}");
        assert!(crashed[2].starts_with("finished WorkerLost"), "{crashed:?}");
        assert_eq!(last.result().unwrap(), 1);
        assert_eq!(diary.of(ids.4), ["queued", "started on 0", "finished Succeeded on 0"]);
    }

    fn an_observer_sees_a_task_as_started_while_it_runs() {
        let diary = Arc::new(Diary::default());
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .observer(Arc::clone(&diary) as Arc<dyn Observer>)
            .build()
            .unwrap();
        let gate = PathGate::new();
        let future = pool.submit(pass, gate.door());
        gate.wait_for(1);
        eventually("the start is told", || diary.of(future.id()) == ["queued", "started on 0"]);
        gate.open();
        future.result().unwrap();
    }

    fn an_observer_that_panics_harms_nobody() {
        struct Panics;
        impl Observer for Panics {
            fn queued(&self, _: TaskInfo<'_>) {
                panic!("queued");
            }
            fn started(&self, _: TaskInfo<'_>, _: WorkerId, _: Duration) {
                panic!("started");
            }
            fn finished(&self, _: TaskInfo<'_>, _: Outcome, _: Option<Run>) {
                panic!("finished");
            }
        }
        let pool = ProcessPoolExecutor::builder().max_workers(1).observer(Arc::new(Panics)).build().unwrap();
        for _ in 0..3 {
            assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
        }
    }

    fn the_span_at_submit_is_current_around_the_warning_about_a_lost_worker() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Events(Arc::clone(&events)));
        let dispatch = tracing::Dispatch::new(subscriber);
        // The warning comes from a thread of the pool, which is known to the observer.
        struct Subscribes(tracing::Dispatch);
        impl Observer for Subscribes {
            fn finished(&self, _: TaskInfo<'_>, _: Outcome, _: Option<Run>) {
                crate::harness::subscribe(&self.0);
            }
        }
        let observer = Arc::new(Subscribes(dispatch.clone()));
        tracing::dispatcher::with_default(&dispatch, || {
            let pool = ProcessPoolExecutor::builder().max_workers(1).observer(observer).build().unwrap();
            let crash = || -> u8 { std::process::abort() };
            let request = tracing::info_span!("request");
            let future = request.in_scope(|| pool.submit(crash, ()));
            let error = tracing::info_span!("later").in_scope(|| future.result().unwrap_err());
            assert!(error.is_worker_lost());
        });
        let warned = (tracing::Level::WARN, Some("request".to_owned()));
        let events = events.lock().unwrap();
        assert_eq!(events.iter().filter(|event| **event == warned).count(), 1, "{events:?}");
    }

    fn a_task_in_a_worker_knows_its_id() {
        let pool = ProcessPoolExecutor::new(1);
        let id = || task::current().map(|task| task.id().get());
        let futures: Vec<_> = (0..5).map(|_| pool.submit(id, ())).collect();
        for future in futures {
            let own = future.id().get();
            assert_eq!(future.result().unwrap(), Some(own));
        }
        assert!(task::current().is_none());
    }

    fn a_task_in_a_worker_sees_that_it_was_not_asked_to_stop() {
        let pool = ProcessPoolExecutor::new(1);
        let asked = |_: u32| {
            let task = task::current().expect("a task");
            task.is_stop_requested() || task.token().is_cancelled()
        };
        assert!(!pool.submit(asked, 1).result().unwrap());
        assert!(pool.map(asked, 0..10).into_iter().all(|result| !result.unwrap()));
    }

    fn an_item_of_a_dropped_map_sees_that_it_should_stop() {
        let pool = ProcessPoolExecutor::new(1);
        let (gate, stopped) = (PathGate::new(), PathGate::new());
        let look = |gate: Door, stopped: Door| {
            gate.arrive();
            let task = task::current().expect("a task");
            while !task.is_stop_requested() {
                std::thread::yield_now();
            }
            stopped.arrive();
        };
        let items: Vec<_> = (0..4).map(|_| (gate.door(), stopped.door())).collect();
        let results = pool.mapping().chunk_size(4).window(4).map(look, items);
        gate.wait_for(1);
        drop(results);
        stopped.wait_for(1);
        pid_of(&pool);
        assert_eq!((gate.arrived(), stopped.arrived()), (1, 1));
    }

    fn times_of_running_and_waiting_are_measured() {
        let (pool, gate) = busy::<Processes>();
        let nap = || std::thread::sleep(Duration::from_millis(5));
        let futures: Vec<_> = (0..32).map(|_| pool.submit(nap, ())).collect();
        gate.open();
        for future in futures {
            future.result().unwrap();
        }
        let stats = pool.stats();
        assert_eq!(stats.running_times().count(), 33);
        assert!(stats.running_times().quantile(0.5).unwrap() >= Duration::from_millis(5));
        assert!(stats.waiting_times().quantile(1.0).unwrap() >= Duration::from_millis(5));
    }

    fn rejections_are_counted_apart() {
        let pool = ProcessPoolExecutor::new(1);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        let named = pool.with(TaskOptions::new().name("late"));
        for _ in 0..3 {
            named.submit(|| 1, ()).detach();
        }
        assert_eq!((pool.stats().rejected(), pool.stats().submitted()), (3, 0));
    }
}
