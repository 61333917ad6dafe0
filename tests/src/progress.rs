//! Progress bars over `map` and `as_completed`: what they show at each step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrent_futures::stream::StreamExt as _;
use concurrent_futures::{
    AsCompleted, Executor, InlineExecutor, Promise, TaskError, TaskFuture, ThreadPoolExecutor,
    as_completed,
};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish};

use crate::harness::{Subject, on_a_runtime, on_every_executor, tests};

/// A bar that draws nothing, and has the message `complete` once it was finished by its style.
fn bar(length: Option<u64>) -> ProgressBar {
    let finish = ProgressFinish::WithMessage("complete".into());
    ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden()).with_finish(finish)
}

/// How a bar has ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Complete,
    Abandoned,
}

fn end(bar: &ProgressBar) -> End {
    match (bar.is_finished(), bar.message() == "complete") {
        (false, _) => End::NotYet,
        (true, true) => End::Complete,
        (true, false) => End::Abandoned,
    }
}

fn reciprocal(n: u32) -> Result<u32, String> {
    60_u32
        .checked_div(n)
        .ok_or_else(|| "division by zero".to_owned())
}

/// Two futures that are done, two that never are, and what keeps these pending.
fn half_done() -> (Vec<TaskFuture<u32>>, Vec<Promise<u32>>) {
    let (mut promises, futures): (Vec<_>, Vec<_>) = (0..4).map(|_| Promise::new()).unzip();
    for promise in promises.drain(..2) {
        promise.fulfil(1).unwrap();
    }
    (futures, promises)
}

on_every_executor!(
    each_result_of_a_map_moves_its_bar_by_one,
    each_future_that_is_given_moves_its_bar_by_one,
    a_bar_without_length_gets_that_of_the_input,
);

fn each_result_of_a_map_moves_its_bar_by_one<S: Subject>() {
    let executor = S::with_workers(2);
    for chunk in [1, 4] {
        let map = || {
            let mapping = executor.mapping().chunk_size(chunk);
            mapping.try_map(reciprocal, [1, 0, 2, 3, 4, 5, 6, 10])
        };

        let bar_of_blocking = bar(None);
        let mut results = map().progress(bar_of_blocking.clone());
        for position in 1..=8 {
            let result = results.blocking_next().unwrap();
            assert_eq!(result.is_err(), position == 2);
            assert_eq!(bar_of_blocking.position(), position);
            assert_eq!(end(&bar_of_blocking), End::NotYet);
        }
        assert!(results.blocking_next().is_none());
        assert_eq!(end(&bar_of_blocking), End::Complete);

        let bar_of_for = bar(None);
        for (result, position) in map().progress(bar_of_for.clone()).into_iter().zip(1..) {
            assert_eq!(result.is_err(), position == 2);
            assert_eq!(bar_of_for.position(), position);
        }
        assert_eq!(bar_of_for.position(), 8);
        assert_eq!(end(&bar_of_for), End::Complete);

        on_a_runtime(async {
            let bar = bar(None);
            let mut results = map().progress(bar.clone());
            for position in 1..=4 {
                assert!(results.next().await.is_some());
                assert_eq!(bar.position(), position);
            }
            // By the trait `Stream`.
            assert_eq!(results.by_ref().count().await, 4);
            assert_eq!((bar.position(), end(&bar)), (8, End::Complete));
        });
    }
}

fn each_future_that_is_given_moves_its_bar_by_one<S: Subject>() {
    let executor = S::with_workers(2);
    let done = || {
        let submit = |n| (n, executor.try_submit(reciprocal, n));
        as_completed([0, 1, 2, 3].map(submit))
    };

    let bar_of_blocking = bar(None);
    let mut futures = done().progress(bar_of_blocking.clone());
    for position in 1..=4 {
        let (n, future) = futures.blocking_next().unwrap().unwrap();
        assert_eq!(future.result().is_err(), n == 0);
        assert_eq!(bar_of_blocking.position(), position);
        assert_eq!(end(&bar_of_blocking), End::NotYet);
    }
    assert!(futures.blocking_next().unwrap().is_none());
    assert_eq!(end(&bar_of_blocking), End::Complete);

    let bar_of_for = bar(None);
    for (_, position) in done().progress(bar_of_for.clone()).into_iter().zip(1..) {
        assert_eq!(bar_of_for.position(), position);
    }
    assert_eq!(end(&bar_of_for), End::Complete);

    on_a_runtime(async {
        let bar = bar(None);
        let mut futures = done().progress(bar.clone());
        assert!(futures.next().await.is_some());
        assert_eq!(bar.position(), 1);
        assert_eq!(futures.by_ref().count().await, 3);
        assert_eq!((bar.position(), end(&bar)), (4, End::Complete));
    });
}

