//! The cases `streamed` and `streamed-growth`: many more tasks than there is memory for, a thousand at
//! a time.

use std::time::Instant;

use concurrent_futures::stream::StreamExt as _;
use concurrent_futures::{Executor, ThreadPoolExecutor};
use futures_util::{StreamExt as _, stream};

use super::WORKERS;
use super::timing::{assert_is_sum, nanoseconds, trivial, warm_up};
use crate::memory::resident;

/// How many tasks are on their way.
const AT_A_TIME: usize = 1_000;

/// What a run took.
pub(super) struct Streamed {
    nanoseconds: f64,
    growth: f64,
}

impl Streamed {
    /// For a task.
    pub(super) fn nanoseconds(self) -> f64 {
        self.nanoseconds
    }

    /// By how many bytes the resident memory has grown after the first tasks, for all of them.
    pub(super) fn growth(self) -> f64 {
        self.growth
    }
}

/// Takes results from `stream` until it ends.
fn measure(tasks: u64, stream: impl stream::Stream<Item = u64>) -> Streamed {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(WORKERS)
        .build()
        .expect("there are threads");
    runtime.block_on(async {
        let mut stream = std::pin::pin!(stream);
        let mut sum = 0;
        for _ in 0..warm_up(tasks) {
            sum += stream.next().await.expect("there are more");
        }
        let before = resident();
        let start = Instant::now();
        while let Some(value) = stream.next().await {
            sum += value;
        }
        let nanoseconds = nanoseconds(start.elapsed(), tasks - warm_up(tasks));
        let growth = resident().saturating_sub(before) as f64;
        assert_is_sum(sum, tasks);
        Streamed {
            nanoseconds,
            growth,
        }
    })
}

fn pool() -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder()
        .max_workers(WORKERS)
        .queue_limit(AT_A_TIME - WORKERS)
        .build()
        .expect("the options are valid")
}

/// `map_on`, on a pool with a limit.
pub(super) fn map_on(tasks: u64) -> Streamed {
    let input = stream::iter(0..tasks);
    let results = input.map_on(&pool(), trivial).window(AT_A_TIME);
    measure(tasks, results.map(|result| result.expect("it returns")))
}

/// A permit for each task, and `buffered` of the futures crate.
pub(super) fn permits(tasks: u64) -> Streamed {
    let pool = &pool();
    let futures = stream::iter(0..tasks).map(|number| async move {
        let permit = pool.reserve().await?;
        permit.submit(trivial, number).await
    });
    let results = futures.buffered(AT_A_TIME);
    measure(tasks, results.map(|result| result.expect("it returns")))
}

/// `tokio::task::spawn_blocking` on two threads, and `buffered` of the futures crate.
pub(super) fn spawn_blocking(tasks: u64) -> Streamed {
    let futures =
        stream::iter(0..tasks).map(|number| tokio::task::spawn_blocking(move || trivial(number)));
    let results = futures.buffered(AT_A_TIME);
    measure(tasks, results.map(|result| result.expect("it returns")))
}
