//! Groups: the first error or the first value of several tasks, and the end of the others.

use std::error::Error as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Clock, Executor, Outcome, Promise, Ran, TaskError, TaskFuture, TaskHandle, select_ok, task,
    try_join_all, wait,
};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{
    Door, Gate, PathGate, Pool, Subject, eventually, on_every_executor, on_every_pool, tests,
};

const LONG: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn odd(number: u32) -> Result<u32, String> {
    match number % 2 {
        1 => Ok(number),
        _ => Err(format!("{number} is even")),
    }
}

/// Comes to the gate, and runs until it is asked to stop, or its process is ended.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn run_until_stopped(door: Door) -> Result<u32, TaskError> {
    door.arrive();
    let task = task::current().expect("runs as a task");
    while !task.is_stop_requested() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(TaskError::cancelled())
}

/// Promises and the futures that belong to them.
fn promises(count: usize) -> (Vec<Promise<u32>>, Vec<TaskFuture<u32>>) {
    (0..count).map(|_| Promise::new()).unzip()
}

on_every_executor!(
    values_come_in_the_order_of_the_input,
    nothing_gives_no_values_and_no_first_value,
    an_error_says_which_future_it_is_of,
    a_panic_is_an_error_and_its_index_is_told,
    the_first_value_is_given_though_others_fail,
    where_all_fail_every_error_is_kept,
    what_is_there_at_a_deadline_of_zero_is_given,
);

fn values_come_in_the_order_of_the_input<S: Subject>() {
    let executor = S::with_workers(4);
    let squares: Vec<u64> = (0..100).map(|n| n * n).collect();
    let submit = || (0..100).map(|n: u64| executor.submit(|n: u64| n * n, n));
    assert_eq!(try_join_all(submit()).blocking_wait().unwrap(), squares);
    let awaited = runtime().block_on(async { try_join_all(submit()).timeout(LONG).await });
    assert_eq!(awaited.unwrap(), squares);
}

fn nothing_gives_no_values_and_no_first_value<S: Subject>() {
    let _executor = S::with_workers(1);
    let none = Vec::<TaskFuture<u8>>::new;
    assert!(try_join_all(none()).blocking_wait().unwrap().is_empty());
    let error = select_ok(none()).blocking_wait().unwrap_err();
    assert!(error.is_all_failed() && error.errors().is_empty());
    assert_eq!(error.ran(), Ran::No);
    assert!(error.source().is_none());
}

fn an_error_says_which_future_it_is_of<S: Subject>() {
    let executor = S::with_workers(1);
    let mut failed = executor.try_submit(odd, 4);
    wait([&mut failed]).blocking_wait().unwrap();
    let (promise, pending) = Promise::new();
    let error = try_join_all([pending, failed]).blocking_wait().unwrap_err();
    assert!(error.is_failed());
    assert_eq!(error.index(), Some(1));
    assert_eq!(error.message().unwrap(), "4 is even");
    assert!(promise.is_cancelled(), "nobody waits for it");
}

fn a_panic_is_an_error_and_its_index_is_told<S: Subject>() {
    let executor = S::with_workers(2);
    let fine = executor.submit(|| 1, ());
    let panicking = executor.submit(|| -> u32 { panic!("no luck") }, ());
    let error = try_join_all([fine, panicking]).blocking_wait().unwrap_err();
    assert!(error.is_panicked(), "{error}");
    assert_eq!(error.index(), Some(1));
}

fn the_first_value_is_given_though_others_fail<S: Subject>() {
    let executor = S::with_workers(2);
    let submit = || {
        let panicking = executor.submit(|| -> u32 { panic!("no luck") }, ());
        [
            executor.try_submit(odd, 2),
            panicking,
            executor.try_submit(odd, 3),
        ]
    };
    assert_eq!(select_ok(submit()).blocking_wait().unwrap(), 3);
    let awaited = runtime().block_on(async { select_ok(submit()).timeout(LONG).await });
    assert_eq!(awaited.unwrap(), 3);
}

fn where_all_fail_every_error_is_kept<S: Subject>() {
    let executor = S::with_workers(1);
    let panicking = executor.submit(|| -> u32 { panic!("no luck") }, ());
    let failing = executor.try_submit(odd, 2);
    let error = select_ok([failing, panicking]).blocking_wait().unwrap_err();
    assert!(error.is_all_failed());
    assert_eq!((error.ran(), error.index()), (Ran::Maybe, None));
    assert_eq!(error.to_string(), "none of 2 futures succeeded");
    let mut errors: Vec<_> = error.errors().iter().collect();
    let source = error.source().unwrap().to_string();
    assert_eq!(source, errors[1].to_string(), "the last is the cause");
    errors.sort_by_key(|error| error.index());
    assert_eq!(errors[0].message().unwrap(), "2 is even");
    assert!(errors[1].is_panicked());
}

