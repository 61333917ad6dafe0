//! Scopes: tasks that borrow, and that every borrow is over when the scope is.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use concurrent_futures::{
    AbortOutcome, Clock, Executor, Outcome, Rejection, Scope, ScopedFuture, Shutdown, TaskError,
    TaskOptions, ThreadPoolExecutor, task,
};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::harness::{Gate, busy_pool, eventually, tests};

/// What the tasks of a test borrow. Its guests touch it when they are dropped; nobody may after
/// [`leave`](Self::leave).
#[derive(Debug, Default)]
struct Ground {
    /// On the heap, where a tool sees it touched too late.
    guests: Box<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    here: usize,
    ever: usize,
}

impl Ground {
    fn guest(&self) -> Guest<'_> {
        let mut guests = self.guests.lock().unwrap();
        guests.here += 1;
        guests.ever += 1;
        Guest(self)
    }

    fn here(&self) -> usize {
        self.guests.lock().unwrap().here
    }

    /// Nobody is left of so many.
    fn leave(self, ever: usize) {
        let guests = self.guests.lock().unwrap();
        assert_eq!((guests.here, guests.ever), (0, ever), "(here, ever)");
    }
}

/// Something that borrows, also while it is dropped.
#[derive(Debug)]
struct Guest<'a>(&'a Ground);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.guests.lock().unwrap().here -= 1;
    }
}

/// Runs `drop` before it is gone itself.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Opens the gate when somebody has been there for a while. Whoever ought to wait for the one at the
/// gate, and does not, is through by then.
fn open_later(gate: &Gate) -> std::thread::JoinHandle<()> {
    let gate = gate.clone();
    std::thread::spawn(move || {
        gate.wait_for(1);
        std::thread::sleep(Duration::from_millis(20));
        gate.open();
    })
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().expect("a text")
}

