//! A `Blob` that outlives its task in the worker keeps its bytes, whatever crosses after it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use concurrent_futures::{Blob, Executor, ProcessPoolExecutor, Shutdown};

use super::{FRAME, MEBIBYTE, OUTSIDE, kill_worker, pattern, warm_pool};
use crate::harness::{Door, PathGate, tests};

/// What tasks have kept in their worker, each with the seed of its bytes.
static KEPT: Mutex<Vec<(u64, Blob)>> = Mutex::new(Vec::new());

/// Keeps a part of what it gets.
fn keep(seed: u64, blob: Blob) -> usize {
    let length = blob.len();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push((seed, blob));
    length
}

/// Whether all that was kept is as it was, and how much that is.
fn look_at_kept() -> (bool, usize) {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_right = |(seed, blob): &(u64, Blob)| blob[..] == pattern(*seed, blob.len());
    (kept.iter().all(is_right), kept.len())
}

fn is_pattern(seed: u64, blob: Blob) -> bool {
    blob[..] == pattern(seed, blob.len())
}

/// Payloads of about the length that was kept, which would like its memory.
fn others_cross(pool: &ProcessPoolExecutor, count: u64, length: usize) {
    for seed in 1_000..1_000 + count {
        let bytes = pattern(seed, length - (seed % 100) as usize);
        assert!(
            pool.submit(is_pattern, (seed, Blob::from(bytes)))
                .result()
                .unwrap()
        );
    }
}

/// Looks at a blob when it is told to, on a thread that no task waits for.
struct Watcher {
    blobs: Mutex<Sender<(u64, Blob)>>,
    answers: Mutex<Receiver<bool>>,
}

static WATCHER: LazyLock<Watcher> = LazyLock::new(|| {
    let (blobs, received) = channel::<(u64, Blob)>();
    let (answer, answers) = channel();
    std::thread::spawn(move || {
        // One behind: what came with the task before is looked at while the next one runs.
        let mut last: Option<(u64, Blob)> = None;
        for (seed, blob) in received {
            let is_right = last.is_none_or(|(seed, blob)| is_pattern(seed, blob));
            let _ = answer.send(is_right);
            last = Some((seed, blob));
        }
    });
    Watcher {
        blobs: Mutex::new(blobs),
        answers: Mutex::new(answers),
    }
});

fn watch(seed: u64, blob: Blob) -> bool {
    let watcher = &*WATCHER;
    watcher.blobs.lock().unwrap().send((seed, blob)).unwrap();
    watcher.answers.lock().unwrap().recv().unwrap()
}