fn what_is_there_at_a_deadline_of_zero_is_given<S: Subject>() {
    let executor = S::with_workers(2);
    let mut futures: Vec<_> = (1..=3).map(|n| executor.submit(|n: u32| n, n)).collect();
    wait(&mut futures).blocking_wait().unwrap();
    let values = try_join_all(&mut futures).timeout(Duration::ZERO);
    assert_eq!(values.blocking_wait().unwrap(), [1, 2, 3]);

    let mut done = executor.submit(|| 4, ());
    wait([&mut done]).blocking_wait().unwrap();
    let (promise, mut pending) = Promise::new();
    let both = try_join_all([&mut done, &mut pending]).timeout(Duration::ZERO);
    let error = both.blocking_wait().unwrap_err();
    assert_eq!(error.to_string(), "1 (of 2) futures unfinished");
    assert!(promise.is_cancelled());
}

on_every_pool!(
    a_value_stops_the_losers,
    an_error_stops_the_rest,
    a_deadline_stops_all_and_counts_the_unfinished,
    a_group_that_is_dropped_stops_its_tasks,
    the_end_of_the_losers_can_be_waited_for,
    what_is_pending_after_a_wait_can_be_stopped,
);

/// A pool, a task that runs in it until it is stopped, one behind it that must never run, and the
/// gate that both come to when they start.
fn losers<S: Pool>() -> (S::Executor, TaskFuture<u32>, TaskFuture<u32>, PathGate) {
    let pool = S::with_workers(1);
    let started = PathGate::new();
    let running = pool.try_submit(run_until_stopped, started.door());
    started.wait_for(1);
    let queued = pool.try_submit(run_until_stopped, started.door());
    (pool, running, queued, started)
}

/// The worker is free again, of the task that ran, and the one behind it has not run.
fn were_stopped<S: Pool>(pool: &S::Executor, started: &PathGate) {
    eventually("both are over", || S::stats(pool).finished() == 2);
    assert_eq!(started.arrived(), 1, "what was queued never runs");
    assert_eq!(S::stats(pool).finished_with(Outcome::Cancelled), 1);
    assert_eq!(pool.submit(|| 7, ()).result().unwrap(), 7);
}

fn a_value_stops_the_losers<S: Pool>() {
    let (pool, running, queued, started) = losers::<S>();
    let (promise, winner) = Promise::new();
    let waiter = std::thread::spawn(|| select_ok([running, winner, queued]).blocking_wait());
    promise.fulfil(7).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 7);
    were_stopped::<S>(&pool, &started);
}

fn an_error_stops_the_rest<S: Pool>() {
    let (pool, running, queued, started) = losers::<S>();
    let (promise, failing) = Promise::new();
    let waiter = std::thread::spawn(|| {
        runtime().block_on(async { try_join_all([running, queued, failing]).await })
    });
    promise.fail(TaskError::failed("no luck")).unwrap();
    let error = waiter.join().unwrap().unwrap_err();
    assert_eq!((error.is_failed(), error.index()), (true, Some(2)));
    were_stopped::<S>(&pool, &started);
}

fn a_deadline_stops_all_and_counts_the_unfinished<S: Pool>() {
    let short = Duration::from_millis(10);
    for blocking in [true, false] {
        let (pool, running, queued, started) = losers::<S>();
        let (promise, done) = Promise::new();
        promise.fulfil(7).unwrap();
        let group = try_join_all([running, done, queued]).timeout(short);
        let error = match blocking {
            true => group.blocking_wait(),
            false => runtime().block_on(group),
        }
        .unwrap_err();
        assert_eq!(error.clock(), Some(Clock::Wait));
        assert_eq!(error.to_string(), "2 (of 3) futures unfinished");
        were_stopped::<S>(&pool, &started);

        let (pool, running, queued, started) = losers::<S>();
        let (promise, failed) = Promise::new();
        promise.fail(TaskError::failed("no luck")).unwrap();
        let group = select_ok([running, failed, queued]).timeout(short);
        let error = match blocking {
            true => group.blocking_wait(),
            false => runtime().block_on(group),
        }
        .unwrap_err();
        assert_eq!(error.clock(), Some(Clock::Wait));
        assert_eq!(error.to_string(), "2 (of 3) futures unfinished");
        assert_eq!(error.errors()[0].message().unwrap(), "no luck");
        assert_eq!(error.source().unwrap().to_string(), "item 1 failed");
        were_stopped::<S>(&pool, &started);
    }
}

