//! Large results that are taken late, elsewhere, in any order, or never.

use bytes::Bytes;
use concurrent_futures::{Blob, Executor, ProcessPoolExecutor, Shutdown};
use serde_bytes::ByteBuf;

use super::{FRAME, MEBIBYTE, OUTSIDE, kill_worker, pattern, warm_pool};
use crate::harness::{eventually, tests};

fn give(seed: u64, length: usize) -> ByteBuf {
    ByteBuf::from(pattern(seed, length))
}

/// A length that goes outside, and one that is the whole of a frame, in turns.
fn length_of(seed: u64) -> usize {
    let least = if seed.is_multiple_of(2) {
        OUTSIDE
    } else {
        FRAME
    };
    least + seed as usize
}

tests! {
    fn results_that_are_not_taken_wait_by_the_hundred_and_can_be_taken_in_any_order() {
        let pool = ProcessPoolExecutor::new(2);
        let mut futures: Vec<_> = (0..300)
            .map(|seed| (seed, pool.submit(give, (seed, length_of(seed)))))
            .collect();
        // More than a worker has memory for that can be named.
        eventually("all are done", || futures.iter().all(|(_, future)| future.is_done()));
        fastrand::Rng::with_seed(5).shuffle(&mut futures);
        for (seed, future) in futures {
            assert!(future.result().unwrap() == pattern(seed, length_of(seed)), "{seed}");
        }
    }

    fn text_and_numbers_are_large_results_as_well() {
        let pool = ProcessPoolExecutor::new(1);
        let give = |seed: u64| -> (Vec<u64>, String) {
            let numbers = (seed..seed + 50_000).collect();
            (numbers, super::text(seed, FRAME))
        };
        let futures: Vec<_> = (0..20).map(|seed| (seed, pool.submit(give, seed))).collect();
        for (seed, future) in futures.into_iter().rev() {
            assert!(future.result().unwrap() == give(seed));
        }
    }

    fn results_that_are_dropped_give_their_memory_back() {
        let pool = warm_pool(1);
        for round in 0..50 {
            let futures: Vec<_> = (0..10)
                .map(|seed| pool.submit(give, (seed, length_of(seed))))
                .collect();
            if round % 2 == 0 {
                eventually("all are done", || futures.iter().all(|future| future.is_done()));
            }
            drop(futures);
        }
        assert!(pool.submit(give, (9, FRAME)).result().unwrap() == pattern(9, FRAME));
        assert_eq!(pool.worker_stats()[0].restarts(), 0);
    }

    fn another_thread_may_take_the_result() {
        let pool = ProcessPoolExecutor::new(2);
        std::thread::scope(|scope| {
            for seed in 0..20 {
                let future = pool.submit(give, (seed, length_of(seed)));
                scope.spawn(move || {
                    assert!(future.result().unwrap() == pattern(seed, length_of(seed)));
                });
            }
        });
    }

    fn a_result_is_good_though_its_worker_has_died() {
        let pool = warm_pool(1);
        let pid = pool.worker_stats()[0].pid();
        let futures: Vec<_> = [OUTSIDE, FRAME, 5 * MEBIBYTE]
            .map(|length| (length, pool.submit(give, (3, length))))
            .into();
        eventually("all are done", || futures.iter().all(|(_, future)| future.is_done()));
        kill_worker(&pool, pid);
        // Another one has the same memory, by its name, and other bytes in it.
        assert!(pool.submit(give, (4, FRAME)).result().unwrap() == pattern(4, FRAME));
        for (length, future) in futures {
            assert!(future.result().unwrap() == pattern(3, length));
        }
    }

    fn a_result_is_good_though_its_pool_is_gone() {
        for is_shut_down in [false, true] {
            let pool = ProcessPoolExecutor::new(2);
            let futures: Vec<_> = (0..20)
                .map(|seed| (seed, pool.submit(give, (seed, length_of(seed)))))
                .collect();
            if is_shut_down {
                pool.blocking_shutdown(Shutdown::new()).unwrap();
            } else {
                eventually("all are done", || futures.iter().all(|(_, future)| future.is_done()));
                drop(pool);
            }
            for (seed, future) in futures {
                assert!(future.result().unwrap() == pattern(seed, length_of(seed)));
            }
        }
    }

    fn many_results_of_several_megabytes_can_wait_too() {
        let pool = ProcessPoolExecutor::new(2);
        let futures: Vec<_> = (0..40)
            .map(|seed| (seed, pool.submit(give, (seed, 4 * MEBIBYTE + seed as usize))))
            .collect();
        eventually("all are done", || futures.iter().all(|(_, future)| future.is_done()));
        for (seed, future) in futures.into_iter().rev() {
            assert!(future.result().unwrap() == pattern(seed, 4 * MEBIBYTE + seed as usize));
        }
    }

    fn a_result_may_be_what_the_argument_was() {
        let pool = ProcessPoolExecutor::new(1);
        let twice = |blob: Blob| (blob.clone(), blob.into_bytes().slice(100..), Bytes::new());
        for round in 0..30 {
            let bytes = pattern(round, MEBIBYTE);
            let (whole, part, _) = pool.submit(twice, Blob::from(bytes.clone())).result().unwrap();
            assert!(whole[..] == bytes[..] && part[..] == bytes[100..]);
        }
    }
}
