//! Back-pressure: limits of what an executor takes, and places that are reserved, waited for and given
//! back.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::stream::StreamExt as _;
use concurrent_futures::{
    Executor, InlineExecutor, Map, Outcome, Permit, ProcessPoolExecutor, Ran, Rejection, Shutdown,
    TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor,
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::harness::{
    Gate, PathGate, Pool, Processes, Subject, Threads, eventually, on_every_executor,
    on_every_pool, pass, tests,
};

/// A pool that can be limited.
trait Limited: Pool {
    fn limited(workers: usize, queue_limit: usize) -> Self::Executor;
}

impl Limited for Threads {
    fn limited(workers: usize, queue_limit: usize) -> ThreadPoolExecutor {
        let builder = ThreadPoolExecutor::builder().max_workers(workers);
        builder.queue_limit(queue_limit).build().unwrap()
    }
}

impl Limited for Processes {
    fn limited(workers: usize, queue_limit: usize) -> ProcessPoolExecutor {
        let builder = ProcessPoolExecutor::builder().max_workers(workers);
        builder.queue_limit(queue_limit).build().unwrap()
    }
}

/// A pool whose places are all taken by tasks that wait at the gate.
fn full<S: Limited>(
    workers: usize,
    queue_limit: usize,
) -> (S::Executor, PathGate, Vec<TaskFuture<()>>) {
    let pool = S::limited(workers, queue_limit);
    let gate = PathGate::new();
    let tasks = (0..workers + queue_limit)
        .map(|_| pool.submit(pass, gate.door()))
        .collect();
    gate.wait_for(workers);
    (pool, gate, tasks)
}

fn is_full<T>(result: &Result<T, TaskError>) -> bool {
    let error = result.as_ref().err();
    error.and_then(TaskError::rejection) == Some(Rejection::QueueFull)
}

fn on_a_runtime<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

on_every_executor!(
    without_limits_a_place_is_had_at_once,
    a_permit_submits_in_every_way,
    a_permit_that_is_used_after_the_shutdown_is_rejected,
);

fn without_limits_a_place_is_had_at_once<S: Subject>() {
    let executor = S::with_workers(1);
    let mut permits: Vec<Permit<S::Executor>> =
        (0..100).map(|_| executor.try_reserve().unwrap()).collect();
    permits.push(executor.reserve().now_or_never().unwrap().unwrap());
    permits.push(executor.blocking_reserve().unwrap());
    // In async code too: there is nothing to wait for.
    permits.push(on_a_runtime(async { executor.blocking_reserve() }).unwrap());
    for permit in permits {
        assert_eq!(permit.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
}

fn a_permit_submits_in_every_way<S: Subject>() {
    let executor = S::with_workers(1);
    let permit = || executor.try_reserve().unwrap();
    assert_eq!(permit().submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    assert_eq!(permit().submit_fn(u32::count_ones, 7).result().unwrap(), 3);
    let parse = |text: String| text.parse::<u8>();
    let parsed = permit().try_submit(parse, "7".to_owned());
    assert_eq!(parsed.result().unwrap(), 7);
    let named = permit().with(TaskOptions::new().name("the answer"));
    let error = named.try_submit(parse, "x".to_owned()).result();
    assert_eq!(error.unwrap_err().task_name(), Some("the answer"));
}

fn a_permit_that_is_used_after_the_shutdown_is_rejected<S: Subject>() {
    let executor = S::with_workers(1);
    let permit = executor.try_reserve().unwrap();
    executor.blocking_shutdown(Shutdown::new()).unwrap();
    let why = |error: TaskError| error.rejection();
    let error = permit.submit(u64::pow, (2, 10)).result().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
    let error = executor.try_reserve().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
    let error = executor.reserve().now_or_never().unwrap().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
    let error = executor.blocking_reserve().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
}

on_every_pool!(
    with_a_limit_of_0_a_task_is_taken_only_if_a_worker_is_free,
    as_many_are_taken_as_there_are_workers_and_the_limit_says,
    a_place_is_free_again_before_the_result_is_seen,
    a_task_that_fails_or_panics_gives_its_place_back,
    a_permit_has_its_place_until_it_is_dropped_or_its_task_is_over,
    those_who_wait_get_places_in_their_order_and_before_all_others,
    a_wait_that_is_given_up_costs_nobody_anything,
    waits_that_are_given_up_take_no_memory,
    blocking_for_a_place_ends_when_there_is_one,
    blocking_for_a_place_in_async_code_is_an_error,
    a_queued_task_that_is_cancelled_gives_its_place_back_at_once,
    a_task_whose_time_in_the_queue_is_over_gives_its_place_back,
    a_shutdown_ends_the_waits_for_a_place,
    cancelling_what_is_pending_gives_no_place_to_those_who_wait,
    a_pool_without_handles_but_for_a_permit_still_runs_its_task,
    a_map_waits_for_places_and_never_finds_the_queue_full,
    a_map_on_a_full_pool_returns_and_goes_on_when_there_is_a_place,
    maps_of_one_pool_that_are_taken_by_turns_do_not_hold_each_other_up,
    a_map_whose_input_is_a_map_of_the_same_pool_goes_on,
    a_map_that_waits_for_a_place_ends_at_its_deadline,
    a_map_that_waits_for_a_place_ends_with_the_shutdown,
    an_input_that_ends_needs_no_place,
    a_panic_of_the_input_comes_after_what_waits_for_a_place,
    a_full_pool_holds_a_stream_back,
    a_stream_that_is_not_waited_for_leaves_places_to_others,
    a_permit_for_each_item_of_a_stream_is_had_while_it_is_walked,
    whatever_is_submitted_is_taken_or_rejected_and_counted_once,
    many_submitters_share_few_places,
);

fn with_a_limit_of_0_a_task_is_taken_only_if_a_worker_is_free<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let named = pool.with(TaskOptions::new().name("one more"));
    let error = named.submit(u64::pow, (2, 10)).result().unwrap_err();
    assert_eq!(error.rejection(), Some(Rejection::QueueFull));
    assert_eq!(error.ran(), Ran::No);
    assert_eq!(
        error.to_string(),
        "the task `one more` was not taken: the queue is full: wait for a place with reserve, \
         or raise queue_limit or queue_bytes"
    );
    let stats = S::stats(&pool);
    assert_eq!((stats.submitted(), stats.rejected()), (1, 1));
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

fn as_many_are_taken_as_there_are_workers_and_the_limit_says<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(2, 3);
    assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
    assert!(is_full(&pool.submit_fn(u32::count_ones, 7).result()));
    assert!(is_full(&pool.try_reserve()));
    assert_eq!(S::stats(&pool).rejected(), 2, "a reservation is no task");
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    let permits: Vec<_> = (0..5).map(|_| pool.try_reserve().unwrap()).collect();
    assert!(is_full(&pool.try_reserve()));
    drop(permits);
    assert_eq!(S::stats(&pool).finished_with(Outcome::Succeeded), 5);
}

fn a_place_is_free_again_before_the_result_is_seen<S: Limited>() {
    let pool = S::limited(1, 0);
    for n in 0..1_000 {
        assert_eq!(pool.submit(u64::pow, (n, 1)).result().unwrap(), n);
        let permit = pool.try_reserve().unwrap();
        assert_eq!(permit.submit(u64::pow, (n, 1)).result().unwrap(), n);
    }
    let permit = pool.try_reserve().unwrap();
    let callback = Gate::default();
    let (after, seen) = (callback.clone(), pool.clone());
    let future = permit.submit(u64::pow, (2, 10));
    future.on_done(move |_, _| {
        drop(seen.try_reserve().unwrap());
        after.pass();
    });
    callback.open();
    callback.wait_for(1);
    future.result().unwrap();
}

fn a_task_that_fails_or_panics_gives_its_place_back<S: Limited>() {
    let pool = S::limited(1, 0);
    for _ in 0..10 {
        let panics = pool.submit(|| -> u32 { panic!("no luck") }, ());
        assert!(panics.result().unwrap_err().is_panicked());
        let fails = pool.try_submit(|| Err::<u32, _>("no luck"), ());
        assert!(fails.result().unwrap_err().is_failed());
    }
}

fn a_permit_has_its_place_until_it_is_dropped_or_its_task_is_over<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
    drop(permit);
    let permit = pool.try_reserve().unwrap();
    let gate = PathGate::new();
    let task = std::thread::spawn(move || (permit.submit(pass, gate.door()), gate));
    let (task, gate) = task.join().unwrap();
    assert!(is_full(&pool.try_reserve()));
    gate.open();
    task.result().unwrap();
    assert!(pool.try_reserve().is_ok());
}

fn those_who_wait_get_places_in_their_order_and_before_all_others<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pool.reserve())).collect();
    for wait in &mut waiting {
        assert!(wait.now_or_never().is_none());
    }
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    // The place is the first one's already, though that one has not looked.
    assert!(is_full(&pool.try_reserve()));
    assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
    assert!((&mut waiting[1]).now_or_never().is_none());
    for mut wait in waiting {
        let permit = (&mut wait).now_or_never().unwrap().unwrap();
        assert!(is_full(&pool.try_reserve()));
        permit.submit(u64::pow, (2, 10)).result().unwrap();
    }
    assert!(pool.try_reserve().is_ok());
}