fn a_group_that_is_dropped_stops_its_tasks<S: Pool>() {
    let (pool, running, queued, started) = losers::<S>();
    drop(try_join_all([running, queued]));
    were_stopped::<S>(&pool, &started);

    let (pool, running, queued, started) = losers::<S>();
    runtime().block_on(async {
        let mut group = select_ok([running, queued]);
        let polled = std::future::poll_fn(|context| {
            Poll::Ready(Future::poll(std::pin::Pin::new(&mut group), context))
        });
        assert!(polled.await.is_pending());
    });
    were_stopped::<S>(&pool, &started);
}

fn the_end_of_the_losers_can_be_waited_for<S: Pool>() {
    let (pool, mut running, mut queued, started) = losers::<S>();
    let (promise, mut failing) = Promise::new();
    promise.fail(TaskError::failed("no luck")).unwrap();
    let group = try_join_all([&mut running, &mut queued, &mut failing]);
    assert!(group.blocking_wait().unwrap_err().is_failed());
    assert!(queued.is_cancelled());
    assert!(running.result_timeout(LONG).is_err());
    were_stopped::<S>(&pool, &started);
}

fn what_is_pending_after_a_wait_can_be_stopped<S: Pool>() {
    let (pool, running, queued, started) = losers::<S>();
    let waited = wait([("running", running), ("queued", queued)]).timeout(Duration::ZERO);
    let waited = waited.blocking_wait().unwrap();
    waited.cancel_pending();
    let [(_, running), (_, queued)] = &waited.pending[..] else {
        panic!("nothing is over: {waited:?}");
    };
    assert!(queued.is_cancelled() && running.is_running());
    waited.abort_pending();
    were_stopped::<S>(&pool, &started);
}

