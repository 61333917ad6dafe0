//! However a task ends, nothing of it borrows any more when the scope is over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use concurrent_futures::{
    AbortOutcome, Clock, Executor, Outcome, Rejection, Scope, ScopedFuture, Shutdown, TaskOptions,
    ThreadPoolExecutor, task,
};

use super::ground::{Ground, Guest, OnDrop, open_later};
use crate::harness::{Gate, busy_pool, eventually, tests};

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().expect("a text")
}

tests! {
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