fn a_wait_that_is_given_up_costs_nobody_anything<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(pool.reserve())).collect();
    for wait in &mut waiting {
        assert!(wait.now_or_never().is_none());
    }
    let mut last = waiting.pop().unwrap();
    let granted = waiting.remove(0);
    // Two give up while they wait, and one that does not know yet that it has a place.
    drop(waiting);
    drop(permit);
    assert!((&mut last).now_or_never().is_none());
    drop(granted);
    let permit = (&mut last).now_or_never().unwrap().unwrap();
    drop(permit);
    assert!(pool.try_reserve().is_ok());
}

fn waits_that_are_given_up_take_no_memory<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let mut first = pin!(pool.reserve());
    assert!((&mut first).now_or_never().is_none());
    let before = resident();
    for _ in 0..100_000 {
        assert!(pool.reserve().now_or_never().is_none());
    }
    let growth = resident().saturating_sub(before);
    assert!(growth < 4 << 20, "{growth} bytes more");
    drop(permit);
    assert!(first.now_or_never().unwrap().is_ok());
}

fn blocking_for_a_place_ends_when_there_is_one<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.blocking_reserve().unwrap().submit(u64::pow, (2, 10)));
        // It has to wait, if it is there already.
        assert!(!blocked.is_finished());
        drop(permit);
        assert_eq!(blocked.join().unwrap().result().unwrap(), 1024);
    });
}