fn a_bar_without_length_gets_that_of_the_input<S: Subject>() {
    let executor = S::with_workers(2);
    let length = |given: Option<u64>, items: Box<dyn Iterator<Item = u32>>| {
        let bar = bar(given);
        let results = executor.map(|n: u32| n, items).progress(bar.clone());
        let length = bar.length();
        drop(results);
        length
    };
    // Longer than the first window, and as long as a part of it.
    assert_eq!(length(None, Box::new(0..1_000)), Some(1_000));
    assert_eq!(length(None, Box::new(0..1)), Some(1));
    assert_eq!(length(None, Box::new(0..0)), Some(0));
    assert_eq!(length(Some(7), Box::new(0..1_000)), Some(7));
    assert_eq!(
        length(None, Box::new((0..1_000).filter(|n| n % 2 == 0))),
        None
    );
    assert_eq!(length(None, Box::new((0..).take_while(|&n| n < 9))), None);

    // What was taken before is not counted, and what the bar shows already is.
    let half = bar(None).with_position(5);
    let mut results = executor.map(|n: u32| n, 0..10);
    for _ in 0..4 {
        assert!(results.blocking_next().is_some());
    }
    let mut results = results.progress(half.clone());
    assert_eq!((half.position(), half.length()), (5, Some(11)));
    assert!(results.blocking_next().is_some());
    assert_eq!(half.position(), 6);
}

