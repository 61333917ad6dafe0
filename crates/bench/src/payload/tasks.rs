//! Payloads as arguments and results of tasks.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use concurrent_futures::{Blob, Executor};

use super::{Work, in_flight};
use crate::threads::warm_up;
use crate::workers::{Ours, Pool, Procspawn, WORKERS, worker_pids};

/// Bytes of which no page is like another, all of them touched.
pub(super) fn pattern(length: usize) -> Bytes {
    let words = (0..length as u64 / 8).flat_map(|word| (word | 1 << 40).to_le_bytes());
    words.collect::<Vec<u8>>().into()
}

/// Reads all of it.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    words.map(word).fold(0, |sum, word| sum ^ word)
}

/// Reads its ends, and says how long it is.
pub(super) fn ends(bytes: &[u8]) -> u64 {
    let ends = bytes.first().into_iter().chain(bytes.last());
    ends.map(|&byte| u64::from(byte)).sum::<u64>() + bytes.len() as u64
}

/// The bytes that a process holds ready. All calls ask for the same length.
pub(super) fn ready(length: usize) -> Bytes {
    static READY: OnceLock<Bytes> = OnceLock::new();
    READY.get_or_init(|| pattern(length)).clone()
}

/// Bytes that have crossed are counted in units of 10⁹.
pub(super) fn gigabytes(bytes: usize, tasks: u64, time: Duration) -> f64 {
    bytes as f64 * tasks as f64 / time.as_nanos() as f64
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn sum_of_blob(blob: Blob) -> u64 {
    sum(&blob)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn sum_of_bytes(bytes: Bytes) -> u64 {
    sum(&bytes)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn ends_of_bytes(bytes: Bytes) -> u64 {
    ends(&bytes)
}

fn same<T>(value: T) -> T {
    value
}

/// A pool that runs these tasks. Each of them gives what waits for its result.
pub(super) trait Carrier: Pool {
    /// How many payloads may be on their way.
    const MOST_PAYLOADS: usize = usize::MAX;

    /// In the form that the worker can read in place, if the pool has one.
    fn read(&self, bytes: Bytes) -> impl FnOnce() -> u64;
    fn take(&self, bytes: Bytes) -> impl FnOnce() -> u64;
    fn give(&self, length: usize) -> impl FnOnce() -> Bytes;
    fn back(&self, bytes: Bytes) -> impl FnOnce() -> Bytes;
    /// In the form that serde takes for a sequence of numbers.
    fn back_as_numbers(&self, bytes: Vec<u8>) -> impl FnOnce() -> Vec<u8>;
}

const RETURNS: &str = "the task returns";

impl Carrier for Ours {
    fn read(&self, bytes: Bytes) -> impl FnOnce() -> u64 {
        let future = self.pool().submit(sum_of_blob, Blob::from(bytes));
        || future.result().expect(RETURNS)
    }

    fn take(&self, bytes: Bytes) -> impl FnOnce() -> u64 {
        let future = self.pool().submit(ends_of_bytes, bytes);
        || future.result().expect(RETURNS)
    }

    fn give(&self, length: usize) -> impl FnOnce() -> Bytes {
        let future = self.pool().submit(ready, length);
        || future.result().expect(RETURNS)
    }

    fn back(&self, bytes: Bytes) -> impl FnOnce() -> Bytes {
        let future = self.pool().submit(same, bytes);
        || future.result().expect(RETURNS)
    }

    fn back_as_numbers(&self, bytes: Vec<u8>) -> impl FnOnce() -> Vec<u8> {
        let future = self.pool().submit(same, bytes);
        || future.result().expect(RETURNS)
    }
}

impl Carrier for Procspawn {
    /// Who submits sends the argument, and waits until a worker receives it, if it is longer than a
    /// socket holds; and no worker goes on to the next task before its result is waited for.
    const MOST_PAYLOADS: usize = WORKERS;

    fn read(&self, bytes: Bytes) -> impl FnOnce() -> u64 {
        let task = self.pool().spawn(bytes, sum_of_bytes);
        || task.join().expect(RETURNS)
    }

    fn take(&self, bytes: Bytes) -> impl FnOnce() -> u64 {
        let task = self.pool().spawn(bytes, ends_of_bytes);
        || task.join().expect(RETURNS)
    }

    fn give(&self, length: usize) -> impl FnOnce() -> Bytes {
        let task = self.pool().spawn(length, ready);
        || task.join().expect(RETURNS)
    }

    fn back(&self, bytes: Bytes) -> impl FnOnce() -> Bytes {
        let task = self.pool().spawn(bytes, same);
        || task.join().expect(RETURNS)
    }

    fn back_as_numbers(&self, bytes: Vec<u8>) -> impl FnOnce() -> Vec<u8> {
        let task = self.pool().spawn(bytes, same);
        || task.join().expect(RETURNS)
    }
}

/// How many run before the clock does: so that all memory that is used again was used before.
pub(super) fn before(length: usize, tasks: u64) -> u64 {
    warm_up(tasks).max(2 * in_flight(length) as u64)
}

/// Gigabytes a second with payloads of `length` bytes, whose tasks `submit` submits.
fn measure<P: Carrier, W: FnOnce() -> T, T>(
    (pool, work, length): (&P, Work, usize),
    tasks: u64,
    submit: impl Fn() -> W,
    is_right: impl Fn(&T) -> bool,
) -> f64 {
    worker_pids(pool, WORKERS);
    let check = |wait: W| assert!(is_right(&wait()), "other bytes came");
    let run = |tasks| {
        let mut waits = VecDeque::new();
        for _ in 0..tasks {
            if waits.len() == in_flight(length).min(P::MOST_PAYLOADS)
                && let Some(oldest) = waits.pop_front()
            {
                check(oldest);
            }
            waits.push_back(submit());
        }
        waits.into_iter().for_each(check);
    };
    run(before(length, tasks));
    let start = Instant::now();
    run(tasks);
    gigabytes(work.crossing(length), tasks, start.elapsed())
}

/// The worker reads all of its argument.
pub(super) fn read<P: Carrier>(length: usize, tasks: u64) -> f64 {
    let (pool, bytes) = (P::open(WORKERS), pattern(length));
    let expected = sum(&bytes);
    let submit = || pool.read(bytes.clone());
    let of = (&pool, Work::Read, length);
    let value = measure(of, tasks, submit, |&sum| sum == expected);
    pool.close();
    value
}

/// The worker gets its argument as bytes of its own, and looks at their ends.
pub(super) fn taken<P: Carrier>(length: usize, tasks: u64) -> f64 {
    let (pool, bytes) = (P::open(WORKERS), pattern(length));
    let expected = ends(&bytes);
    let submit = || pool.take(bytes.clone());
    let of = (&pool, Work::Take, length);
    let value = measure(of, tasks, submit, |&ends| ends == expected);
    pool.close();
    value
}

/// The worker gives bytes that it holds ready.
pub(super) fn given<P: Carrier>(length: usize, tasks: u64) -> f64 {
    let pool = P::open(WORKERS);
    let expected = ends(&pattern(length));
    let of = (&pool, Work::Give, length);
    let value = measure(
        of,
        tasks,
        || pool.give(length),
        |bytes: &Bytes| ends(bytes) == expected,
    );
    pool.close();
    value
}

/// The worker gives its argument back.
pub(super) fn returned<P: Carrier>(length: usize, tasks: u64) -> f64 {
    let (pool, bytes) = (P::open(WORKERS), pattern(length));
    let expected = ends(&bytes);
    let submit = || pool.back(bytes.clone());
    let of = (&pool, Work::Return, length);
    let value = measure(of, tasks, submit, |back: &Bytes| ends(back) == expected);
    pool.close();
    value
}

/// The same, where the argument is a `Vec<u8>`, made anew for each task.
pub(super) fn returned_as_numbers<P: Carrier>(length: usize, tasks: u64) -> f64 {
    let (pool, bytes) = (P::open(WORKERS), pattern(length));
    let expected = ends(&bytes);
    let submit = || pool.back_as_numbers(bytes.to_vec());
    let of = (&pool, Work::Return, length);
    let value = measure(of, tasks, submit, |back: &Vec<u8>| ends(back) == expected);
    pool.close();
    value
}