fn blocking_for_a_place_in_async_code_is_an_error<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let refused = on_a_runtime(async { pool.blocking_reserve() });
    assert!(refused.unwrap_err().is_would_block());
    drop(permit);
    assert!(pool.try_reserve().is_ok(), "it does not wait any more");
}

fn a_queued_task_that_is_cancelled_gives_its_place_back_at_once<S: Limited>() {
    let (pool, gate, mut tasks) = full::<S>(1, 5);
    let mut waiting = pin!(pool.reserve());
    assert!((&mut waiting).now_or_never().is_none());
    // Neither the next one nor the last.
    assert!(tasks.remove(3).cancel());
    let permit = waiting.now_or_never().unwrap().unwrap();
    drop(permit);
    for task in &tasks[2..] {
        assert!(task.cancel());
    }
    let permits: Vec<_> = (0..4).map(|_| pool.try_reserve().unwrap()).collect();
    assert!(is_full(&pool.try_reserve()));
    drop(permits);
    gate.open();
    assert!(tasks.remove(0).result().is_ok());
}

fn a_task_whose_time_in_the_queue_is_over_gives_its_place_back<S: Limited>() {
    let (pool, gate, mut tasks) = full::<S>(1, 1);
    assert!(tasks.pop().unwrap().cancel());
    let impatient = TaskOptions::new().queue_timeout(Duration::from_millis(5));
    let future = pool.with(impatient).submit(u64::pow, (2, 10));
    assert!(is_full(&pool.try_reserve()));
    assert!(future.result().unwrap_err().is_timed_out());
    assert!(pool.try_reserve().is_ok());
    gate.open();
    tasks.remove(0).result().unwrap();
}

