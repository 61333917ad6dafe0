//! A function on many items.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::{Clock, Executor, Shutdown, TaskError, TaskOptions};

use crate::harness::{Door, PathGate, Pool, Subject, eventually, on_every_executor, on_every_pool};

on_every_executor!(
    results_come_in_the_order_of_the_items,
    chunking_changes_nothing,
    the_error_of_an_item_takes_its_place_and_knows_its_index,
    a_panic_of_an_item_costs_that_item,
    unordered_results_are_all_there,
    an_endless_input_is_pulled_only_as_far_as_needed,
    a_panic_of_the_input_is_an_error_in_its_place,
    an_input_without_items_ends_at_once,
    items_that_are_tuples_are_spread,
    a_map_over_a_shut_down_executor_gives_an_error_for_each_item,
);

fn results_come_in_the_order_of_the_items<S: Subject>() {
    let executor = S::with_workers(4);
    let results: Result<Vec<u64>, TaskError> =
        executor.map(|n: u64| n * n, 0..1_000).into_iter().collect();
    assert_eq!(
        results.unwrap(),
        (0..1_000).map(|n| n * n).collect::<Vec<_>>()
    );
}

fn chunking_changes_nothing<S: Subject>() {
    let executor = S::with_workers(4);
    for chunk in [1, 3, 6, 40, 50] {
        let mapping = executor.mapping().chunk_size(chunk);
        let results: Result<Vec<u64>, _> = mapping.map(|n: u64| n * n, 0..40).into_iter().collect();
        assert_eq!(results.unwrap(), (0..40).map(|n| n * n).collect::<Vec<_>>());
    }
    let refused = std::panic::catch_unwind(|| drop(S::with_workers(1).mapping().chunk_size(0)));
    assert!(refused.is_err(), "a chunk of nothing is refused");
}

fn reciprocal(n: u32) -> Result<u32, String> {
    60_u32
        .checked_div(n)
        .ok_or_else(|| "division by zero".to_owned())
}

fn the_error_of_an_item_takes_its_place_and_knows_its_index<S: Subject>() {
    let executor = S::with_workers(2);
    for chunk in [1, 2] {
        let mapping = executor.mapping().chunk_size(chunk);
        let mut results = mapping.try_map(reciprocal, [1, 2, 0, 3]);
        assert_eq!(results.blocking_next().unwrap().unwrap(), 60);
        assert_eq!(results.blocking_next().unwrap().unwrap(), 30);
        let error = results.blocking_next().unwrap().unwrap_err();
        assert_eq!(error.index(), Some(2));
        assert_eq!(error.to_string(), "item 2 failed");
        assert_eq!(results.blocking_next().unwrap().unwrap(), 20);
        assert!(results.blocking_next().is_none());
    }
}

fn a_panic_of_an_item_costs_that_item<S: Subject>() {
    let executor = S::with_workers(2);
    let odd = |n: u32| if n == 3 { panic!("three") } else { n };
    let results: Vec<_> = executor
        .mapping()
        .chunk_size(8)
        .map(odd, 0..8)
        .into_iter()
        .collect();
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(value) => assert_eq!(value as usize, n),
            Err(error) => {
                assert_eq!((error.index(), n), (Some(3), 3));
                assert_eq!(error.message().unwrap(), "three");
            }
        }
    }
}

fn unordered_results_are_all_there<S: Subject>() {
    let executor = S::with_workers(4);
    let mapping = executor.mapping().unordered();
    let mut results: Vec<u64> = mapping
        .map(|n: u64| n, 0..500)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    results.sort_unstable();
    assert_eq!(results, (0..500).collect::<Vec<_>>());
}

fn an_endless_input_is_pulled_only_as_far_as_needed<S: Subject>() {
    let executor = S::with_workers(2);
    let pulled = AtomicUsize::new(0);
    let input = (0_u64..).inspect(|_| {
        pulled.fetch_add(1, Ordering::SeqCst);
    });
    let mut results = executor.mapping().window(8).map(|n: u64| n + 1, input);
    for n in 1..=10 {
        assert_eq!(results.blocking_next().unwrap().unwrap(), n);
    }
    drop(results);
    assert!(
        pulled.load(Ordering::SeqCst) <= 8 + 10,
        "{pulled:?} items were pulled"
    );
}

