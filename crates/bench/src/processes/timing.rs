//! The cases `bulk`, `ping-pong` and `ping-pong-blocking`: what a task costs among many, and what it
//! costs alone.

use std::collections::VecDeque;
use std::time::Instant;

use crate::threads::{assert_is_sum, nanoseconds, warm_up};
use crate::workers::{Echo, Pool, WORKERS, on_cpu, worker_pids};

/// Runs `body` with a new pool, all of whose workers have run a task.
fn with_workers<P: Pool>(body: impl FnOnce(&P) -> f64) -> f64 {
    let pool = P::open(WORKERS);
    worker_pids(&pool, WORKERS);
    let value = body(&pool);
    pool.close();
    value
}

/// Nanoseconds for a task if all are submitted, and then all are waited for.
pub(super) fn bulk<P: Pool>(tasks: u64) -> f64 {
    with_workers(|pool: &P| {
        submit_all(pool, warm_up(tasks));
        let start = Instant::now();
        submit_all(pool, tasks);
        nanoseconds(start.elapsed(), tasks)
    })
}

fn submit_all<P: Pool>(pool: &P, tasks: u64) {
    let capacity = usize::try_from(tasks).expect("few enough for memory");
    let mut futures = VecDeque::with_capacity(capacity.min(P::MOST_AT_ONCE));
    let mut sum = 0;
    for number in 0..tasks {
        if futures.len() == P::MOST_AT_ONCE {
            sum += futures.pop_front().map_or(0, P::wait);
        }
        futures.push_back(pool.submit(number));
    }
    sum += futures.into_iter().map(P::wait).sum::<u64>();
    assert_is_sum(sum, tasks);
}

/// Nanoseconds for a task if each is waited for, by blocking, before the next is submitted.
pub(super) fn ping_pong_blocking<P: Pool>(tasks: u64) -> f64 {
    let submit_each = |pool: &P, tasks| {
        let sum = (0..tasks).map(|number| P::wait(pool.submit(number))).sum();
        assert_is_sum(sum, tasks);
    };
    with_workers(|pool: &P| {
        submit_each(pool, warm_up(tasks));
        let start = Instant::now();
        submit_each(pool, tasks);
        nanoseconds(start.elapsed(), tasks)
    })
}

/// Nanoseconds for a task if each is awaited before the next is submitted, by the future that a
/// runtime with two threads is blocked on.
pub(super) fn ping_pong<P: Pool>(tasks: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .build()
        .expect("there are threads");
    let submit_each = async |pool: &P, tasks| {
        let mut sum = 0;
        for number in 0..tasks {
            sum += P::value(pool.submit(number)).await;
        }
        assert_is_sum(sum, tasks);
    };
    with_workers(|pool: &P| {
        runtime.block_on(async {
            submit_each(pool, warm_up(tasks)).await;
            let start = Instant::now();
            submit_each(pool, tasks).await;
            nanoseconds(start.elapsed(), tasks)
        })
    })
}

/// Nanoseconds for a number to go to another process and back, where both block on a socket.
///
/// The kernel likes to put both on one CPU, since a socket says that its writer is about to sleep:
/// so nothing has to wake a CPU.
pub(super) fn socket_ping_pong(tasks: u64) -> f64 {
    round_trips(Echo::start(None), tasks)
}

/// As [`socket_ping_pong`], with a CPU for each process, of which a pool has as many as it can get.
pub(super) fn socket_ping_pong_of_two(cpus: [usize; 2], tasks: u64) -> f64 {
    let [here, there] = cpus;
    on_cpu(here, || round_trips(Echo::start(Some(there)), tasks))
}

fn round_trips(mut echo: Echo, tasks: u64) -> f64 {
    let mut send_each = |tasks| {
        let sum = (0..tasks).map(|number| echo.round_trip(number)).sum();
        assert_is_sum(sum, tasks);
    };
    send_each(warm_up(tasks));
    let start = Instant::now();
    send_each(tasks);
    let time = start.elapsed();
    echo.close();
    nanoseconds(time, tasks)
}