fn a_shutdown_ends_the_waits_for_a_place<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let mut waiting = pin!(pool.reserve());
    assert!((&mut waiting).now_or_never().is_none());
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.blocking_reserve());
        let shutdown = pool.shutdown(Shutdown::new());
        let error = waiting.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::ShutDown));
        let error = blocked.join().unwrap().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::ShutDown));
        gate.open();
        shutdown.result().unwrap();
    });
    for task in tasks {
        task.result().unwrap();
    }
}

fn cancelling_what_is_pending_gives_no_place_to_those_who_wait<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 3);
    let mut waiting = pin!(pool.reserve());
    assert!((&mut waiting).now_or_never().is_none());
    let shutdown = pool.shutdown(Shutdown::new().cancel_pending(true));
    let error = waiting.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.rejection(), Some(Rejection::ShutDown));
    gate.open();
    shutdown.result().unwrap();
    let outcomes = tasks.into_iter().map(|task| task.result().is_ok());
    assert_eq!(outcomes.filter(|&is_ok| is_ok).count(), 1);
}

fn a_pool_without_handles_but_for_a_permit_still_runs_its_task<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    drop(pool);
    assert_eq!(permit.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

/// Submits as long as a map runs, whenever there is a place.
fn beside<S: Limited>(pool: &S::Executor, body: impl FnOnce()) {
    let is_over = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                while is_over.load(Ordering::Relaxed) == 0 {
                    let permit = pool.blocking_reserve().unwrap();
                    permit.submit(u64::pow, (2, 10)).result().unwrap();
                }
            });
        }
        body();
        is_over.store(1, Ordering::Relaxed);
    });
}

fn a_map_waits_for_places_and_never_finds_the_queue_full<S: Limited>() {
    let pool = &S::limited(1, 0);
    beside::<S>(pool, || {
        let values = pool.map(|n: u64| n, 0..300).into_iter().map(Result::unwrap);
        assert!(values.eq(0..300));
        let unordered = pool.mapping().unordered().chunk_size(7);
        let values = unordered.map(|n: u64| n, 0..300).into_iter();
        assert_eq!(values.map(Result::unwrap).sum::<u64>(), 44_850);
    });
    beside::<S>(pool, || {
        on_a_runtime(async {
            let mut map = pool.map(|n: u64| n, 0..300);
            for n in 0..300 {
                assert_eq!(map.next().await.unwrap().unwrap(), n);
            }
            assert!(map.next().await.is_none());
        });
    });
    assert_eq!(S::stats(pool).rejected(), 0);
}

fn a_map_on_a_full_pool_returns_and_goes_on_when_there_is_a_place<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let pulled = AtomicUsize::new(0);
    let items = (0..10_u64).inspect(|_| {
        pulled.fetch_add(1, Ordering::Relaxed);
    });
    let mut map = pool.map(|n: u64| n, items);
    assert!(map.next().now_or_never().is_none());
    assert_eq!(pulled.load(Ordering::Relaxed), 1, "one waits, and no more");
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    assert!(map.into_iter().map(Result::unwrap).eq(0..10));
}