tests! {
    fn the_first_error_is_the_first_in_time() {
        let (mut promises, futures) = promises(4);
        let group = try_join_all(futures);
        promises.remove(2).fail(TaskError::failed("first")).unwrap();
        promises.remove(0).fail(TaskError::failed("second")).unwrap();
        let error = group.blocking_wait().unwrap_err();
        assert_eq!((error.index(), error.message().unwrap().as_ref()), (Some(2), "first"));
        assert!(promises.iter().all(Promise::is_cancelled));
    }

    fn the_first_value_is_the_first_in_time() {
        let (mut promises, futures) = promises(4);
        let group = select_ok(futures);
        promises.remove(2).fulfil(2).unwrap();
        promises.remove(0).fulfil(0).unwrap();
        assert_eq!(group.blocking_wait().unwrap(), 2);
        assert!(promises.iter().all(Promise::is_cancelled));
    }

    fn a_group_that_has_ended_has_stopped_the_rest_before_it_is_dropped() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut others, futures) = promises(3);
        let mut group = pin!(select_ok(futures));
        others.remove(0).fulfil(0).unwrap();
        assert!(group.as_mut().poll(&mut context).is_ready());
        assert!(others.iter().all(Promise::is_cancelled));

        let (mut others, futures) = promises(3);
        let mut group = pin!(try_join_all(futures));
        others.remove(0).fail(TaskError::failed("no luck")).unwrap();
        assert!(group.as_mut().poll(&mut context).is_ready());
        assert!(others.iter().all(Promise::is_cancelled));

        let (others, futures) = promises(3);
        let mut group = pin!(try_join_all(futures).timeout(Duration::ZERO));
        assert!(group.as_mut().poll(&mut context).is_ready());
        assert!(others.iter().all(Promise::is_cancelled));
    }

    fn what_is_queued_is_cancelled_before_what_runs_is_asked_to_stop() {
        struct Looks(TaskHandle, AtomicBool);
        impl Wake for Looks {
            fn wake(self: Arc<Self>) {
                self.1.store(self.0.is_done(), Ordering::Relaxed);
            }
        }
        let (promises, futures) = promises(2);
        assert!(promises[0].start(), "it runs");
        let looks = Arc::new(Looks(futures[1].handle(), AtomicBool::new(false)));
        let mut asked = pin!(promises[0].token().cancelled_owned());
        let waker = Waker::from(Arc::clone(&looks));
        assert!(asked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(try_join_all(futures));
        assert!(promises[0].is_stop_requested());
        assert!(looks.1.load(Ordering::Relaxed), "else it could begin where the other one ends");
    }

    fn what_somebody_else_cancels_is_an_error_of_the_group() {
        let (mut promises, futures) = promises(2);
        let handle = futures[1].handle();
        let waiter = std::thread::spawn(move || try_join_all(futures).blocking_wait());
        assert!(handle.cancel());
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!((error.is_cancelled(), error.index()), (true, Some(1)));
        assert!(promises.remove(0).is_cancelled());
    }

    fn clones_of_a_shared_future_are_one_task_with_a_value_for_each() {
        let (promise, future) = Promise::new();
        let shared = future.shared();
        promise.fulfil(7).unwrap();
        let clones = [shared.clone(), shared.clone()];
        assert_eq!(try_join_all(clones).blocking_wait().unwrap(), [7, 7]);
        assert_eq!(select_ok([shared.clone(), shared]).blocking_wait().unwrap(), 7);
    }

    fn a_shared_loser_is_stopped_for_all_its_clones() {
        let (promise, loser) = Promise::new();
        let loser = loser.shared();
        let (winning, winner) = Promise::new();
        winning.fulfil(7).unwrap();
        let group = select_ok([loser.clone(), winner.shared()]);
        assert_eq!(group.blocking_wait().unwrap(), 7);
        assert!(promise.is_cancelled() && loser.result().unwrap_err().is_cancelled());
    }

    fn a_result_that_another_clone_is_just_decoding_is_waited_for() {
        static GATE: LazyLock<Gate> = LazyLock::new(Gate::default);
        fn decode(_: &[u8]) -> Result<u8, TaskError> {
            GATE.pass();
            Ok(7)
        }
        let (promise, future) = Promise::new();
        let shared = future.shared();
        let clone = shared.clone();
        promise.fulfil_encoded(Vec::new(), decode).unwrap();
        let decoding = std::thread::spawn(move || clone.result());
        GATE.wait_for(1);
        let late = try_join_all([shared.clone()]).timeout(Duration::from_millis(5));
        let error = late.blocking_wait().unwrap_err();
        assert_eq!(error.to_string(), "1 (of 1) futures unfinished");
        let group = std::thread::spawn(move || try_join_all([shared]).blocking_wait());
        GATE.open();
        assert_eq!(group.join().unwrap().unwrap(), [7]);
        assert_eq!(decoding.join().unwrap().unwrap(), 7);
    }

    fn blocking_in_async_code_is_an_error_that_leaves_no_task_behind() {
        runtime().block_on(async {
            let (mut promises, mut futures) = promises(2);
            let error = try_join_all([futures.remove(0)]).blocking_wait().unwrap_err();
            assert!(error.is_would_block());
            let error = select_ok(futures).timeout(LONG).blocking_wait().unwrap_err();
            assert!(error.is_would_block());
            assert!(promises.drain(..).all(|promise| promise.is_cancelled()));
        });
    }

    fn a_group_can_be_a_task_of_a_runtime_and_is_woken_from_elsewhere() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let (promises, futures) = promises(3);
            let group = tokio::spawn(try_join_all(futures).timeout(LONG));
            let fulfilling = tokio::task::spawn_blocking(|| {
                for (value, promise) in (0..3).zip(promises).rev() {
                    promise.fulfil(value).unwrap();
                }
            });
            assert_eq!(group.await.unwrap().unwrap(), [0, 1, 2]);
            fulfilling.await.unwrap();
        });
    }

    fn a_group_that_was_given_its_end_panics_when_it_is_polled_again() {
        let (promise, future) = Promise::new();
        promise.fulfil(7).unwrap();
        let mut group = pin!(try_join_all([future]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(group.as_mut().poll(&mut context).is_ready());
        let again = std::panic::AssertUnwindSafe(|| group.as_mut().poll(&mut context).is_ready());
        let text = *std::panic::catch_unwind(again).unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("polled after it was done"), "{text}");
    }

    fn a_hundred_thousand_futures_take_linear_time() {
        let time = |count: usize| {
            let start = Instant::now();
            let (promises, futures) = promises(count);
            let group = try_join_all(futures);
            let fulfilling = std::thread::spawn(|| {
                for promise in promises {
                    promise.fulfil(1).unwrap();
                }
            });
            assert_eq!(group.blocking_wait().unwrap().len(), count);
            fulfilling.join().unwrap();

            let (mut promises, futures) = self::promises(count);
            promises.pop().unwrap().fulfil(1).unwrap();
            assert_eq!(select_ok(futures).blocking_wait().unwrap(), 1);
            assert!(promises.iter().all(Promise::is_cancelled));
            start.elapsed()
        };
        let (small, large) = (time(1_000), time(100_000));
        // A hundred times as many: quadratic would be ten thousand times as long.
        assert!(large < 1_500 * small, "{small:?} for 1 000, {large:?} for 100 000");
    }
}