tests! {
    fn futures_that_are_added_make_the_bar_longer_unless_its_length_was_given() {
        let executor = InlineExecutor::new();
        let submit = |n: u32| executor.submit(|n: u32| n, n);
        for (given, lengths) in [(None, [1, 2, 5, 6]), (Some(9), [9; 4])] {
            let bar = bar(given);
            let length = || bar.length().unwrap();
            let mut done = as_completed([submit(0)]).progress(bar.clone());
            assert_eq!(length(), lengths[0]);
            done.push(submit(1));
            assert_eq!(length(), lengths[1]);
            done.extend((2..5).map(submit));
            assert_eq!((length(), done.len()), (lengths[2], 5));
            let mut done = done.timeout(Duration::from_secs(3_600));
            done.push(submit(5));
            assert_eq!(length(), lengths[3]);
            for position in 1..=6 {
                assert!(done.blocking_next().unwrap().is_ok());
                assert_eq!(bar.position(), position);
            }
            // All were given, so nothing is missing when it is dropped.
            assert_eq!(end(&bar), End::NotYet);
            drop(done);
            assert_eq!(end(&bar), End::Complete);
        }
    }

    fn the_error_of_a_deadline_is_not_counted_and_abandons_the_bar() {
        let limit = Duration::from_millis(20);
        // In either order, since both are made of the same.
        let (before, after) = (bar(None), bar(None));
        let (futures, _promises) = half_done();
        let bar_first = as_completed(futures).progress(before.clone()).timeout(limit);
        let (futures, _promises) = half_done();
        let bar_last = as_completed(futures).timeout(limit).progress(after.clone());
        for (mut done, bar) in [(bar_first, before), (bar_last, after)] {
            assert_eq!(bar.length(), Some(4));
            for position in 1..=2 {
                assert!(done.blocking_next().unwrap().is_ok());
                assert_eq!(bar.position(), position);
            }
            assert!(done.blocking_next().unwrap().unwrap_err().is_timed_out());
            assert_eq!((bar.position(), end(&bar)), (2, End::Abandoned));
            assert!(done.blocking_next().is_none());
            assert_eq!(done.into_remaining().len(), 2);
            assert_eq!((bar.position(), end(&bar)), (2, End::Abandoned));
        }

        on_a_runtime(async {
            let bar = bar(None);
            let (futures, _promises) = half_done();
            let mut done = as_completed(futures).timeout(limit).progress(bar.clone());
            for _ in 0..2 {
                assert!(done.next().await.unwrap().is_ok());
            }
            assert!(done.next().await.unwrap().is_err());
            assert_eq!((bar.position(), end(&bar)), (2, End::Abandoned));
        });

        // A length of the owner's, of which nothing is known here: it is not filled up.
        let (pool, gate) = crate::harness::busy_pool();
        let bar = bar(Some(10));
        let items = (0_u32..).take_while(|&n| n < 10);
        let results = pool.mapping().timeout(limit).map(|n: u32| n, items).progress(bar.clone());
        let results: Vec<Result<u32, TaskError>> = results.into_iter().collect();
        assert!(results.len() == 1 && results[0].is_err());
        assert_eq!((bar.position(), end(&bar)), (0, End::Abandoned));
        gate.open();
    }

    fn dropped_before_its_end_it_abandons_the_bar() {
        let executor = InlineExecutor::new();
        let of_map = bar(None);
        let mut results = executor.map(|n: u32| n, 0..10).progress(of_map.clone());
        for _ in 0..3 {
            assert!(results.blocking_next().is_some());
        }
        drop(results);
        assert_eq!((of_map.position(), end(&of_map)), (3, End::Abandoned));

        let of_for = bar(Some(10));
        for result in executor.map(|n: u32| n, 0..10).progress(of_for.clone()) {
            if result.unwrap() == 3 {
                break;
            }
        }
        assert_eq!((of_for.position(), end(&of_for)), (4, End::Abandoned));

        let (futures, _promises) = half_done();
        let of_futures = bar(None);
        let mut done = as_completed(futures).progress(of_futures.clone());
        assert!(done.blocking_next().unwrap().is_some());
        assert_eq!(done.into_remaining().len(), 3);
        assert_eq!((of_futures.position(), end(&of_futures)), (1, End::Abandoned));

        let of_added = bar(None);
        let mut done = AsCompleted::new().progress(of_added.clone());
        done.push(executor.submit(|| 1, ()));
        done.push(executor.submit(|| 2, ()));
        assert!(done.blocking_next().unwrap().is_some());
        drop(done);
        assert_eq!((of_added.position(), end(&of_added)), (1, End::Abandoned));
    }

    fn an_input_that_ends_too_early_abandons_the_bar() {
        let executor = InlineExecutor::new();
        let bar = bar(None);
        let input = (0..10).map(|n: u32| if n == 5 { panic!("no more input") } else { n });
        let results = executor.map(|n: u32| n, input).progress(bar.clone());
        // The panic is the last result.
        assert_eq!(results.into_iter().count(), 6);
        assert_eq!((bar.position(), bar.length(), end(&bar)), (6, Some(10), End::Abandoned));
    }

    fn dropped_after_its_last_result_it_finishes_the_bar() {
        let executor = InlineExecutor::new();
        let bar = bar(None);
        // Nobody asks for what comes after the last.
        for (_, result) in (0..10).zip(executor.map(|n: u32| n, 0..10).progress(bar.clone())) {
            assert!(result.is_ok());
        }
        assert_eq!((bar.position(), end(&bar)), (10, End::Complete));
    }

    fn a_bar_that_its_owner_has_finished_or_uses_again_is_left_alone() {
        let executor = InlineExecutor::new();
        let finished = bar(None);
        let mut results = executor.map(|n: u32| n, 0..3).progress(finished.clone());
        for _ in 0..3 {
            assert!(results.blocking_next().is_some());
        }
        finished.finish_with_message("enough");
        assert!(results.blocking_next().is_none());
        drop(results);
        assert_eq!((finished.position(), finished.message()), (3, "enough".to_owned()));

        let again = bar(None);
        let mut first = executor.map(|n: u32| n, 0..3).progress(again.clone());
        while first.blocking_next().is_some() {}
        again.reset();
        let second = executor.map(|n: u32| n, 0..3).progress(again.clone());
        drop(first);
        assert_eq!((again.position(), again.is_finished()), (0, false));
        drop(second);
        assert!(again.is_finished());
    }

    fn a_refusal_to_block_leaves_the_bar_as_it_is() {
        let pool = ThreadPoolExecutor::new(1);
        on_a_runtime(async {
            let (of_map, of_futures) = (bar(None), bar(None));
            let gate = crate::harness::PathGate::new();
            let door = gate.door();
            let mut results = pool.map(crate::harness::pass, [door]).progress(of_map.clone());
            assert!(results.blocking_next().unwrap().unwrap_err().is_would_block());
            assert_eq!((of_map.position(), end(&of_map)), (0, End::NotYet));
            gate.open();
            assert!(results.next().await.unwrap().is_ok());
            assert_eq!(of_map.position(), 1);

            let (promise, future) = Promise::new();
            let mut done = as_completed([future]).progress(of_futures.clone());
            assert!(done.blocking_next().unwrap_err().is_would_block());
            let mut done = done.timeout(Duration::from_secs(3_600));
            assert!(done.blocking_next().unwrap().unwrap_err().is_would_block());
            assert_eq!((of_futures.position(), end(&of_futures)), (0, End::NotYet));
            promise.fulfil(1).unwrap();
            assert!(done.next().await.unwrap().is_ok());
            assert_eq!(of_futures.position(), 1);

            // `for` ends with the refusal.
            let of_for = bar(None);
            let results = pool.map(|n: u32| n, 0..3).progress(of_for.clone());
            assert_eq!(results.into_iter().filter(Result::is_err).count(), 1);
            assert_eq!((of_for.position(), end(&of_for)), (0, End::Abandoned));
        });
    }

    fn a_wait_that_is_given_up_counts_nothing() {
        let (promise, future) = Promise::new();
        let bar = bar(None);
        let mut done = as_completed([future]).progress(bar.clone());
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut next = std::pin::pin!(done.next());
            assert!(next.as_mut().poll(&mut context).is_pending());
            promise.fulfil(1).unwrap();
        }
        assert_eq!(bar.position(), 0);
        let mut next = std::pin::pin!(done.next());
        assert!(matches!(next.as_mut().poll(&mut context), Poll::Ready(Some(_))));
        assert_eq!(bar.position(), 1);
    }

    fn the_streams_of_streams_have_bars() {
        let executor = InlineExecutor::new();
        on_a_runtime(async {
            let of_items = bar(None);
            let parse = |text: String| text.parse::<u8>();
            let texts = stream::iter(["1", "x", "3"]).map(str::to_owned);
            let mut results = texts.try_map_on(&executor, parse).progress(of_items.clone());
            assert_eq!(of_items.length(), Some(3));
            for position in 1..=3 {
                assert_eq!(results.next().await.unwrap().is_err(), position == 2);
                assert_eq!(of_items.position(), position);
            }
            assert!(results.next().await.is_none());
            assert_eq!(end(&of_items), End::Complete);

            let of_futures = bar(None);
            let futures = stream::iter((0..3).map(|n| executor.submit(|n: u32| n, n)));
            let mut done = AsCompleted::new().fed_by(futures).progress(of_futures.clone());
            assert_eq!(of_futures.length(), None);
            for position in 1..=3 {
                assert!(done.next().await.is_some());
                assert_eq!(of_futures.position(), position);
            }
            assert!(done.next().await.is_none());
            assert_eq!(end(&of_futures), End::Complete);
        });
    }

    fn a_panic_above_the_bar_stays_a_panic() {
        let executor = InlineExecutor::new();
        let bar = bar(None);
        let mut results = executor.map(|n: u32| n, 0..3).progress(bar.clone());
        let caught = catch_unwind(AssertUnwindSafe(move || {
            assert!(results.blocking_next().is_some());
            // Nobody can use the bar any more, and the stream is dropped while the stack unwinds.
            bar.suspend(|| panic!("stdout is closed"));
        }));
        let message = caught.unwrap_err();
        assert_eq!(message.downcast_ref::<&str>(), Some(&"stdout is closed"));
    }
}