fn a_panic_of_the_input_is_an_error_in_its_place<S: Subject>() {
    let executor = S::with_workers(2);
    let input = (0..10).map(|n: u32| if n == 5 { panic!("no more input") } else { n });
    let results: Vec<_> = executor.map(|n: u32| n, input).into_iter().collect();
    assert_eq!(results.len(), 6);
    for (n, result) in results.iter().take(5).enumerate() {
        assert_eq!(*result.as_ref().unwrap() as usize, n);
    }
    let error = results[5].as_ref().unwrap_err();
    assert_eq!(
        (error.index(), error.message().unwrap().as_ref()),
        (Some(5), "no more input")
    );
}

fn an_input_without_items_ends_at_once<S: Subject>() {
    let executor = S::with_workers(2);
    assert!(executor.map(|n: u32| n, []).blocking_next().is_none());
}

fn items_that_are_tuples_are_spread<S: Subject>() {
    let executor = S::with_workers(2);
    let powers: Vec<u64> = executor
        .map(u64::pow, [(2, 3), (3, 2)])
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(powers, [8, 9]);
}

fn a_map_over_a_shut_down_executor_gives_an_error_for_each_item<S: Subject>() {
    let executor = S::with_workers(2);
    executor.blocking_shutdown(Shutdown::new()).unwrap();
    let results: Vec<_> = executor.map(|n: u32| n, 0..20).into_iter().collect();
    assert_eq!(results.len(), 20);
    for (n, result) in results.into_iter().enumerate() {
        let error = result.unwrap_err();
        assert!(error.is_rejected());
        assert_eq!(error.index(), Some(n));
    }
}

fn pass(door: Door, n: u64) -> u64 {
    door.pass();
    n
}

on_every_pool!(
    shutdown_right_after_a_map_with_more_items_than_workers_does_not_hang,
    a_deadline_counts_from_the_call_and_what_is_there_in_time_is_given_first,
    after_the_deadline_items_that_have_not_started_never_run,
    dropping_a_map_cancels_what_has_not_started,
    dropping_a_map_stops_a_running_chunk_before_its_next_item,
    a_map_that_nobody_consumes_runs_its_first_window,
    a_slow_consumer_holds_up_a_fast_pool,
    the_map_keeps_no_result_that_it_has_given,
    a_run_timeout_counts_for_each_item,
    a_fixed_chunk_size_is_kept,
    one_chunk_for_everything_does_not_overflow,
    the_options_of_a_submission_hold_for_a_map,
);

fn shutdown_right_after_a_map_with_more_items_than_workers_does_not_hang<S: Pool>() {
    let pool = S::with_workers(2);
    let results = pool.map(|n: u64| n, 0..20);
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    // The first window was taken before; what is pulled afterwards is refused.
    let results: Vec<_> = results.into_iter().collect();
    assert_eq!(results.len(), 20);
    assert!(results.iter().take(4).all(Result::is_ok));
    assert!(
        results
            .iter()
            .skip(4)
            .all(|r| r.as_ref().is_err_and(TaskError::is_rejected))
    );
}

fn a_deadline_counts_from_the_call_and_what_is_there_in_time_is_given_first<S: Pool>() {
    let pool = S::with_workers(2);
    let (gate, opened) = (PathGate::new(), PathGate::new());
    opened.open();
    let items = [(opened.door(), 7), (gate.door(), 0), (gate.door(), 1)];
    let mut results = pool.mapping().timeout(S::PROMPT).map(pass, items);
    assert_eq!(results.blocking_next().unwrap().unwrap(), 7);
    let error = results.blocking_next().unwrap().unwrap_err();
    assert_eq!(error.clock(), Some(Clock::Wait));
    assert_eq!(error.index(), Some(1));
    assert!(results.blocking_next().is_none());
    gate.open();
}

fn after_the_deadline_items_that_have_not_started_never_run<S: Pool>() {
    let pool = S::with_workers(1);
    let gate = PathGate::new();
    let mapping = pool.mapping().window(10).timeout(S::PROMPT);
    let mut results = mapping.map(pass, (0..10).map(|n| (gate.door(), n)));
    gate.wait_for(1);
    assert!(results.blocking_next().unwrap().unwrap_err().is_timed_out());
    gate.open();
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    assert_eq!(gate.arrived(), 1);
}

