//! What can be seen from outside: counters, observers, spans.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrent_futures::{
    Executor, Observer, Outcome, Run, TaskInfo, TaskOptions, ThreadPoolExecutor, WorkerId,
};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::{Gate, busy_pool, tests};

#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn write(&self, task: TaskInfo<'_>, what: &str) {
        let name = task.name().unwrap_or("unnamed");
        self.0.lock().unwrap().push(format!("{name} {what}"));
    }

    fn entries(&self, what: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|entry| entry.contains(what))
            .count()
    }
}

impl Observer for Diary {
    fn queued(&self, task: TaskInfo<'_>) {
        self.write(task, "queued");
    }

    fn started(&self, task: TaskInfo<'_>, worker: WorkerId, waited: Duration) {
        assert!(waited < Duration::from_secs(60));
        self.write(task, &format!("started on {worker}"));
    }

    fn finished(&self, task: TaskInfo<'_>, outcome: Outcome, run: Option<Run>) {
        let place = run.map_or("in the queue".to_owned(), |run| {
            format!("on {}", run.worker())
        });
        self.write(task, &format!("finished {outcome:?} {place}"));
    }
}

fn assert_adds_up(pool: &ThreadPoolExecutor) {
    let stats = pool.stats();
    assert!(stats.queued() <= stats.submitted(), "{stats:?}");
    assert!(stats.running() <= stats.submitted(), "{stats:?}");
    assert_eq!(
        stats.queued() + stats.running() + stats.finished(),
        stats.submitted()
    );
}