tests! {
    fn tasks_borrow_from_the_caller_and_give_what_borrows() {
        let pool = ThreadPoolExecutor::new(2);
        let text = String::from("first second");
        let mut letters = 0;
        let words = pool
            .scope(|scope| {
                let words = scope.spawn(|| text.split(' ').collect::<Vec<&str>>());
                scope.spawn(|| letters += text.len()).detach();
                words.result()
            })
            .unwrap();
        assert_eq!(words.unwrap(), ["first", "second"]);
        assert_eq!(letters, 12);
    }

    fn values_need_not_be_shareable_between_threads() {
        fn is_send_and_sync<T: Send + Sync>(_: &T) {}
        let pool = ThreadPoolExecutor::new(1);
        let number = pool.scope(|scope| {
            let cell = scope.spawn(|| Cell::new(7));
            is_send_and_sync(&cell);
            is_send_and_sync(scope);
            cell.result().unwrap().get()
        });
        assert_eq!(number.unwrap(), 7);
    }

    fn the_scope_waits_for_tasks_whose_futures_were_dropped() {
        let pool = ThreadPoolExecutor::new(2);
        let ground = Ground::default();
        let gate = Gate::default();
        let opener = open_later(&gate);
        let ended = AtomicUsize::new(0);
        pool.scope(|scope| {
            for _ in 0..4 {
                let guest = ground.guest();
                let (gate, ended) = (&gate, &ended);
                let body = move || {
                    gate.pass();
                    ended.fetch_add(1, Ordering::Relaxed);
                    guest
                };
                scope.spawn(body).detach();
            }
        })
        .unwrap();
        assert_eq!(ended.into_inner(), 4);
        ground.leave(4);
        opener.join().unwrap();
    }

    fn a_future_that_is_leaked_opens_nothing_early_and_its_value_is_dropped() {
        let pool = ThreadPoolExecutor::new(2);
        let ground = Ground::default();
        let gate = Gate::default();
        let opener = open_later(&gate);
        pool.scope(|scope| {
            let body = || {
                gate.pass();
                ground.guest()
            };
            let running = scope.spawn(body);
            gate.wait_for(1);
            std::mem::forget(running);
            let finished = scope.spawn(|| ground.guest());
            eventually("it has its value", || finished.is_done());
            std::mem::forget(finished);
            let calls_back = scope.spawn(|| 1);
            let guest = ground.guest();
            calls_back.on_done(move |_, _| drop(guest));
            std::mem::forget(calls_back);
            std::mem::forget(scope.with(TaskOptions::new()));
        })
        .unwrap();
        ground.leave(3);
        opener.join().unwrap();
    }

    fn values_that_hold_futures_that_hold_values_are_all_dropped() {
        let pool = ThreadPoolExecutor::new(2);
        let ground = Ground::default();
        pool.scope(|scope| {
            let guest = ground.guest();
            let mut chain: Box<dyn Send> = Box::new(guest);
            for _ in 0..10 {
                let guest = ground.guest();
                let future = scope.spawn(move || (chain, guest));
                eventually("it has its value", || future.is_done());
                chain = Box::new(future);
            }
            // A future in the place of its own value.
            let (give, take) = mpsc::channel::<Box<dyn Send + '_>>();
            let guest = ground.guest();
            let own = scope.spawn(move || (take.recv().unwrap(), guest));
            give.send(Box::new(own)).unwrap();
            std::mem::forget(chain);
        })
        .unwrap();
        ground.leave(12);
    }

    fn a_handle_may_outlive_the_scope_and_holds_nothing_that_borrows() {
        let (pool, gate) = busy_pool();
        let ground = Ground::default();
        let handles: [_; 2] = pool
            .scope(|scope| {
                let (first, second) = (ground.guest(), ground.guest());
                let cancelled = scope.spawn(move || first);
                let dropped = scope.spawn(move || second);
                let handles = [cancelled.handle(), dropped.handle()];
                assert!(cancelled.cancel());
                assert_eq!(ground.here(), 1, "the closure is dropped by the call");
                gate.open();
                handles
            })
            .unwrap();
        ground.leave(2);
        assert_eq!(handles[0].outcome(), Some(Outcome::Cancelled));
        assert_eq!(handles[1].outcome(), Some(Outcome::Succeeded));
        handles[0].on_done(|_, outcome| assert_eq!(outcome, Outcome::Cancelled));
    }

    fn a_cancelled_task_stays_in_the_queue_without_its_closure() {
        let (pool, gate) = busy_pool();
        let ground = Ground::default();
        pool.scope(|scope| {
            let guest = ground.guest();
            let future = scope.spawn(move || drop(guest));
            assert_eq!(future.abort(), AbortOutcome::Cancelled);
            assert!(future.result().unwrap_err().is_cancelled());
        })
        .unwrap();
        // The worker has not come to the task yet.
        ground.leave(1);
        gate.open();
    }

    fn a_task_that_is_aborted_is_waited_for() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let gate = Gate::default();
        let opener = open_later(&gate);
        let was_asked = AtomicBool::new(false);
        pool.scope(|scope| {
            let future = scope.spawn(|| {
                let _guest = ground.guest();
                gate.pass();
                let current = task::current().unwrap();
                was_asked.store(current.is_stop_requested(), Ordering::Relaxed);
            });
            gate.wait_for(1);
            assert_eq!(future.abort(), AbortOutcome::Requested);
        })
        .unwrap();
        assert!(was_asked.into_inner());
        ground.leave(1);
        opener.join().unwrap();
    }

    fn a_body_whose_running_time_is_over_is_waited_for_and_its_value_dropped() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let gate = Gate::default();
        let impatient = TaskOptions::new().run_timeout(Duration::from_millis(1));
        let called = AtomicBool::new(false);
        let opener = pool
            .scope(|scope| {
                let guest = ground.guest();
                let taken = scope.with(impatient.clone()).spawn(|| {
                    gate.pass();
                    guest
                });
                taken.on_done(|_, outcome| {
                    assert_eq!(outcome, Outcome::TimedOut);
                    called.store(true, Ordering::Relaxed);
                });
                let error = taken.result().unwrap_err();
                assert_eq!(error.clock(), Some(Clock::Run));
                assert_eq!(ground.here(), 1, "the body goes on");
                open_later(&gate)
            })
            .unwrap();
        assert!(called.into_inner());
        ground.leave(1);
        opener.join().unwrap();
    }

    fn a_value_that_comes_too_late_is_dropped_although_its_future_is_there() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let gate = Gate::default();
        let impatient = TaskOptions::new().run_timeout(Duration::from_millis(1));
        pool.scope(|scope| {
            let body = || {
                gate.pass();
                ground.guest()
            };
            let mut late = scope.with(impatient).spawn(body);
            let limit = Duration::from_secs(10);
            let error = late.result_timeout(limit).unwrap_err();
            assert_eq!(error.clock(), Some(Clock::Run));
            gate.open();
            eventually("the worker is free", || pool.stats().running() == 0);
            std::mem::forget(late);
        })
        .unwrap();
        ground.leave(1);
    }

    fn a_task_whose_time_in_the_queue_is_over_is_gone_with_its_closure() {
        let (pool, gate) = busy_pool();
        let ground = Ground::default();
        let impatient = TaskOptions::new().queue_timeout(Duration::from_millis(1));
        pool.scope(|scope| {
            let guest = ground.guest();
            let future = scope.with(impatient).spawn(move || guest);
            let error = future.result().unwrap_err();
            assert_eq!(error.clock(), Some(Clock::Queue));
        })
        .unwrap();
        ground.leave(1);
        gate.open();
    }

    fn the_drop_of_a_closure_is_waited_for_wherever_it_happens() {
        let (pool, busy) = busy_pool();
        let ground = Ground::default();
        let gate = Gate::default();
        let opener = open_later(&gate);
        let impatient = TaskOptions::new().queue_timeout(Duration::from_millis(1));
        pool.scope(|scope| {
            let guest = ground.guest();
            let captured = OnDrop(move || {
                gate.pass();
                let _is_here = &guest;
            });
            // Without its future, through which the scope would wait as well.
            std::mem::forget(scope.with(impatient).spawn(move || drop(captured)));
        })
        .unwrap();
        ground.leave(1);
        opener.join().unwrap();
        busy.open();
    }

    fn a_task_that_is_refused_is_dropped_at_once() {
        let pool = ThreadPoolExecutor::new(1);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        let ground = Ground::default();
        pool.scope(|scope| {
            let guest = ground.guest();
            let future = scope.spawn(move || guest);
            assert_eq!(ground.here(), 0);
            let guest = ground.guest();
            future.on_done(move |_, outcome| {
                assert_eq!(outcome, Outcome::Rejected);
                drop(guest);
            });
            let error = future.result().unwrap_err();
            assert_eq!(error.rejection(), Some(Rejection::ShutDown));
        })
        .unwrap();
        ground.leave(2);
    }

    fn a_panic_is_its_futures_error_and_not_the_scopes() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let other = pool
            .scope(|scope| {
                let fail = || {
                    let _guest = ground.guest();
                    panic!("no luck");
                };
                let fails = scope.spawn(fail);
                scope.spawn(fail).detach();
                let error: TaskError = fails.result().unwrap_err();
                assert!(error.is_panicked());
                assert_eq!(error.message().unwrap(), "no luck");
                scope.spawn(|| 7).result().unwrap()
            })
            .unwrap();
        assert_eq!(other, 7);
        ground.leave(2);
    }

    fn an_error_that_nobody_takes_is_logged_for_who_looks_for_it() {
        struct Logged(Arc<AtomicUsize>);
        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Logged {
            fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
                if *event.metadata().level() == tracing::Level::DEBUG {
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        let (pool, gate) = busy_pool();
        let count = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Logged(Arc::clone(&count)));
        tracing::dispatcher::with_default(&tracing::Dispatch::new(subscriber), || {
            pool.scope(|scope| {
                let fail = || panic!("no luck");
                scope.spawn(fail).detach();
                assert!(scope.spawn(fail).cancel(), "which is no error");
                let dropped: ScopedFuture<'_, ()> = scope.spawn(fail);
                let taken: ScopedFuture<'_, ()> = scope.spawn(fail);
                gate.open();
                assert!(taken.result().unwrap_err().is_panicked());
                assert!(dropped.is_done());
                drop(dropped);
                assert_eq!(count.load(Ordering::Relaxed), 1);
            })
            .unwrap();
        });
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    fn a_panic_of_the_function_goes_on_when_the_tasks_are_over() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let gate = Gate::default();
        let opener = open_later(&gate);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|scope| {
                let body = || {
                    gate.pass();
                    ground.guest()
                };
                scope.spawn(body).detach();
                scope.spawn(|| panic!("not this one")).detach();
                let _leaked = std::mem::ManuallyDrop::new(scope.spawn(|| ground.guest()));
                panic!("no luck");
            })
        }));
        let panic = result.map(drop).unwrap_err();
        assert_eq!(text_of(&*panic), "no luck");
        ground.leave(2);
        opener.join().unwrap();
    }

    fn drops_that_panic_are_survived() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let bomb = || {
            let guest = ground.guest();
            OnDrop(move || {
                let _is_here = &guest;
                panic!("a drop");
            })
        };
        pool.scope(|scope| {
            let captured = bomb();
            let error = scope.spawn(move || drop(captured)).result().unwrap_err();
            assert_eq!(error.message().unwrap(), "a drop");
            // A value: by its future, by the body, by the end.
            let finished = scope.spawn(bomb);
            eventually("it has its value", || finished.is_done());
            drop(finished);
            scope.spawn(bomb).detach();
            std::mem::forget(scope.spawn(bomb));
            // A closure that is never called, and a callback that is.
            let gate = Gate::default();
            let inside = gate.clone();
            let first = scope.spawn(move || inside.pass());
            gate.wait_for(1);
            let captured = bomb();
            assert!(scope.spawn(move || drop(captured)).cancel());
            let captured = bomb();
            first.on_done(move |_, _| drop(captured));
            gate.open();
            first.result().unwrap();
        })
        .unwrap();
        ground.leave(6);
        assert_eq!(pool.submit(|| 7, ()).result().unwrap(), 7);
    }

    fn tasks_callbacks_and_drops_may_spawn_more() {
        let pool = ThreadPoolExecutor::new(2);
        let ran = AtomicUsize::new(0);
        let count = || {
            ran.fetch_add(1, Ordering::Relaxed);
        };
        pool.scope(|scope| {
            scope.spawn(|| scope.spawn(|| scope.spawn(count).detach()).detach()).detach();
            scope.spawn(|| 1).on_done(|_, _| scope.spawn(count).detach());
            let spawns = || OnDrop(|| scope.spawn(count).detach());
            // By its future, by the body, by the end of the scope, whose drops do the same again.
            drop(scope.spawn(spawns));
            scope.spawn(spawns).detach();
            std::mem::forget(scope.spawn(spawns));
            let spawns_again = move || OnDrop(move || std::mem::forget(scope.spawn(spawns)));
            std::mem::forget(scope.spawn(spawns_again));
        })
        .unwrap();
        assert_eq!(ran.into_inner(), 6);
    }

    fn a_future_may_go_into_another_task() {
        let pool = ThreadPoolExecutor::new(2);
        let text = String::from("text");
        let sum = pool.scope(|scope| {
            let length = scope.spawn(|| text.len());
            scope.spawn(move || length.result().unwrap() + 1).result()
        });
        assert_eq!(sum.unwrap().unwrap(), 5);
    }

    fn scopes_nest() {
        let pool = ThreadPoolExecutor::new(4);
        let mut rows = vec![vec![1, 2, 3], vec![4, 5], vec![6]];
        let sum = AtomicUsize::new(0);
        pool.scope(|outer| {
            for row in &mut rows {
                outer.spawn(|| {
                    let shared = pool.scope(|inner| {
                        for number in row.iter_mut() {
                            inner.spawn(|| *number *= 2).detach();
                        }
                    });
                    shared.unwrap();
                    sum.fetch_add(row.iter().sum(), Ordering::Relaxed);
                })
                .detach();
            }
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 42);
        assert_eq!(rows, [vec![2, 4, 6], vec![8, 10], vec![12]]);
    }

    #[ignore = "a wait of a worker does not run the queued task that it waits for yet"]
    fn a_scope_in_a_task_of_a_pool_of_one_worker_ends() {
        let pool = ThreadPoolExecutor::new(1);
        let sum = pool.scope(|outer| {
            let nested = outer.spawn(|| {
                let numbers = [1, 2, 3];
                let sum = AtomicUsize::new(0);
                let result = pool.scope(|inner| {
                    for number in &numbers {
                        inner.spawn(|| sum.fetch_add(*number, Ordering::Relaxed)).detach();
                    }
                    inner.spawn(|| 4).result()
                });
                sum.into_inner() + result.unwrap().unwrap()
            });
            nested.result()
        });
        assert_eq!(sum.unwrap().unwrap(), 10);
    }

    fn a_shutdown_meanwhile_keeps_what_was_taken() {
        let (pool, gate) = busy_pool();
        let ground = Ground::default();
        pool.scope(|scope| {
            let taken = scope.spawn(|| ground.guest());
            pool.shutdown(Shutdown::new()).detach();
            let refused = scope.spawn(|| ground.guest());
            assert!(refused.result().unwrap_err().is_rejected());
            gate.open();
            assert!(taken.result().is_ok());
        })
        .unwrap();
        ground.leave(1);
    }

    fn a_shutdown_that_cancels_drops_the_closures_of_what_is_pending() {
        let (pool, gate) = busy_pool();
        let ground = Ground::default();
        pool.scope(|scope| {
            let guest = ground.guest();
            let pending = scope.spawn(move || guest);
            let how = Shutdown::new().wait(false).cancel_pending(true);
            pool.shutdown(how).detach();
            assert_eq!(ground.here(), 0);
            assert!(pending.result().unwrap_err().is_cancelled());
        })
        .unwrap();
        ground.leave(1);
        gate.open();
    }

    fn the_end_of_a_shared_runtime_ends_no_borrow_early() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let ground = Ground::default();
        let gate = Gate::default();
        let mut runtime = Some(runtime);
        let opener = pool
            .scope(|scope| {
                let body = || {
                    gate.pass();
                    ground.guest()
                };
                let running = scope.spawn(body);
                gate.wait_for(1);
                let guest = ground.guest();
                let queued = scope.spawn(move || guest);
                runtime.take().unwrap().shutdown_background();
                let error = queued.result().unwrap_err();
                assert_eq!(error.rejection(), Some(Rejection::Broken));
                assert_eq!(ground.here(), 0);
                running.detach();
                open_later(&gate)
            })
            .unwrap();
        ground.leave(2);
        opener.join().unwrap();
    }

    fn in_async_code_a_scope_is_an_error_before_anything_runs() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = ThreadPoolExecutor::new(1);
        runtime.block_on(async {
            let called = Cell::new(false);
            let error = pool.scope(|_| called.set(true)).unwrap_err();
            assert!(error.is_would_block());
            assert_eq!(error.ran(), concurrent_futures::Ran::No);
            assert!(!called.get());
        });
        let inside = pool.clone();
        let blocking = move || {
            let text = String::from("text");
            inside.scope(|scope| scope.spawn(|| text.len()).result().unwrap())
        };
        let length = runtime.block_on(async { tokio::task::spawn_blocking(blocking).await });
        assert_eq!(length.unwrap().unwrap(), 4);
    }

    fn a_future_can_be_awaited_inside_of_the_scope() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = ThreadPoolExecutor::new(1);
        let text = String::from("text");
        let gate = Gate::default();
        let lengths = pool.scope(|scope| {
            let body = || {
                gate.pass();
                &text[..2]
            };
            let mut first = scope.spawn(body);
            let second = scope.spawn(|| &text[2..]);
            runtime.block_on(async {
                assert!(futures_util::poll!(&mut first).is_pending());
                gate.open();
                (first.await.unwrap(), second.await.unwrap())
            })
        });
        assert_eq!(lengths.unwrap(), ("te", "xt"));
    }

    fn a_result_that_is_not_there_yet_can_be_asked_for_again() {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Gate::default();
        pool.scope(|scope| {
            let mut future = scope.spawn(|| gate.pass());
            assert!(future.try_result().is_none());
            let error = future.result_timeout(Duration::from_millis(1)).unwrap_err();
            assert_eq!(error.clock(), Some(Clock::Wait));
            let shown = format!("{future:?}");
            assert!(shown.starts_with("ScopedFuture(TaskFuture { id: "), "{shown}");
            gate.open();
            future.result_timeout(Duration::from_secs(10)).unwrap();
            assert!(future.is_done());
            let again = catch_unwind(AssertUnwindSafe(|| future.try_result()));
            assert!(again.is_err());
        })
        .unwrap();
    }

    fn what_a_closure_has_captured_is_gone_before_its_value_is_there() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        pool.scope(|scope| {
            for _ in 0..200 {
                let guest = ground.guest();
                scope.spawn(move || drop(guest)).result().unwrap();
                assert_eq!(ground.here(), 0);
            }
        })
        .unwrap();
        ground.leave(200);
    }

    fn a_value_that_nobody_can_take_is_dropped_while_the_scope_goes_on() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        pool.scope(|scope| {
            let gate = Gate::default();
            let inside = gate.clone();
            let guest = ground.guest();
            let running = scope.spawn(move || {
                inside.pass();
                guest
            });
            gate.wait_for(1);
            running.detach();
            gate.open();
            eventually("the body drops it", || ground.here() == 0);
            let finished = scope.spawn(|| ground.guest());
            eventually("it has its value", || finished.is_done());
            assert_eq!(ground.here(), 1);
            drop(finished);
            assert_eq!(ground.here(), 0);
        })
        .unwrap();
        ground.leave(2);
    }

    fn a_callback_is_waited_for_and_borrows() {
        let pool = ThreadPoolExecutor::new(1);
        let ground = Ground::default();
        let gate = Gate::default();
        let opener = open_later(&gate);
        let mut seen = Vec::new();
        pool.scope(|scope| {
            let future = scope.spawn(|| 1);
            let id = future.id();
            let (guest, gate, seen) = (ground.guest(), &gate, &mut seen);
            future.on_done(move |of, outcome| {
                gate.pass();
                drop(guest);
                seen.push((of == id, outcome));
            });
        })
        .unwrap();
        assert_eq!(seen, [(true, Outcome::Succeeded)]);
        ground.leave(1);
        opener.join().unwrap();
    }

    fn a_callback_that_comes_late_runs_at_once() {
        let pool = ThreadPoolExecutor::new(1);
        pool.scope(|scope| {
            let future = scope.spawn(|| 1);
            eventually("it has its value", || future.is_done());
            let here = std::thread::current().id();
            let (give, take) = mpsc::channel();
            future.on_done(move |_, _| give.send(std::thread::current().id()).unwrap());
            assert_eq!(take.try_recv(), Ok(here));
            assert_eq!(future.result().unwrap(), 1);
        })
        .unwrap();
    }

    fn thousands_of_tasks_that_end_in_every_way_leave_no_borrow() {
        let pool = ThreadPoolExecutor::new(2);
        for round in 0..40 {
            let ground = Ground::default();
            pool.scope(|scope| {
                let mut futures: Vec<ScopedFuture<'_, Guest<'_>>> = Vec::new();
                for number in 0..100_usize {
                    let guest = ground.guest();
                    let future = scope.spawn(move || {
                        assert!(number % 7 != 0, "one in seven");
                        guest
                    });
                    if number % 5 == 0 {
                        let guest = ground.guest();
                        future.on_done(move |_, _| drop(guest));
                    }
                    match (number + round) % 6 {
                        0 => future.detach(),
                        1 => std::mem::forget(future),
                        2 => drop(future.cancel()),
                        3 => drop(future.abort()),
                        4 => drop(future.result()),
                        _ => futures.push(future),
                    }
                }
                futures.truncate(8);
                spawn_deeper(scope, &ground, 4);
            })
            .unwrap();
            ground.leave(100 + 20 + 15);
        }
    }
}

/// Two tasks that do the same again, and nobody waits for any.
fn spawn_deeper<'scope>(scope: &'scope Scope<'scope, '_>, ground: &'scope Ground, depth: usize) {
    if depth == 0 {
        return;
    }
    let guest = ground.guest();
    for _ in 0..2 {
        scope
            .spawn(move || spawn_deeper(scope, ground, depth - 1))
            .detach();
    }
    drop(guest);
}
