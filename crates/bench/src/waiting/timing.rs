//! The work: fork-join Fibonacci with a sequential cut-off, and tasks that wait for each other.

use std::time::Instant;

use super::pools::ForkJoin;
use crate::threads::{WORKERS, nanoseconds};

/// Numbers up to this one are computed without a fork: a few microseconds of work.
pub(super) const CUT_OFF: u64 = 15;

const NUMBER: u64 = 27;
const VALUE: u64 = 196_418;

/// How many forks one computation has.
pub(super) const FORKS: u64 = forks(NUMBER);

const fn forks(number: u64) -> u64 {
    if number <= CUT_OFF {
        0
    } else {
        1 + forks(number - 1) + forks(number - 2)
    }
}

/// The Fibonacci number, by the definition: the work of a branch.
pub(super) fn sequential(number: u64) -> u64 {
    match number {
        0 | 1 => number,
        _ => sequential(number - 1) + sequential(number - 2),
    }
}

/// Nanoseconds for a fork, its share of the work included, over so many forks.
pub(super) fn fibonacci<P: ForkJoin>(workers: usize, tasks: u64) -> f64 {
    let pool = P::open(workers);
    // Threads start with the first tasks.
    assert_eq!(pool.fibonacci(NUMBER), VALUE);
    let start = Instant::now();
    for _ in 0..tasks / FORKS {
        assert_eq!(pool.fibonacci(NUMBER), VALUE);
    }
    let time = start.elapsed();
    pool.close();
    nanoseconds(time, tasks)
}

/// Nanoseconds for a task that waits, where so many wait, each for the next.
pub(super) fn recursion<P: ForkJoin>(tasks: u64) -> f64 {
    let pool = P::open(WORKERS);
    assert_eq!(pool.recursion(tasks), tasks);
    let start = Instant::now();
    assert_eq!(pool.recursion(tasks), tasks);
    let time = start.elapsed();
    pool.close();
    nanoseconds(time, tasks)
}
