//! What scoped tasks and their futures do.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use concurrent_futures::{Clock, Outcome, ScopedFuture, TaskError, ThreadPoolExecutor};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::ground::{Ground, OnDrop, open_later};
use crate::harness::{Gate, busy_pool, eventually, tests};

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
    fn while_a_scope_unwinds_no_task_runs_on_its_thread() {
        let pool = ThreadPoolExecutor::new(1);
        let (inner, (say, said)) = (pool.clone(), mpsc::channel());
        let scoped = pool.spawn(move || {
            inner.scope(|scope| {
                scope.spawn(|| say.send(std::thread::panicking()).unwrap()).detach();
                panic!("on the way out");
            })
        });
        assert!(scoped.result().map(drop).unwrap_err().is_panicked());
        assert!(!said.recv().unwrap());
    }

    fn a_result_that_must_not_block_leaves_its_task_to_the_scope() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let scoped = pool.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let count = AtomicUsize::new(0);
            inner
                .scope(|scope| {
                    let future = scope.spawn(|| count.fetch_add(1, Ordering::SeqCst));
                    let error = runtime.block_on(async { future.result() }).unwrap_err();
                    assert!(error.is_would_block());
                })
                .unwrap();
            count.into_inner()
        });
        assert_eq!(scoped.result().unwrap(), 1);
    }

    fn a_leaked_future_of_a_task_of_the_own_pool_of_one_worker_holds_nobody_up() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let counted = pool.spawn(move || {
            let count = AtomicUsize::new(0);
            let count_up = || {
                let _before = count.fetch_add(1, Ordering::SeqCst);
            };
            inner
                .scope(|scope| {
                    std::mem::forget(scope.spawn(count_up));
                    scope.spawn(|| std::mem::forget(scope.spawn(count_up))).detach();
                    std::mem::forget(scope.spawn(count_up));
                })
                .unwrap();
            count.into_inner()
        });
        assert_eq!(counted.result().unwrap(), 3);
    }

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
}
