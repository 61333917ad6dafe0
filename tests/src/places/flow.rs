//! Maps and streams on pools with limits, and many who submit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::stream::StreamExt as _;
use concurrent_futures::{Executor, Map, Outcome, Rejection, Shutdown, ThreadPoolExecutor};
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::{Limited, full, is_full, resident};
use crate::harness::{on_a_runtime, on_every_pool, tests};
on_every_pool!(
    a_map_waits_for_places_and_never_finds_the_queue_full,
    a_map_on_a_full_pool_returns_and_goes_on_when_there_is_a_place,
    maps_of_one_pool_that_are_taken_by_turns_do_not_hold_each_other_up,
    a_map_whose_input_is_a_map_of_the_same_pool_goes_on,
    a_map_that_must_not_block_waits_for_no_place,
    a_map_that_waits_for_a_place_ends_at_its_deadline,
    a_map_that_waits_for_a_place_ends_with_the_shutdown,
    an_input_that_ends_needs_no_place,
    a_panic_of_the_input_comes_after_what_waits_for_a_place,
    a_full_pool_holds_a_stream_back,
    a_stream_that_is_not_waited_for_leaves_places_to_others,
    a_permit_for_each_item_of_a_stream_is_had_while_it_is_walked,
    many_submitters_share_few_places,
);

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
    let items = || 0..50_u64;
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

fn a_map_that_must_not_block_waits_for_no_place<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let mut map = pool.map(|n: u64| n, 0..4);
    let refused = on_a_runtime(async { map.blocking_next() });
    assert!(refused.unwrap().unwrap_err().is_would_block());
    drop(permit);
    assert!(pool.try_reserve().is_ok());
    assert!(map.into_iter().map(Result::unwrap).eq(0..4));
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

fn many_submitters_share_few_places<S: Limited>() {
    const SUBMITTERS: u64 = 16;
    const EACH: u64 = 375;
    let pool = &S::limited(2, 98);
    let submitter = |number| async move {
        let mut futures = Vec::new();
        for n in 0..EACH {
            let permit = pool.reserve().await.unwrap();
            futures.push(permit.submit(u64::wrapping_add, (number, n)));
        }
        for (n, future) in (0..EACH).zip(futures) {
            assert_eq!(future.await.unwrap(), number + n);
        }
    };
    // Half of them wait in a runtime, and half by blocking their threads.
    std::thread::scope(|scope| {
        for number in 0..SUBMITTERS / 2 {
            scope.spawn(move || on_a_runtime(submitter(number)));
            scope.spawn(move || {
                for n in 0..EACH {
                    let permit = pool.blocking_reserve().unwrap();
                    permit.submit(u64::wrapping_add, (number, n)).detach();
                }
            });
        }
    });
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    let stats = S::stats(pool);
    assert_eq!(stats.finished_with(Outcome::Succeeded), SUBMITTERS * EACH);
    assert_eq!(stats.rejected(), 0);
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
}
