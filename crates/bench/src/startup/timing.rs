//! How long a worker process takes to be there.

use std::thread;
use std::time::{Duration, Instant};

use crate::workers::{Pool, kill, start_and_wait, worker_pids};

/// How long a worker has to become idle, before it is killed.
const SETTLING: Duration = Duration::from_millis(20);
/// How often a task is submitted that is lost with its worker.
const TRIES: u64 = 10;

fn microseconds(time: Duration, starts: u64) -> f64 {
    time.as_secs_f64() * 1e6 / starts as f64
}

/// Microseconds from no pool to the result of its first task. The pool's end is not in it.
pub(super) fn first_result<P: Pool>(starts: u64) -> f64 {
    let mut time = Duration::ZERO;
    for number in 0..starts {
        let start = Instant::now();
        let pool = P::open(1);
        let value = P::wait(pool.submit(number));
        time += start.elapsed();
        assert_eq!(value, number);
        pool.close();
    }
    microseconds(time, starts)
}

/// Microseconds for a process that ends at once, from its start to its end.
pub(super) fn start_processes(starts: u64) -> f64 {
    let start = Instant::now();
    for _ in 0..starts {
        start_and_wait();
    }
    microseconds(start.elapsed(), starts)
}

/// Microseconds from the death of an idle worker, the only one of its pool, to the result of a task
/// that is submitted right after.
pub(super) fn respawn<P: Pool>(starts: u64) -> f64 {
    let pool = P::open(1);
    let mut time = Duration::ZERO;
    let mut lost = 0;
    for number in 0..starts {
        let pids = worker_pids(&pool, 1);
        thread::sleep(SETTLING);
        let start = Instant::now();
        kill(pids[0]);
        let tries = (0..TRIES).map(|_| P::try_wait(pool.submit(number)));
        let (before, value) = tries
            .enumerate()
            .find_map(|(before, result)| Some((before as u64, result.ok()?)))
            .expect("a new worker takes the place of the one that was killed");
        time += start.elapsed();
        lost += before;
        assert_eq!(value, number);
    }
    pool.close();
    if lost > 0 {
        eprintln!("respawn: {lost} tasks were lost with {starts} workers, and submitted again");
    }
    microseconds(time, starts)
}
