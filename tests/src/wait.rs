//! Waiting for several futures.

use std::time::{Duration, Instant};

use concurrent_futures::{Executor, Promise, TaskError, TaskFuture, wait};

use crate::harness::{
    PathGate, Pool, Subject, busy, on_every_executor, on_every_pool, pass, tests,
};

on_every_executor!(
    all_are_waited_for_and_come_back_in_their_order,
    nothing_to_wait_for_is_no_wait,
    a_failure_that_is_there_ends_a_wait_for_the_first_error_at_once,
);

fn all_are_waited_for_and_come_back_in_their_order<S: Subject>() {
    let executor = S::with_workers(4);
    let futures = (0..100).map(|n: u64| (n, executor.submit(|n: u64| n * n, n)));
    let waited = wait(futures).blocking_wait().unwrap();
    assert!(waited.pending.is_empty());
    for (expected, (n, future)) in (0..).zip(waited.done) {
        assert_eq!((n, future.result().unwrap()), (expected, n * n));
    }
}

fn nothing_to_wait_for_is_no_wait<S: Subject>() {
    let _executor = S::with_workers(1);
    for wait in [
        wait(Vec::<TaskFuture<u8>>::new()),
        wait(Vec::new()).first_completed(),
        wait(Vec::new()).first_error(),
    ] {
        let waited = wait.blocking_wait().unwrap();
        assert!(waited.done.is_empty() && waited.pending.is_empty());
    }
}

fn a_failure_that_is_there_ends_a_wait_for_the_first_error_at_once<S: Subject>() {
    let executor = S::with_workers(1);
    let mut failed = executor.try_submit(|| Err::<(), _>("no luck"), ());
    wait([&mut failed]).blocking_wait().unwrap();
    let (_promise, pending) = Promise::new();
    let waited = wait([failed, pending])
        .first_error()
        .blocking_wait()
        .unwrap();
    assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
}

/// Promises and the futures that belong to them.
fn promises(count: usize) -> (Vec<Promise<u32>>, Vec<TaskFuture<u32>>) {
    (0..count).map(|_| Promise::new()).unzip()
}

on_every_pool!(
    a_hundred_futures_that_finish_at_once_are_all_seen,
    waiters_wake_when_what_they_wait_for_is_cancelled,
);

fn a_hundred_futures_that_finish_at_once_are_all_seen<S: Pool>() {
    for _ in 0..S::ROUNDS / 4 {
        let pool = S::with_workers(8);
        let gate = PathGate::new();
        let futures: Vec<_> = (0..100).map(|_| pool.submit(pass, gate.door())).collect();
        gate.wait_for(8);
        let opener = std::thread::spawn(move || gate.open());
        let waited = wait(futures).blocking_wait().unwrap();
        assert_eq!(waited.done.len(), 100);
        opener.join().unwrap();
    }
}

fn waiters_wake_when_what_they_wait_for_is_cancelled<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let queued: Vec<_> = (0..10).map(|_| pool.submit(|| 1, ())).collect();
    let waiter = std::thread::spawn(move || wait(queued).blocking_wait());
    let cancelling = concurrent_futures::Shutdown::new()
        .wait(false)
        .cancel_pending(true);
    pool.blocking_shutdown(cancelling).unwrap();
    let waited = waiter.join().unwrap().unwrap();
    assert!(waited.done.iter().all(TaskFuture::is_cancelled));
    gate.open();
}

tests! {
    fn a_future_given_twice_is_returned_once() {
        // By value that cannot be written, and by reference neither: the borrow checker refuses two
        // mutable references. What is given twice are clones, and each comes back.
        let (promise, future) = Promise::new();
        let shared = future.shared();
        promise.fulfil(1_u8).unwrap();
        let waited = wait([shared.clone(), shared]).blocking_wait().unwrap();
        assert_eq!(waited.done.len(), 2);
    }

    fn the_first_completed_ends_the_wait() {
        let (mut promises, futures) = promises(3);
        let waiter = std::thread::spawn(move || wait(futures).first_completed().blocking_wait());
        promises.remove(1).fulfil(7).unwrap();
        let mut waited = waiter.join().unwrap().unwrap();
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 2));
        assert_eq!(waited.done.remove(0).result().unwrap(), 7);
    }

    fn some_already_completed_end_a_wait_for_the_first_at_once() {
        let (mut promises, futures) = promises(4);
        promises.remove(3).fulfil(3).unwrap();
        promises.remove(0).fulfil(0).unwrap();
        let waited = wait(futures).first_completed().blocking_wait().unwrap();
        assert_eq!((waited.done.len(), waited.pending.len()), (2, 2));
    }

    fn the_first_error_ends_the_wait_and_a_cancellation_is_none() {
        let (mut promises, futures) = promises(4);
        let handles: Vec<_> = futures.iter().map(TaskFuture::handle).collect();
        let waiter = std::thread::spawn(move || wait(futures).first_error().blocking_wait());
        assert!(handles[3].cancel());
        promises.remove(0).fulfil(0).unwrap();
        promises.remove(0).fail(TaskError::failed("no luck")).unwrap();
        let waited = waiter.join().unwrap().unwrap();
        assert_eq!(waited.pending.len(), 1, "{waited:?}");
    }

    fn only_cancellations_end_a_wait_for_the_first_error_when_all_are_done() {
        let (_promises, futures) = promises(3);
        let handles: Vec<_> = futures.iter().map(TaskFuture::handle).collect();
        let waiter = std::thread::spawn(move || wait(futures).first_error().blocking_wait());
        assert!(handles.iter().all(|handle| handle.cancel()));
        assert_eq!(waiter.join().unwrap().unwrap().done.len(), 3);
    }

    fn at_the_deadline_those_that_are_done_come_back() {
        let (mut promises, futures) = promises(3);
        promises.remove(0).fulfil(0).unwrap();
        let waited = wait(futures).timeout(Duration::from_millis(10)).blocking_wait().unwrap();
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 2));
        let waited = wait(waited.pending).timeout(Duration::ZERO).blocking_wait().unwrap();
        assert_eq!(waited.pending.len(), 2);
        drop(promises);
        let waited = wait(waited.pending).timeout(Duration::MAX).blocking_wait().unwrap();
        assert_eq!(waited.done.len(), 2);
    }

    fn a_deadline_is_kept_in_async_code_without_a_timer_of_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_promises, futures) = promises(2);
            let waited = wait(futures).timeout(Duration::from_millis(10)).await;
            assert_eq!(waited.pending.len(), 2);
        });
    }

    fn a_wait_by_reference_that_is_given_up_keeps_the_futures() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (promise, mut future) = Promise::new();
            let waiting = wait([&mut future]).into_future();
            assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
            promise.fulfil(7).unwrap();
            assert_eq!(future.await.unwrap(), 7);
        });
    }

    fn a_million_futures_take_linear_time() {
        let time = |count: usize| {
            let (promises, futures) = promises(count);
            let start = Instant::now();
            let waiter = std::thread::spawn(move || wait(futures).blocking_wait().unwrap());
            for promise in promises {
                promise.fulfil(1).unwrap();
            }
            assert_eq!(waiter.join().unwrap().done.len(), count);
            start.elapsed()
        };
        let (small, large) = (time(10_000), time(1_000_000));
        // A hundred times as many: quadratic would be ten thousand times as long.
        assert!(large < 1_500 * small, "{small:?} for 10 000, {large:?} for 1 000 000");
    }
}

use std::future::IntoFuture as _;