tests! {
    fn an_observer_is_told_of_every_step() {
        let diary = Arc::new(Diary::default());
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .observer(Arc::clone(&diary) as Arc<dyn Observer>)
            .build()
            .unwrap();
        let named = |name: &str| pool.with(TaskOptions::new().name(name));
        let gate = Gate::default();
        let inside = gate.clone();
        let first = named("first").spawn(move || inside.pass());
        gate.wait_for(1);
        let second = named("second").submit(|| -> u8 { panic!("no luck") }, ());
        let third = named("third").submit(|| 1, ());
        assert!(third.cancel());
        gate.open();
        first.result().unwrap();
        // What is reported as finished is reported before the future resolves.
        assert_eq!(diary.entries("first finished Succeeded on 0"), 1);
        second.result().unwrap_err();
        assert_eq!(diary.entries("second finished Panicked on 0"), 1);
        assert_eq!(diary.entries("third finished Cancelled in the queue"), 1);
        assert_eq!((diary.entries("queued"), diary.entries("started on 0")), (3, 2));
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
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .observer(Arc::new(Panics))
            .build()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
        }
    }

    fn counters_add_up_at_every_moment_of_a_storm() {
        let pool = ThreadPoolExecutor::new(3);
        let over = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut samples = 0_u64;
                while !over.load(Ordering::SeqCst) {
                    assert_adds_up(&pool);
                    samples += 1;
                }
                samples
            })
        };
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                std::thread::spawn(move || {
                    let hurried = TaskOptions::new().run_timeout(Duration::from_micros(50));
                    let mut futures = Vec::new();
                    for n in 0..20_000_u64 {
                        let future = match n % 50 {
                            0 => pool.submit(|n: u64| -> u64 { assert!(n > n, "fails"); n }, n),
                            1 => pool.with(hurried.clone()).spawn(move || {
                                std::thread::sleep(Duration::from_micros(100));
                                n
                            }),
                            _ => pool.submit(|n: u64| n, n),
                        };
                        if n % 7 == 0 {
                            future.cancel();
                        }
                        futures.push(future);
                    }
                    for future in futures {
                        let _ = future.result();
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        over.store(true, Ordering::SeqCst);
        assert!(watcher.join().unwrap() > 0);
        let stats = pool.stats();
        assert_eq!((stats.submitted(), stats.finished()), (40_000, 40_000));
        assert!(stats.finished_with(Outcome::Panicked) > 0);
    }

    fn what_is_awaited_is_counted() {
        let pool = ThreadPoolExecutor::new(2);
        for n in 1..=1_000 {
            pool.submit(|| (), ()).result().unwrap();
            assert_eq!(pool.stats().finished_with(Outcome::Succeeded), n);
        }
    }

    fn times_of_waiting_and_running_are_measured() {
        let (pool, gate) = busy_pool();
        let sleep = || std::thread::sleep(Duration::from_millis(5));
        let futures: Vec<_> = (0..32).map(|_| pool.spawn(sleep)).collect();
        gate.open();
        for future in futures {
            future.result().unwrap();
        }
        let stats = pool.stats();
        assert_eq!(stats.running_times().count(), 33);
        let median = stats.running_times().quantile(0.5).unwrap();
        assert!(median >= Duration::from_millis(5), "{median:?}");
        // One in sixteen is measured, wherever the count of this thread stands.
        assert!((2..=3).contains(&stats.waiting_times().count()));
        assert!(stats.waiting_times().quantile(1.0).unwrap() >= Duration::from_millis(5));
        assert!(stats.running_times().quantile(1.5).is_none());
    }

    fn rejections_are_counted_apart() {
        let pool = ThreadPoolExecutor::new(1);
        pool.blocking_shutdown(concurrent_futures::Shutdown::new()).unwrap();
        for _ in 0..3 {
            pool.submit(|| 1, ()).detach();
        }
        let stats = pool.stats();
        assert_eq!((stats.rejected(), stats.submitted()), (3, 0));
    }

    fn the_span_current_at_submit_is_the_parent_of_what_the_task_logs() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Scopes(Arc::clone(&events)));
        let dispatch = tracing::Dispatch::new(subscriber);
        tracing::dispatcher::with_default(&dispatch, || {
            let (pool, gate) = busy_pool();
            let request = tracing::info_span!("request");
            let inner = dispatch.clone();
            let future = request.in_scope(|| {
                pool.spawn(move || {
                    tracing::dispatcher::with_default(&inner, || tracing::info!("in the task"));
                })
            });
            // What is current later makes no difference.
            tracing::info_span!("later").in_scope(|| gate.open());
            future.result().unwrap();
        });
        assert_eq!(*events.lock().unwrap(), [Some("request".to_owned())]);
    }

    fn counters_add_up_while_workers_begin_and_tasks_are_overtaken() {
        for _ in 0..20 {
            let pool = ThreadPoolExecutor::new(100);
            let over = Arc::new(AtomicBool::new(false));
            let watcher = {
                let (pool, over) = (pool.clone(), Arc::clone(&over));
                std::thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        assert_adds_up(&pool);
                    }
                })
            };
            let gate = Gate::default();
            let hurried = pool.with(TaskOptions::new().run_timeout(Duration::ZERO));
            let futures: Vec<_> = (0..100)
                .map(|_| {
                    let gate = gate.clone();
                    hurried.spawn(move || gate.pass())
                })
                .collect();
            for future in futures {
                assert!(future.result().unwrap_err().is_timed_out());
            }
            over.store(true, Ordering::SeqCst);
            watcher.join().unwrap();
            gate.open();
        }
    }

    fn the_time_of_callbacks_is_not_the_next_tasks() {
        struct Times(Mutex<Vec<Duration>>);
        impl Observer for Times {
            fn finished(&self, _: TaskInfo<'_>, _: Outcome, run: Option<Run>) {
                self.0.lock().unwrap().extend(run.map(|run| run.time()));
            }
        }
        let times = Arc::new(Times(Mutex::default()));
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .observer(Arc::clone(&times) as Arc<dyn Observer>)
            .build()
            .unwrap();
        let gate = Gate::default();
        let inside = gate.clone();
        let first = pool.spawn(move || inside.pass());
        let second = pool.spawn(|| ());
        gate.wait_for(1);
        first.on_done(|_, _| std::thread::sleep(Duration::from_millis(300)));
        gate.open();
        second.result().unwrap();
        let time = times.0.lock().unwrap()[1];
        assert!(time < Duration::from_millis(200), "an empty body ran for {time:?}");
    }

    fn the_last_reference_to_a_pool_may_be_a_cancellation_and_its_observer_may_panic() {
        struct Blocks {
            entered: Gate,
        }
        impl Observer for Blocks {
            fn finished(&self, _: TaskInfo<'_>, outcome: Outcome, _: Option<Run>) {
                if outcome == Outcome::Cancelled {
                    self.entered.pass();
                }
            }
        }
        impl Drop for Blocks {
            fn drop(&mut self) {
                panic!("in the drop of an observer");
            }
        }
        let entered = Gate::default();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .observer(Arc::new(Blocks { entered: entered.clone() }))
            .build()
            .unwrap();
        let gate = Gate::default();
        let inside = gate.clone();
        let first = pool.spawn(move || inside.pass());
        gate.wait_for(1);
        let second = pool.spawn(|| 7);
        let handle = second.handle();
        let canceller = std::thread::spawn(move || handle.cancel());
        entered.wait_for(1);
        drop(pool);
        gate.open();
        first.result().unwrap();
        crate::harness::eventually("the lease ends", || crate::harness::threads_of_ours().is_empty());
        entered.open();
        assert!(canceller.join().unwrap());
        assert!(second.result().unwrap_err().is_cancelled());
    }

    fn a_subscriber_or_a_text_that_panics_harms_no_task() {
        struct Panics;
        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Panics {
            fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
                panic!("a subscriber that panics");
            }
        }
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop of a closure");
            }
        }
        let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(Panics));
        tracing::dispatcher::with_default(&dispatch, || {
            let (pool, gate) = busy_pool();
            let bomb = Bomb;
            let future = pool.spawn(move || drop(bomb));
            assert!(future.cancel(), "the drop is logged, and that panics");
            assert!(future.result().unwrap_err().is_cancelled());
            let done = pool.spawn(|| 1);
            gate.open();
            assert_eq!(done.result().unwrap(), 1);
        });
    }
}

/// Notes the name of the span that each event is in.
struct Scopes(Arc<Mutex<Vec<Option<String>>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Scopes {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event);
        self.0
            .lock()
            .unwrap()
            .push(span.map(|span| span.name().to_owned()));
    }
}
