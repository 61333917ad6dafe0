//! Streams: as they are awaited, combined, and fed.

use std::time::Duration;

use concurrent_futures::stream::StreamExt as _;
use concurrent_futures::{AsCompleted, Executor, Promise, as_completed};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{Pool, Subject, on_a_runtime, on_every_executor, on_every_pool, tests};

on_every_executor!(
    map_and_as_completed_are_streams,
    the_items_of_any_stream_run_on_an_executor,
    an_error_of_a_streams_item_knows_its_index,
);

fn map_and_as_completed_are_streams<S: Subject>() {
    let executor = S::with_workers(2);
    on_a_runtime(async {
        let squares: Vec<u64> = executor
            .map(|n: u64| n * n, 0..100)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(squares[99], 9_801);
        let futures = (0..100).map(|n: u64| executor.submit(|n: u64| n, n));
        let sum: u64 = as_completed(futures)
            .then(|future| async { future.await.unwrap() })
            .fold(0, |sum, n| async move { sum + n })
            .await;
        assert_eq!(sum, 4_950);
    });
}

fn the_items_of_any_stream_run_on_an_executor<S: Subject>() {
    let executor = S::with_workers(2);
    on_a_runtime(async {
        let ordered = stream::iter(0..200).map_on(&executor, |n: u64| n + 1);
        let results: Vec<u64> = ordered.try_collect().await.unwrap();
        assert_eq!(results, (1..=200).collect::<Vec<_>>());
        let unordered = stream::iter(0..200)
            .map_on(&executor, |n: u64| n)
            .unordered()
            .window(7);
        let mut results: Vec<u64> = unordered.try_collect().await.unwrap();
        results.sort_unstable();
        assert_eq!(results, (0..200).collect::<Vec<_>>());
    });
}

fn an_error_of_a_streams_item_knows_its_index<S: Subject>() {
    let executor = S::with_workers(2);
    on_a_runtime(async {
        let parse = |text: String| text.parse::<u8>();
        let input = stream::iter(["1", "x", "3"]).map(str::to_owned);
        let results: Vec<_> = input.try_map_on(&executor, parse).collect().await;
        assert_eq!(*results[0].as_ref().unwrap(), 1);
        assert_eq!(results[1].as_ref().unwrap_err().index(), Some(1));
        assert_eq!(*results[2].as_ref().unwrap(), 3);
    });
}

on_every_pool!(
    a_stream_is_pulled_no_further_than_its_window,
    as_completed_can_be_fed_by_a_channel,
    a_shut_down_executor_ends_no_stream_but_refuses_each_item,
);

fn a_stream_is_pulled_no_further_than_its_window<S: Pool>() {
    on_a_runtime(async {
        let pool = S::with_workers(2);
        let pulled = std::cell::Cell::new(0);
        let input = stream::iter(0_u64..).inspect(|_| pulled.set(pulled.get() + 1));
        let results: Vec<_> = input.map_on(&pool, |n: u64| n).take(10).collect().await;
        assert_eq!(results.len(), 10);
        assert!(pulled.get() <= 10 + 4, "{} items were pulled", pulled.get());
    });
}

fn as_completed_can_be_fed_by_a_channel<S: Pool>() {
    on_a_runtime(async {
        let pool = S::with_workers(2);
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let (acknowledge, mut acknowledged) = tokio::sync::mpsc::channel::<u64>(1);
        let feeder = async move {
            for n in 0..20_u64 {
                sender.send(pool.submit(|n: u64| n, n)).await.unwrap();
                // What was put in comes out before the input has ended.
                assert_eq!(acknowledged.recv().await, Some(n));
            }
        };
        let walker = async move {
            let mut done = AsCompleted::new().fed_by(ReceiverStream::new(receiver));
            let mut count = 0;
            while let Some(future) = done.next().await {
                acknowledge.send(future.await.unwrap()).await.unwrap();
                count += 1;
            }
            count
        };
        let ((), count) = futures_util::future::join(feeder, walker).await;
        assert_eq!(count, 20);
    });
}

fn a_shut_down_executor_ends_no_stream_but_refuses_each_item<S: Pool>() {
    on_a_runtime(async {
        let pool = S::with_workers(2);
        pool.shutdown(concurrent_futures::Shutdown::new())
            .await
            .unwrap();
        let results: Vec<_> = stream::iter(0..5).map_on(&pool, |n: u64| n).collect().await;
        assert_eq!(results.len(), 5);
        assert!(results.iter().all(Result::is_err));
    });
}

tests! {
    fn a_fed_set_ends_when_input_and_tasks_have_ended() {
        on_a_runtime(async {
            let (promise, future) = Promise::new();
            let mut done = AsCompleted::new().fed_by(stream::iter([future]));
            let limit = Duration::from_millis(5);
            assert!(tokio::time::timeout(limit, done.next()).await.is_err());
            promise.fulfil(7).unwrap();
            assert_eq!(done.next().await.unwrap().await.unwrap(), 7);
            assert!(done.next().await.is_none());
        });
    }
}
