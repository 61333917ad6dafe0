//! The cases `bulk` and `ping-pong`: what a task costs among many, and what it costs alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::WORKERS;
use super::pools::Pool;

/// What the tasks do.
pub(super) fn trivial(number: u64) -> u64 {
    black_box(number)
}

/// The runtime in which tasks are awaited. Each case has the one that is better for the others, as
/// measured on two cores.
#[derive(Clone, Copy)]
pub(crate) enum Flavor {
    /// Beside the other flavor, this one made the semaphore faster by a tenth in `bulk` and by two
    /// fifths in `ping-pong`, two threads of `spawn_blocking` and the crate `blocking` faster by
    /// two fifths in `ping-pong`, the threadpool crate faster by a tenth in `bulk`, and left rayon
    /// as it was. Only the threadpool crate lost, in `ping-pong`.
    CurrentThread,
    /// For `as-completed`: `FuturesUnordered` yields often, which costs it five times as much in
    /// the other flavor, where yielding lets all the blocking threads go first.
    MultiThread,
}

/// Runs `body` with a new pool, in a new runtime.
pub(crate) fn in_runtime<P: Pool>(flavor: Flavor, body: impl AsyncFn(&P) -> f64) -> f64 {
    let mut builder = match flavor {
        Flavor::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Flavor::MultiThread => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(WORKERS)
        .max_blocking_threads(P::BLOCKING_THREADS)
        .build()
        .expect("there are threads");
    let (pool, value) = runtime.block_on(async {
        let pool = P::open();
        let value = body(&pool).await;
        (pool, value)
    });
    drop(runtime);
    pool.close();
    value
}

/// Nanoseconds for a task if all are submitted, and then all are awaited.
pub(super) fn bulk<P: Pool>(tasks: u64) -> f64 {
    bulk_in::<P>(Flavor::CurrentThread, tasks)
}

/// As [`bulk`], in a runtime of the given flavor.
pub(super) fn bulk_in<P: Pool>(flavor: Flavor, tasks: u64) -> f64 {
    in_runtime::<P>(flavor, async |pool: &P| {
        submit_all(pool, warm_up(tasks)).await;
        let start = Instant::now();
        submit_all(pool, tasks).await;
        nanoseconds(start.elapsed(), tasks)
    })
}

async fn submit_all<P: Pool>(pool: &P, tasks: u64) {
    let futures: Vec<_> = (0..tasks)
        .map(|number| pool.submit(trivial, number))
        .collect();
    let mut sum = 0;
    for future in futures {
        sum += P::value(future.await);
    }
    assert_is_sum(sum, tasks);
}

/// Nanoseconds for a task if each is awaited before the next is submitted.
pub(super) fn ping_pong<P: Pool>(tasks: u64) -> f64 {
    in_runtime::<P>(Flavor::CurrentThread, async |pool: &P| {
        submit_each(pool, warm_up(tasks)).await;
        let start = Instant::now();
        submit_each(pool, tasks).await;
        nanoseconds(start.elapsed(), tasks)
    })
}

async fn submit_each<P: Pool>(pool: &P, tasks: u64) {
    let mut sum = 0;
    for number in 0..tasks {
        sum += P::value(pool.submit(trivial, number).await);
    }
    assert_is_sum(sum, tasks);
}

/// How many tasks run before the clock does: threads start with the first ones.
pub(crate) fn warm_up(tasks: u64) -> u64 {
    tasks / 10
}

pub(crate) fn nanoseconds(time: Duration, tasks: u64) -> f64 {
    time.as_nanos() as f64 / tasks as f64
}

/// The results of the tasks 0, 1, … were each seen once.
pub(crate) fn assert_is_sum(sum: u64, tasks: u64) {
    assert_eq!(sum, tasks * (tasks - 1) / 2);
}
