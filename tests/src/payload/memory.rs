//! What large payloads take, of memory and descriptors, and when that is given back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use concurrent_futures::{Blob, Executor, ProcessPoolExecutor};
use serde_bytes::ByteBuf;

use super::{FRAME, MEBIBYTE, OUTSIDE, pattern, warm_pool};
use crate::harness::{eventually, tests};

/// What the pool keeps for arguments, and each worker for results, in bytes.
const OF_POOL: u64 = 256 << 20;
const OF_WORKER: u64 = 128 << 20;

/// The memory for payloads that a process has open: how many pieces, and how many bytes they take.
fn payload_files(pid: u32) -> (usize, u64) {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let mut sizes = BTreeMap::new();
    for file in files.flatten() {
        let target = fs::read_link(file.path()).unwrap_or_default();
        if target
            .to_string_lossy()
            .contains("concurrent-futures-payload")
            && let Ok(file) = fs::metadata(file.path())
        {
            sizes.insert(file.ino(), file.blocks() * 512);
        }
    }
    (sizes.len(), sizes.values().sum())
}

/// The memory for payloads that a process has mapped and in use, by the number of its file.
fn mapped_payloads(pid: u32) -> BTreeMap<u64, u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("the process is there");
    let mut sizes = BTreeMap::new();
    let mut file = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first.contains('-') {
            let is_payload = line.contains("concurrent-futures-payload");
            file = words
                .nth(3)
                .filter(|_| is_payload)
                .and_then(|file| file.parse().ok());
        } else if first == "Rss:"
            && let Some(file) = file
            && let Some(Ok(kilobytes)) = words.next().map(str::parse::<u64>)
        {
            let size = sizes.entry(file).or_default();
            *size = kilobytes << 10;
        }
    }
    sizes
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process is there")
        .count()
}

fn pids(pool: &ProcessPoolExecutor) -> Vec<u32> {
    pool.worker_stats()
        .iter()
        .map(|worker| worker.pid())
        .collect()
}

fn length(blob: Blob) -> usize {
    blob.len()
}

fn give(length: usize) -> ByteBuf {
    ByteBuf::from(vec![1; length])
}

tests! {
    fn what_is_kept_for_later_payloads_is_bounded() {
        let pool = warm_pool(2);
        let pid = std::process::id();
        for round in 0..2 {
            let sizes = [1, 5, 20, 70, 100, 150, 300].map(|size| size * MEBIBYTE + round);
            let arguments: Vec<_> = sizes.map(|size| pool.submit(length, Blob::from(vec![1; size]))).into();
            for (future, size) in arguments.into_iter().zip(sizes) {
                assert_eq!(future.result().unwrap(), size);
            }
            eventually("the pool has its memory back", || payload_files(pid).1 <= OF_POOL);
            for size in sizes {
                assert_eq!(pool.submit(give, size).result().unwrap().len(), size);
            }
        }
        // The workers look at what was given back when they have something to give.
        for worker in pids(&pool) {
            let (_, bytes) = payload_files(worker);
            assert!(bytes <= OF_WORKER, "{bytes}");
        }
        // A small payload more, and workers have let go of what the pool does not have any more.
        for future in pool.broadcast(length, Blob::from(vec![1; FRAME])) {
            future.result().unwrap();
        }
        for worker in pids(&pool) {
            let bytes: u64 = mapped_payloads(worker).values().sum();
            assert!(bytes <= OF_POOL + OF_WORKER, "{bytes}");
        }
        let bytes: u64 = mapped_payloads(pid).values().sum();
        assert!(bytes <= OF_POOL + 2 * OF_WORKER, "{bytes}");
    }

    fn memory_is_used_again_and_no_more_of_it_is_made() {
        let pool = warm_pool(1);
        let pid = std::process::id();
        for size in [OUTSIDE, MEBIBYTE, 10 * MEBIBYTE] {
            for _ in 0..20 {
                pool.submit(|blob: Blob| blob, Blob::from(vec![1; size])).result().unwrap();
            }
        }
        let (ours, theirs) = (payload_files(pid), payload_files(pids(&pool)[0]));
        assert!(ours.0 <= 3 && theirs.0 <= 3, "{ours:?} {theirs:?}");
        for _ in 0..200 {
            pool.submit(|blob: Blob| blob, Blob::from(vec![1; MEBIBYTE])).result().unwrap();
        }
        assert_eq!(payload_files(pid).0, ours.0);
        assert_eq!(payload_files(pids(&pool)[0]).0, theirs.0);
    }

    fn descriptors_do_not_grow_with_payloads() {
        let pool = warm_pool(2);
        let mut random = fastrand::Rng::with_seed(11);
        let mut cross = |count: usize| {
            let mut tasks = Vec::new();
            for _ in 0..count {
                let length = match random.u8(..10) {
                    0 => random.usize(..8 * MEBIBYTE),
                    1..5 => random.usize(..2 * FRAME),
                    _ => random.usize(OUTSIDE..3 * OUTSIDE),
                };
                tasks.push((length, pool.submit(|blob: Blob| blob, Blob::from(vec![9; length]))));
                if tasks.len() > random.usize(1..20) {
                    let (length, task) = tasks.swap_remove(random.usize(..tasks.len()));
                    assert_eq!(task.result().unwrap().len(), length);
                }
            }
        };
        let pid = std::process::id();
        let count = || {
            let workers: usize = pids(&pool).into_iter().map(descriptors).sum();
            (descriptors(pid), workers)
        };
        cross(300);
        let before = count();
        cross(2_000);
        let after = count();
        // A shelf has at most 64 places, and a worker's 8.
        assert!(after.0 <= before.0.max(64 + 32), "{before:?} {after:?}");
        assert!(after.1 <= before.1 + 2 * 8, "{before:?} {after:?}");
        cross(500);
        let last = count();
        assert!(last.0 <= after.0 + 8 && last.1 <= after.1 + 4, "{after:?} {last:?}");
    }

    fn a_pool_that_is_idle_gives_the_memory_back() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .idle_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let pid = std::process::id();
        for _ in 0..2 {
            let sizes = [OUTSIDE, MEBIBYTE, 30 * MEBIBYTE];
            let tasks = sizes.map(|size| pool.submit(|blob: Blob| blob, Blob::from(pattern(1, size))));
            assert!(payload_files(pid).0 > 0);
            for (task, size) in tasks.into_iter().zip(sizes) {
                assert_eq!(task.result().unwrap().len(), size);
            }
            eventually("the memory is given back", || {
                payload_files(pid).0 == 0 && mapped_payloads(pid).is_empty()
            });
        }
    }

    fn results_that_are_not_taken_are_all_that_takes_memory() {
        let pool = warm_pool(1);
        let pid = std::process::id();
        let futures: Vec<_> = (0..20).map(|_| pool.submit(give, 10 * MEBIBYTE)).collect();
        eventually("all are done", || futures.iter().all(|future| future.is_done()));
        let bytes: u64 = mapped_payloads(pid).values().sum();
        // They are not copied before somebody wants them.
        assert!(bytes <= MEBIBYTE as u64, "{bytes}");
        for future in futures {
            drop(future);
        }
        for _ in 0..2 {
            pool.submit(give, OUTSIDE).result().unwrap();
        }
        eventually("what nobody takes is gone", || payload_files(pids(&pool)[0]).1 <= OF_WORKER);
    }
}