fn maps_of_one_pool_that_are_taken_by_turns_do_not_hold_each_other_up<S: Limited>() {
    let pool = S::limited(1, 0);
    let items = || (0..50_u64).map(|n| n);
    let mut maps: Vec<Map<_, _, u64>> = (0..4).map(|_| pool.map(|n: u64| n, items())).collect();
    for n in 0..50 {
        for map in &mut maps {
            assert_eq!(map.blocking_next().unwrap().unwrap(), n);
        }
    }
    on_a_runtime(async {
        let mut outer = pool.map(|n: u64| n, 0..10);
        while let Some(n) = outer.next().await {
            // It is given up while it waits for a place, and the others go on.
            let limit = Duration::from_micros(10);
            let _ = tokio::time::timeout(limit, outer.next()).await;
            let inner = pool.map(|n: u64| n, 0..10);
            let values: Vec<_> = inner.map(Result::unwrap).collect().await;
            assert_eq!(values.len(), 10, "of {n:?}");
        }
    });
}

fn a_map_whose_input_is_a_map_of_the_same_pool_goes_on<S: Limited>() {
    let pool = S::limited(1, 0);
    let inner = pool.map(|n: u64| n + 1, 0..100);
    let outer = pool.map(|n: u64| n * 2, inner.into_iter().map(Result::unwrap));
    let values = outer.into_iter().map(Result::unwrap);
    assert!(values.eq((0..100).map(|n| (n + 1) * 2)));
}

fn a_map_that_waits_for_a_place_ends_at_its_deadline<S: Limited>() {
    let (pool, gate, _tasks) = full::<S>(1, 0);
    let timed = pool.mapping().timeout(Duration::from_millis(5));
    let mut map = timed.map(|n: u64| n, 0..10);
    assert!(map.blocking_next().unwrap().unwrap_err().is_timed_out());
    assert!(map.blocking_next().is_none());
    gate.open();
    let permit = pool.blocking_reserve().unwrap();
    assert!(is_full(&pool.try_reserve()), "the map has given up");
    drop(permit);
}

fn a_map_that_waits_for_a_place_ends_with_the_shutdown<S: Limited>() {
    let (pool, gate, _tasks) = full::<S>(1, 0);
    let mut map = pool.map(|n: u64| n, 0..4);
    assert!(map.next().now_or_never().is_none());
    let shutdown = pool.shutdown(Shutdown::new());
    let results: Vec<_> = map.into_iter().collect();
    assert_eq!(results.len(), 4);
    for result in results {
        assert_eq!(result.unwrap_err().rejection(), Some(Rejection::ShutDown));
    }
    gate.open();
    shutdown.result().unwrap();
}

fn an_input_that_ends_needs_no_place<S: Limited>() {
    let (pool, gate, _tasks) = full::<S>(1, 0);
    let mut empty = pool.map(|n: u64| n, std::iter::empty());
    assert!(empty.blocking_next().is_none());
    let ended = stream::empty()
        .map_on(&pool, |n: u64| n)
        .collect::<Vec<_>>();
    assert_eq!(ended.now_or_never().unwrap().len(), 0);
    gate.open();
}

fn a_panic_of_the_input_comes_after_what_waits_for_a_place<S: Limited>() {
    let (pool, gate, _tasks) = full::<S>(1, 0);
    let items = (0..5_u64).inspect(|&n| assert!(n < 3, "no more"));
    let mapping = pool.mapping().chunk_size(4).unordered();
    let map = mapping.map(|n: u64| n, items);
    gate.open();
    let results: Vec<_> = map.into_iter().collect();
    let values: Vec<u64> = results.iter().flatten().copied().collect();
    assert_eq!(values, [0, 1, 2]);
    let error = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!((error.index(), error.is_panicked()), (Some(3), true));
}

