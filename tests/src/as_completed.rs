//! Futures in the order in which they finish.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, Promise, TaskFuture, as_completed};
use futures_util::Stream as _;

use crate::harness::{Pool, Subject, on_every_executor, on_every_pool, tests};

/// How often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

on_every_executor!(
    each_future_is_given_once,
    the_users_own_keys_come_back,
    futures_that_are_done_come_first,
    an_empty_set_ends_at_once,
);

fn each_future_is_given_once<S: Subject>() {
    let executor = S::with_workers(4);
    let futures: Vec<_> = (0..100)
        .map(|n: u64| executor.submit(|n: u64| n, n))
        .collect();
    let ids: HashSet<_> = futures.iter().map(TaskFuture::id).collect();
    let given: Vec<_> = as_completed(futures).into_iter().collect();
    assert_eq!(given.len(), 100);
    assert_eq!(
        given.iter().map(TaskFuture::id).collect::<HashSet<_>>(),
        ids
    );
    assert!(given.iter().all(TaskFuture::is_done));
}

fn the_users_own_keys_come_back<S: Subject>() {
    let executor = S::with_workers(4);
    let keyed = (0..50).map(|n: u64| (format!("number {n}"), executor.submit(|n: u64| n, n)));
    for (key, future) in as_completed(keyed) {
        assert_eq!(key, format!("number {}", future.result().unwrap()));
    }
}

fn futures_that_are_done_come_first<S: Subject>() {
    let executor = S::with_workers(1);
    let mut finished = executor.submit(|| 1, ());
    concurrent_futures::wait([&mut finished])
        .blocking_wait()
        .unwrap();
    let (_promise, pending) = Promise::new();
    let mut done = as_completed([("pending", pending), ("finished", finished)]);
    assert_eq!(done.blocking_next().unwrap().unwrap().0, "finished");
    assert_eq!(done.len(), 1);
}

fn an_empty_set_ends_at_once<S: Subject>() {
    let _executor = S::with_workers(1);
    let mut done = as_completed(Vec::<TaskFuture<u8>>::new());
    assert!(done.is_empty());
    assert!(done.blocking_next().unwrap().is_none());
}

on_every_pool!(futures_can_be_added_while_it_runs,);

fn futures_can_be_added_while_it_runs<S: Pool>() {
    let pool = S::with_workers(2);
    let mut done = as_completed([(0_u32, pool.submit(|n: u32| n, 0))]);
    let mut seen = Vec::new();
    while let Some((n, future)) = done.blocking_next().unwrap() {
        assert_eq!(future.result().unwrap(), n);
        seen.push(n);
        if n < 20 {
            done.push((n + 1, pool.submit(|n: u32| n, n + 1)));
        }
    }
    assert_eq!(seen, (0..=20).collect::<Vec<_>>());
}

tests! {
    fn the_order_is_that_of_finishing() {
        let (promises, futures): (Vec<_>, Vec<_>) = (0..5).map(|_| Promise::new()).unzip();
        let mut done = as_completed(futures);
        for (position, promise) in promises.into_iter().rev().enumerate() {
            promise.fulfil(position).unwrap();
        }
        for position in 0..5 {
            let future = done.blocking_next().unwrap().unwrap();
            assert_eq!(future.result().unwrap(), position);
        }
    }

    fn at_a_deadline_of_zero_and_later_the_unfinished_are_counted() {
        for limit in [Duration::ZERO, Duration::from_millis(20)] {
            let (mut promises, futures): (Vec<_>, Vec<_>) = (0..4).map(|_| Promise::new()).unzip();
            promises.remove(0).fulfil(()).unwrap();
            promises.remove(0).fulfil(()).unwrap();
            let mut done = as_completed(futures).timeout(limit);
            assert!(done.blocking_next().unwrap().is_ok());
            assert!(done.blocking_next().unwrap().is_ok());
            let error = done.blocking_next().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "2 (of 4) futures unfinished");
            assert!(error.is_timed_out());
            assert!(done.blocking_next().is_none(), "the error is the last");
            assert_eq!(done.into_remaining().len(), 2);
        }
    }

    fn a_deadline_is_kept_in_async_code() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_promise, future) = Promise::<u8>::new();
            let mut done = as_completed([future]).timeout(Duration::from_millis(10));
            let error = done.next().await.unwrap().unwrap_err();
            assert_eq!(error.to_string(), "1 (of 1) futures unfinished");
            assert!(done.next().await.is_none());
        });
    }

    fn nothing_that_was_given_is_kept() {
        let (promise, future) = Promise::new();
        let (_other, pending) = Promise::new();
        let key = Arc::new(());
        let value = Arc::new(());
        let (weak_key, weak_value) = (Arc::downgrade(&key), Arc::downgrade(&value));
        let mut done = as_completed([(key, future), (Arc::new(()), pending)]);
        promise.fulfil(value).unwrap();
        let (key, future) = done.blocking_next().unwrap().unwrap();
        drop((key, future.result().unwrap()));
        assert!(weak_key.upgrade().is_none() && weak_value.upgrade().is_none());
        assert_eq!(done.len(), 1);
    }

    fn references_can_be_waited_for_and_are_released() {
        let (promise, mut future) = Promise::new();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut done = as_completed([&mut future]);
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut done).poll_next(&mut context).is_pending());
        drop((done, waker));
        // Nothing that waits is left in the future: neither the waker nor a call of it.
        assert_eq!(Arc::strong_count(&wakes), 1);
        promise.fulfil(7).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        assert_eq!(future.result().unwrap(), 7);
    }

    fn a_million_futures_take_linear_time() {
        let time = |count: usize| {
            let (promises, futures): (Vec<_>, Vec<_>) = (0..count).map(|_| Promise::new()).unzip();
            let start = Instant::now();
            let walker = std::thread::spawn(move || as_completed(futures).into_iter().count());
            for promise in promises {
                promise.fulfil(()).unwrap();
            }
            assert_eq!(walker.join().unwrap(), count);
            start.elapsed()
        };
        let (small, large) = (time(10_000), time(1_000_000));
        // A hundred times as many: quadratic would be ten thousand times as long.
        assert!(large < 1_500 * small, "{small:?} for 10 000, {large:?} for 1 000 000");
    }
}
