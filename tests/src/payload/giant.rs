//! A gigabyte as an argument and as a result, beside small tasks, and what that takes.

use std::fs;
use std::time::{Duration, Instant};

use concurrent_futures::{Blob, Executor, ProcessPoolExecutor};
use serde_bytes::ByteBuf;

use super::{MEBIBYTE, warm_pool};
use crate::harness::tests;

const GIBIBYTE: usize = 1 << 30;

/// What a process may take beside payloads.
const SLACK: usize = 64 * MEBIBYTE;

/// The lines of the status of a process, in bytes.
fn status(pid: u32, name: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.expect("the kernel counts it") << 10
}

/// From now on the peak is counted anew.
fn forget_peak(pid: u32) -> usize {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the process is ours");
    status(pid, "VmHWM")
}

/// The first, the last, and some bytes in between, which say where they are.
fn mark(bytes: &mut [u8]) {
    let step = bytes.len() / 64;
    for (number, byte) in (1..).zip(bytes.iter_mut().step_by(step)) {
        *byte = number;
    }
    if let Some(last) = bytes.last_mut() {
        *last = 255;
    }
}

fn is_marked(bytes: &[u8]) -> bool {
    let step = bytes.len() / 64;
    let marks = (1..).zip(bytes.iter().step_by(step));
    marks
        .into_iter()
        .take(64)
        .all(|(number, &byte): (u8, _)| byte == number)
        && bytes.last() == Some(&255)
        && bytes[1..step].iter().step_by(4096).all(|&byte| byte == 0)
}

fn marked(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    mark(&mut bytes);
    bytes
}

fn look(blob: Blob) -> (usize, bool) {
    (blob.len(), is_marked(&blob))
}

fn give(length: usize) -> ByteBuf {
    ByteBuf::from(marked(length))
}

/// Runs `large` while small tasks come and go, each of them soon. Says how many there were.
fn beside_small_tasks<T>(pool: &ProcessPoolExecutor, large: impl FnOnce() -> T + Send) -> (T, usize)
where
    T: Send,
{
    std::thread::scope(|scope| {
        let large = scope.spawn(large);
        let mut count = 0;
        while !large.is_finished() {
            let start = Instant::now();
            assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
            let time = start.elapsed();
            assert!(time < Duration::from_secs(2), "a small task took {time:?}");
            count += 1;
        }
        (large.join().expect("it asserts nothing"), count)
    })
}

tests! {
    fn an_argument_of_a_gigabyte_is_carried_beside_small_tasks() {
        let pool = warm_pool(2);
        let blob = Blob::from(marked(GIBIBYTE));
        let submit = || pool.submit(look, blob).result();
        let (result, small_ones) = beside_small_tasks(&pool, submit);
        assert_eq!(result.unwrap(), (GIBIBYTE, true));
        assert!(small_ones > 10, "{small_ones} small tasks meanwhile");
    }

    fn a_result_of_a_gigabyte_is_carried_beside_small_tasks() {
        let pool = warm_pool(2);
        let submit = || pool.submit(give, GIBIBYTE).result();
        let (result, small_ones) = beside_small_tasks(&pool, submit);
        let bytes = result.unwrap();
        assert!(bytes.len() == GIBIBYTE && is_marked(&bytes));
        assert!(small_ones > 10, "{small_ones} small tasks meanwhile");
    }

    fn large_payloads_take_the_memory_that_they_need_and_no_more() {
        const LENGTH: usize = 512 * MEBIBYTE;
        let pool = warm_pool(1);
        let (ours, worker) = (std::process::id(), pool.worker_stats()[0].pid());
        let grown = |before: usize, pid: u32| status(pid, "VmHWM").saturating_sub(before) / MEBIBYTE;
        let megabytes = (LENGTH + SLACK) / MEBIBYTE;

        // An argument: once in memory that both have, beside the value. The worker copies nothing of a `Blob`,
        // and has what it reads mapped.
        let blob = Blob::from(vec![0; LENGTH]);
        let (before, before_worker) = (forget_peak(ours), forget_peak(worker));
        let own_before = status(worker, "RssAnon");
        let length = |blob: Blob| (blob.len(), status(std::process::id(), "RssAnon"));
        let (found, own) = pool.submit(length, blob.clone()).result().unwrap();
        assert_eq!(found, LENGTH);
        assert!(own <= own_before + SLACK / 4, "{own_before} {own}");
        let (ours_grown, worker_grown) = (grown(before, ours), grown(before_worker, worker));
        // The value was never written to, and becomes present by being read, in what is shared with all.
        assert!(ours_grown <= megabytes, "{ours_grown}");
        assert!(worker_grown <= SLACK / MEBIBYTE, "{worker_grown}: it has not looked at it");

        // Bytes of its own: a copy in the worker.
        let (_, before_worker) = (forget_peak(ours), forget_peak(worker));
        let found = pool.submit(|bytes: ByteBuf| bytes.len(), ByteBuf::from(vec![0; LENGTH])).result();
        assert_eq!(found.unwrap(), LENGTH);
        let worker_grown = grown(before_worker, worker);
        assert!(worker_grown <= 2 * LENGTH / MEBIBYTE + SLACK / MEBIBYTE, "{worker_grown}");
        drop(blob);

        // A result: beside the value once in the worker, and once here.
        let (before, before_worker) = (forget_peak(ours), forget_peak(worker));
        let bytes = pool.submit(|length: usize| ByteBuf::from(vec![1; length]), LENGTH).result().unwrap();
        assert_eq!(bytes.len(), LENGTH);
        let (ours_grown, worker_grown) = (grown(before, ours), grown(before_worker, worker));
        assert!(worker_grown <= megabytes + LENGTH / MEBIBYTE, "{worker_grown}");
        // What is copied is mapped while it is.
        assert!(ours_grown <= megabytes + LENGTH / MEBIBYTE, "{ours_grown}");
        let own_grown = status(ours, "RssAnon");
        assert!(own_grown >= LENGTH, "the parent has it: {own_grown}");
        drop(bytes);
        assert!(status(ours, "RssAnon") < LENGTH, "it is given back");
        assert!(status(worker, "RssShmem") < SLACK, "and so is what the worker had for it");
    }
}