fn dropping_a_map_cancels_what_has_not_started<S: Pool>() {
    let pool = S::with_workers(1);
    let gate = PathGate::new();
    let mapping = pool.mapping().window(20);
    let results = mapping.map(pass, (0..20).map(|n| (gate.door(), n)));
    gate.wait_for(1);
    drop(results);
    gate.open();
    pool.submit(|| (), ()).result().unwrap();
    assert_eq!(gate.arrived(), 1);
}

fn dropping_a_map_stops_a_running_chunk_before_its_next_item<S: Pool>() {
    let pool = S::with_workers(1);
    let gate = PathGate::new();
    let mapping = pool.mapping().window(20).chunk_size(10);
    let results = mapping.map(pass, (0..20).map(|n| (gate.door(), n)));
    gate.wait_for(1);
    drop(results);
    gate.open();
    pool.submit(|| (), ()).result().unwrap();
    assert_eq!(gate.arrived(), 1);
}

fn a_map_that_nobody_consumes_runs_its_first_window<S: Pool>() {
    let pool = S::with_workers(2);
    let gate = PathGate::new();
    gate.open();
    let results = pool.map(pass, (0..1_000).map(|n| (gate.door(), n)));
    eventually("the first window runs", || gate.arrived() == 4);
    pool.submit(|| (), ()).result().unwrap();
    assert_eq!(gate.arrived(), 4);
    drop(results);
}

fn a_slow_consumer_holds_up_a_fast_pool<S: Pool>() {
    let pool = S::with_workers(2);
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let input = (0_u64..10_000).inspect(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut results = pool.mapping().window(16).map(|n: u64| n, input);
    for taken in 1..=100 {
        results.blocking_next().unwrap().unwrap();
        // All that was pulled is finished long before the next is asked for.
        eventually("the pool has nothing to do", || {
            let stats = S::stats(&pool);
            stats.queued() + stats.running() == 0
        });
        assert!(pulled.load(Ordering::SeqCst) <= taken + 16);
    }
}

fn the_map_keeps_no_result_that_it_has_given<S: Pool>() {
    let pool = S::with_workers(1);
    let mut results = pool.mapping().chunk_size(4).map(|n: u64| vec![n], 0..8);
    while let Some(result) = results.blocking_next() {
        // Moved out: what the map had of it is gone with it.
        assert_eq!(result.unwrap().capacity(), 1);
    }
    assert!(format!("{results:?}").contains("given: 8"));
}

fn a_run_timeout_counts_for_each_item<S: Pool>() {
    let pool = S::with_workers(2);
    let (gate, opened) = (PathGate::new(), PathGate::new());
    opened.open();
    let options = TaskOptions::new().run_timeout(Duration::from_millis(100));
    let items = [(opened.door(), 0), (gate.door(), 1), (opened.door(), 2)];
    let results: Vec<_> = pool
        .with(options)
        .mapping()
        .chunk_size(3)
        .map(pass, items)
        .into_iter()
        .collect();
    assert_eq!(*results[0].as_ref().unwrap(), 0);
    let error = results[1].as_ref().unwrap_err();
    assert_eq!((error.clock(), error.index()), (Some(Clock::Run), Some(1)));
    assert_eq!(*results[2].as_ref().unwrap(), 2);
    gate.open();
}

fn a_fixed_chunk_size_is_kept<S: Pool>() {
    let pool = S::with_workers(2);
    let results = pool
        .mapping()
        .window(100)
        .chunk_size(10)
        .map(|n: u64| n, 0..1_000);
    assert_eq!(results.into_iter().count(), 1_000);
    assert_eq!(S::stats(&pool).submitted(), 100);
}

fn one_chunk_for_everything_does_not_overflow<S: Pool>() {
    for size in [usize::MAX, 1 << 63] {
        let pool = S::with_workers(2);
        let results = pool.mapping().chunk_size(size).map(|n: u64| n, 0..10);
        assert_eq!(results.into_iter().count(), 10);
    }
}

fn the_options_of_a_submission_hold_for_a_map<S: Pool>() {
    let pool = S::with_workers(2);
    let named = pool.with(TaskOptions::new().name("squares"));
    let sum: u64 = named
        .map(|n: u64| n * n, 0..4)
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!(sum, 14);
    let refuse = |n: u64| if n == 1 { Err("one") } else { Ok(n) };
    let results: Vec<_> = named.try_map(refuse, 0..2).into_iter().collect();
    assert_eq!(results[1].as_ref().unwrap_err().message().unwrap(), "one");
}