tests! {
    fn a_blob_that_is_kept_beyond_its_task_keeps_its_bytes() {
        for length in [OUTSIDE, FRAME + 1, 3 * MEBIBYTE] {
            let pool = ProcessPoolExecutor::new(1);
            assert_eq!(pool.submit(keep, (7, Blob::from(pattern(7, length)))).result().unwrap(), length);
            others_cross(&pool, 200, length);
            assert_eq!(pool.submit(look_at_kept, ()).result().unwrap(), (true, 1));
        }
    }

    fn more_blobs_than_a_pool_has_memory_of_its_own_can_be_kept() {
        let pool = ProcessPoolExecutor::new(1);
        for seed in 0..150 {
            pool.submit(keep, (seed, Blob::from(pattern(seed, FRAME + seed as usize)))).result().unwrap();
            others_cross(&pool, 1, FRAME);
        }
        assert_eq!(pool.submit(look_at_kept, ()).result().unwrap(), (true, 150));
    }

    fn a_part_of_a_blob_keeps_its_bytes_too() {
        static PART: OnceLock<Bytes> = OnceLock::new();
        let pool = ProcessPoolExecutor::new(1);
        let keep_part = |blob: Blob| drop(PART.set(blob.into_bytes().slice(1_000..1_010)));
        pool.submit(keep_part, Blob::from(pattern(3, MEBIBYTE))).result().unwrap();
        others_cross(&pool, 50, MEBIBYTE);
        let part = pool.submit(|| PART.get().cloned(), ()).result().unwrap().unwrap();
        assert_eq!(part[..], pattern(3, MEBIBYTE)[1_000..1_010]);
    }

    fn a_blob_may_go_to_another_thread_of_the_worker() {
        let pool = ProcessPoolExecutor::new(1);
        for seed in 0..100 {
            let bytes = pattern(seed, MEBIBYTE - seed as usize);
            assert!(pool.submit(watch, (seed, Blob::from(bytes))).result().unwrap(), "{seed}");
        }
    }

    fn a_blob_that_is_kept_and_given_back_is_both() {
        let pool = ProcessPoolExecutor::new(1);
        let keep_and_give = |seed: u64, blob: Blob| {
            keep(seed, blob.clone());
            blob
        };
        for seed in 0..20 {
            let bytes = pattern(seed, 2 * MEBIBYTE);
            let back = pool.submit(keep_and_give, (seed, Blob::from(bytes.clone()))).result().unwrap();
            assert!(back[..] == bytes[..]);
        }
        assert_eq!(pool.submit(look_at_kept, ()).result().unwrap(), (true, 20));
    }

    fn a_task_that_panics_or_fails_may_have_kept_it() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).env("RUST_BACKTRACE", "0").build().unwrap();
        let keep_and_panic = |seed: u64, blob: Blob| -> u64 {
            keep(seed, blob);
            panic!("after it was kept");
        };
        let keep_and_fail = |seed: u64, blob: Blob| -> Result<(), String> {
            keep(seed, blob);
            Err("after it was kept".to_owned())
        };
        let bytes = |seed| Blob::from(pattern(seed, MEBIBYTE));
        assert!(pool.submit(keep_and_panic, (1, bytes(1))).result().unwrap_err().is_panicked());
        assert!(pool.try_submit(keep_and_fail, (2, bytes(2))).result().unwrap_err().is_failed());
        others_cross(&pool, 50, MEBIBYTE);
        assert_eq!(pool.submit(look_at_kept, ()).result().unwrap(), (true, 2));
    }

    fn blobs_of_broadcasts_can_be_kept_by_some_workers() {
        let pool = warm_pool(3);
        let keep_if_first = |door: Door, seed: u64, blob: Blob| {
            door.arrive();
            let is_right = blob[..] == pattern(seed, blob.len());
            if door.arrivals().first() == Some(&std::process::id()) {
                keep(seed, blob);
            }
            is_right
        };
        for seed in 0..5 {
            let gate = PathGate::new();
            let told = pool.broadcast(keep_if_first, (gate.door(), seed, Blob::from(pattern(seed, MEBIBYTE))));
            assert_eq!(told.len(), 3);
            for future in told {
                assert!(future.result().unwrap());
            }
            others_cross(&pool, 20, MEBIBYTE);
        }
        let looks: Vec<_> = pool.broadcast(look_at_kept, ()).into_iter().map(|future| future.result().unwrap()).collect();
        assert!(looks.iter().all(|(is_right, _)| *is_right));
        assert_eq!(looks.iter().map(|(_, count)| count).sum::<usize>(), 5);
    }

    fn blobs_of_initializers_and_finalizers_may_be_large_and_kept() {
        let initialize = |blob: Blob| {
            keep(5, blob);
        };
        let finalize = |door: Door, last: Blob| {
            if look_at_kept() == (true, 2) && is_pattern(6, last) {
                door.arrive();
            }
        };
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(initialize, Blob::from(pattern(5, 3 * MEBIBYTE)))
            .finalizer(finalize, (gate.door(), Blob::from(pattern(6, 3 * MEBIBYTE))))
            .build()
            .unwrap();
        pool.warm_up().result().unwrap();
        for future in pool.broadcast(keep, (8, Blob::from(pattern(8, MEBIBYTE)))) {
            future.result().unwrap();
        }
        others_cross(&pool, 100, 3 * MEBIBYTE);
        // A worker that comes later is told the same.
        kill_worker(&pool, pool.worker_stats()[0].pid());
        pool.warm_up().result().unwrap();
        let kept = |future: concurrent_futures::TaskFuture<(bool, usize)>| future.result().unwrap();
        let mut looks: Vec<_> = pool.broadcast(look_at_kept, ()).into_iter().map(kept).collect();
        looks.sort_unstable();
        assert_eq!(looks, [(true, 1), (true, 2)]);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert_eq!(gate.arrived(), 1, "the other had kept one only");
    }
}
