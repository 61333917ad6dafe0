//! The case `as-completed`: results in the order in which the tasks finish.

use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinSet;

use super::pools::{Ours, Pool, SpawnBlocking};
use super::timing::{Flavor, assert_is_sum, bulk_in, in_runtime, nanoseconds, trivial, warm_up};

fn timed<P: Pool>(tasks: u64, body: impl AsyncFn(&P, u64) -> u64) -> f64 {
    in_runtime::<P>(Flavor::MultiThread, async |pool: &P| {
        assert_is_sum(body(pool, warm_up(tasks)).await, warm_up(tasks));
        let start = Instant::now();
        let sum = body(pool, tasks).await;
        let time = start.elapsed();
        assert_is_sum(sum, tasks);
        nanoseconds(time, tasks)
    })
}

/// Our stream, of our futures.
pub(super) fn ours(tasks: u64) -> f64 {
    timed(tasks, async |pool: &Ours, tasks| {
        let futures = (0..tasks).map(|number| pool.submit(trivial, number));
        let mut done = concurrent_futures::as_completed(futures);
        let mut sum = 0;
        while let Some(future) = done.next().await {
            sum += Ours::value(future.await);
        }
        sum
    })
}

/// Our futures in the order in which they were submitted: what the stream is compared with.
pub(super) fn our_bulk(tasks: u64) -> f64 {
    bulk_in::<Ours>(Flavor::MultiThread, tasks)
}

/// tokio's set of tasks, with blocking ones in it.
pub(super) fn join_set(tasks: u64) -> f64 {
    timed(tasks, async |_: &SpawnBlocking, tasks| {
        let mut set = JoinSet::new();
        for number in 0..tasks {
            set.spawn_blocking(move || trivial(number));
        }
        let mut sum = 0;
        while let Some(result) = set.join_next().await {
            sum += SpawnBlocking::value(result);
        }
        sum
    })
}

/// The futures crate's set of futures, with those of tokio's blocking tasks in it.
pub(super) fn futures_unordered(tasks: u64) -> f64 {
    timed(tasks, async |pool: &SpawnBlocking, tasks| {
        let mut set: FuturesUnordered<_> = (0..tasks)
            .map(|number| pool.submit(trivial, number))
            .collect();
        let mut sum = 0;
        while let Some(result) = set.next().await {
            sum += SpawnBlocking::value(result);
        }
        sum
    })
}