fn a_full_pool_holds_a_stream_back<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(2, 0);
    let pulled = AtomicU64::new(0);
    let input = stream::iter(0..50_u64).inspect(|_| {
        pulled.fetch_add(1, Ordering::Relaxed);
    });
    let mut results = input.map_on(&pool, |n: u64| n);
    assert!(results.next().now_or_never().is_none());
    assert_eq!(pulled.load(Ordering::Relaxed), 1, "one waits, and no more");
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    let results: Vec<u64> = on_a_runtime(results.map(Result::unwrap).collect());
    assert_eq!(results, (0..50).collect::<Vec<_>>());
    assert_eq!(S::stats(&pool).rejected(), 0);
}

fn a_stream_that_is_not_waited_for_leaves_places_to_others<S: Limited>() {
    let pool = S::limited(1, 0);
    on_a_runtime(async {
        let parse = |n: u64| Ok::<_, String>(n);
        let mut results = stream::iter(0..50).try_map_on(&pool, parse).unordered();
        while let Some(result) = results.next().await {
            result.unwrap();
            let permit = pool.reserve().await.unwrap();
            permit.submit(u64::pow, (2, 10)).await.unwrap();
        }
    });
}

fn a_permit_for_each_item_of_a_stream_is_had_while_it_is_walked<S: Limited>() {
    let pool = S::limited(2, 1);
    on_a_runtime(async {
        let squares = stream::iter(0..100_u64)
            .map(|n| {
                let pool = &pool;
                async move { pool.reserve().await?.submit(u64::pow, (n, 2)).await }
            })
            .buffered(16);
        let squares: Vec<_> = squares.map(Result::unwrap).collect().await;
        assert_eq!(squares[99], 9_801);
    });
}

fn whatever_is_submitted_is_taken_or_rejected_and_counted_once<S: Limited>() {
    let pool = S::limited(2, 8);
    let rejected = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (pool, rejected) = (&pool, &rejected);
            scope.spawn(move || {
                for n in 0..500 {
                    let future = pool.submit(u64::pow, (n, 1));
                    if n % 7 == number {
                        future.cancel();
                    }
                    if is_full(&future.result()) {
                        rejected.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let stats = S::stats(&pool);
    assert_eq!(stats.rejected(), rejected.into_inner());
    assert_eq!(stats.submitted() + stats.rejected(), 2_000);
    assert_eq!(stats.finished(), stats.submitted());
    let permits: Vec<_> = (0..10).map(|_| pool.try_reserve().unwrap()).collect();
    assert!(
        is_full(&pool.try_reserve()),
        "no place is lost, and none won"
    );
    drop(permits);
}

fn many_submitters_share_few_places<S: Limited>() {
    const SUBMITTERS: u64 = 16;
    const EACH: u64 = 375;
    let pool = S::limited(2, 98);
    let highest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..SUBMITTERS {
            let (pool, highest) = (&pool, &highest);
            scope.spawn(move || {
                let futures: Vec<_> = (0..EACH)
                    .map(|n| {
                        let permit = pool.blocking_reserve().unwrap();
                        let stats = S::stats(pool);
                        highest.fetch_max(stats.queued() + stats.running(), Ordering::Relaxed);
                        permit.submit(u64::wrapping_add, (number, n))
                    })
                    .collect();
                for (n, future) in (0..EACH).zip(futures) {
                    assert_eq!(future.result().unwrap(), number + n);
                }
            });
        }
    });
    let stats = S::stats(&pool);
    assert_eq!(stats.finished_with(Outcome::Succeeded), SUBMITTERS * EACH);
    assert_eq!(stats.rejected(), 0);
    let highest = highest.into_inner();
    // A task that gives its place back is counted as finished a moment later: one for each worker.
    assert!(highest <= 100 + 2, "{highest} at a time");
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1);
    kilobytes.unwrap().parse::<u64>().unwrap() << 10
}

/// Counts the events of this crate.
#[derive(Clone, Default)]
struct Events(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, _event: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

tests! {
    fn a_million_tasks_streamed_through_leave_memory_flat() {
        const TASKS: u64 = 1_000_000;
        let pool = ThreadPoolExecutor::builder().max_workers(2).queue_limit(1_000).build().unwrap();
        on_a_runtime(async {
            let mut results = stream::iter(0..TASKS).map_on(&pool, |n: u64| n).window(1_000);
            let (mut sum, mut before) = (0, 0);
            for n in 0..TASKS {
                // What the pool needs for itself it has by then.
                if n == TASKS / 10 {
                    before = resident();
                }
                sum += results.next().await.unwrap().unwrap();
            }
            assert_eq!(sum, TASKS * (TASKS - 1) / 2);
            let growth = resident().saturating_sub(before);
            assert!(growth < 16 << 20, "{growth} bytes more");
        });
    }

    fn a_closure_that_captures_can_have_a_permit() {
        let pool = Threads::limited(1, 0);
        let text = String::from("captured");
        let permit = pool.try_reserve().unwrap();
        assert_eq!(permit.spawn(move || text.len()).result().unwrap(), 8);
        let permit = pool.try_reserve().unwrap().with(TaskOptions::new().name("kept"));
        let error = permit.spawn(|| panic!("no luck")).result().unwrap_err();
        assert_eq!(error.task_name(), Some("kept"));
    }

    fn the_place_goes_after_what_the_closure_has_captured() {
        struct Looks(ThreadPoolExecutor, Arc<AtomicUsize>);
        impl Drop for Looks {
            fn drop(&mut self) {
                self.1.fetch_add(usize::from(is_full(&self.0.try_reserve())), Ordering::Relaxed);
            }
        }
        let pool = Threads::limited(1, 0);
        let times_full = Arc::new(AtomicUsize::new(0));
        let looks = Looks(pool.clone(), Arc::clone(&times_full));
        pool.spawn(move || drop(looks)).result().unwrap();
        let looks = Looks(pool.clone(), Arc::clone(&times_full));
        pool.spawn(move || { let _kept = &looks; }).result().unwrap();
        assert_eq!(times_full.load(Ordering::Relaxed), 2);
    }

    fn a_body_that_goes_on_after_its_time_keeps_its_place() {
        let pool = Threads::limited(1, 0);
        let gate = Gate::default();
        let inside = gate.clone();
        let timed = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(5)));
        let late = timed.spawn(move || inside.pass());
        assert!(late.result().unwrap_err().is_timed_out());
        assert!(is_full(&pool.try_reserve()));
        gate.open();
        assert_eq!(pool.blocking_reserve().unwrap().spawn(|| 7).result().unwrap(), 7);
    }

    fn a_pool_of_threads_that_breaks_ends_the_waits_for_a_place() {
        let gate = Gate::default();
        let inside = gate.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(0)
            .initializer(move || {
                inside.pass();
                Err::<(), _>("no database")
            })
            .build()
            .unwrap();
        let future = pool.submit(u64::pow, (2, 10));
        let mut waiting = pin!(pool.reserve());
        assert!((&mut waiting).now_or_never().is_none());
        gate.open();
        assert!(future.result().unwrap_err().is_rejected());
        let error = on_a_runtime(waiting).unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::Broken));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no database");
    }

    fn a_pool_of_processes_that_breaks_ends_the_waits_for_a_place() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(0)
            .initializer(|| Err::<(), _>("no database"), ())
            .build()
            .unwrap();
        let future = pool.submit(u64::pow, (2, 10));
        let waited = pool.blocking_reserve();
        assert!(future.result().unwrap_err().is_rejected());
        let error = waited.unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::Broken));
    }

    fn a_task_that_loses_or_is_stopped_with_its_worker_gives_its_place_back() {
        let pool = Processes::limited(1, 0);
        let lost = pool.submit(|| -> u32 { std::process::abort() }, ());
        assert!(lost.result().unwrap_err().is_worker_lost());
        let (pool, _gate, mut tasks) = full::<Processes>(1, 0);
        let stopped = tasks.remove(0);
        stopped.abort();
        assert!(stopped.result().unwrap_err().is_aborted());
        assert!(pool.try_reserve().is_ok());
    }

    fn a_task_that_cannot_be_encoded_gives_its_place_back() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(0)
            .max_payload(100)
            .build()
            .unwrap();
        for _ in 0..3 {
            let future = pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; 1_000]);
            assert!(future.result().unwrap_err().is_too_large());
        }
        let stats = pool.stats();
        assert_eq!((stats.submitted(), stats.rejected()), (3, 0));
    }

    fn encoded_arguments_are_taken_until_the_limit_is_reached() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).queue_bytes(1_000).build().unwrap();
        let gate = PathGate::new();
        let submit = |bytes: usize| pool.submit(hold, (gate.door(), "x".repeat(bytes)));
        let mut tasks = vec![submit(1), submit(300), submit(300)];
        // Less than the limit is kept, so that one more is taken, however large.
        tasks.push(submit(5_000));
        assert!(is_full(&submit(1).result()));
        assert!(is_full(&pool.try_reserve()));
        let mut waiting = pin!(pool.reserve());
        assert!((&mut waiting).now_or_never().is_none());
        assert!(tasks.pop().unwrap().cancel());
        let permit = waiting.now_or_never().unwrap().unwrap();
        // Who has a permit is not held back.
        tasks.push(permit.submit(hold, (gate.door(), "x".repeat(5_000))));
        assert!(is_full(&pool.try_reserve()));
        assert_eq!(pool.stats().rejected(), 1);
        gate.open();
        for task in tasks {
            task.result().unwrap();
        }
        assert_eq!(submit(50_000).result().unwrap(), 50_000);
        let sum: usize = pool.map(|text: String| text.len(), (0..50).map(|_| "x".repeat(700)))
            .into_iter()
            .map(Result::unwrap)
            .sum();
        assert_eq!(sum, 35_000);
    }

    fn when_much_is_given_back_all_who_wait_and_have_room_go_on() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).queue_bytes(1_000).build().unwrap();
        let gate = PathGate::new();
        let large = pool.submit(hold, (gate.door(), "x".repeat(2_000)));
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pool.reserve())).collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        gate.open();
        large.result().unwrap();
        for mut wait in waiting {
            assert!((&mut wait).now_or_never().unwrap().is_ok());
        }
    }

    fn a_limit_of_no_bytes_is_refused() {
        let error = ProcessPoolExecutor::builder().queue_bytes(0).build().unwrap_err();
        assert_eq!(error.to_string(), "queue_bytes is 0: nothing would be taken; give at least 1");
    }

    fn a_permit_of_an_executor_chosen_at_run_time_is_one_of_that_executor() {
        let pool = concurrent_futures::AnyExecutor::from(Threads::limited(1, 0));
        let permit = pool.try_reserve().unwrap();
        assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
        assert_eq!(permit.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        let inline = concurrent_futures::AnyExecutor::from(InlineExecutor::new());
        let permits = [inline.try_reserve().unwrap(), inline.try_reserve().unwrap()];
        assert_eq!(permits.map(|permit| permit.submit(u64::pow, (2, 3)).result().unwrap()), [8, 8]);
    }

    fn a_submission_that_is_rejected_because_the_queue_is_full_is_traced() {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.clone());
        let (pool, gate, _tasks) = full::<Threads>(1, 0);
        tracing::subscriber::with_default(subscriber, || {
            pool.submit(u64::pow, (2, 10)).detach();
        });
        assert_eq!(events.0.load(Ordering::Relaxed), 1);
        gate.open();
        eventually("the place is given back", || pool.try_reserve().is_ok());
    }
}

/// Waits at the gate, and says how long the text is.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn hold(door: crate::harness::Door, text: String) -> usize {
    door.pass();
    text.len()
}
