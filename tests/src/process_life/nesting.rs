//! Pools inside workers, and copies of a process that has a pool.

use std::time::{Duration, Instant};

use concurrent_futures::{Executor, ProcessPoolExecutor, Rejection, Shutdown, ThreadPoolExecutor};

use crate::harness::tests;

/// The process ids from the depths to here.
fn nest(levels: u32) -> Vec<u32> {
    let mut pids = match levels {
        0 => Vec::new(),
        _ => {
            let pool = ProcessPoolExecutor::new(1);
            pool.submit(nest, levels - 1).result().unwrap()
        }
    };
    pids.push(std::process::id());
    pids
}

fn crash_below() -> bool {
    let pool = ProcessPoolExecutor::new(1);
    let lost = pool
        .submit(|| -> u32 { std::process::abort() }, ())
        .result();
    lost.unwrap_err().is_worker_lost() && pool.submit(u64::pow, (2, 10)).result().unwrap() == 1024
}

fn sum_in_threads(numbers: Vec<u64>) -> u64 {
    let pool = ThreadPoolExecutor::new(2);
    let doubled = pool.map(|n: u64| 2 * n, numbers);
    doubled.into_iter().map(Result::unwrap).sum()
}

/// What a copy of this process ends with, made by `fork` without starting another program.
pub(crate) fn code_of_copy(inside: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: the copy does what many programs do in it, and ends without returning from here.
    let copy = unsafe { libc::fork() };
    assert!(copy >= 0);
    if copy == 0 {
        // SAFETY: it is ended by a signal if it hangs; it never goes on as a second test run.
        unsafe {
            libc::alarm(5);
            libc::_exit(inside());
        }
    }
    let mut status = 0;
    // SAFETY: the place is of the right type, and the copy is a child of this process.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

/// 0 if the pool of another process refuses at once.
fn refusal(pool: &ProcessPoolExecutor) -> i32 {
    let begin = Instant::now();
    match pool.submit(u64::pow, (2, 10)).result() {
        Ok(_) => 1,
        Err(error) if error.rejection() != Some(Rejection::Broken) => 2,
        Err(_) if begin.elapsed() > Duration::from_secs(1) => 3,
        Err(_) => 0,
    }
}

tests! {
    fn a_pool_in_a_worker_of_a_pool_in_a_worker_of_a_pool_works() {
        let pool = ProcessPoolExecutor::new(1);
        let mut pids = pool.submit(nest, 3).result().unwrap();
        assert_eq!(pids.len(), 4);
        pids.push(std::process::id());
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 5, "each is a process of its own");
    }

    fn a_crash_in_a_nested_pool_costs_its_own_task() {
        let pool = ProcessPoolExecutor::new(2);
        assert!(pool.submit(crash_below, ()).result().unwrap());
        assert_eq!(pool.stats().workers(), 1);
    }

    fn a_task_may_have_a_pool_of_threads() {
        let pool = ProcessPoolExecutor::new(1);
        let sum = pool.submit(sum_in_threads, (1..=10).collect::<Vec<u64>>());
        assert_eq!(sum.result().unwrap(), 110);
    }

    fn a_forked_copy_of_the_pool_refuses_at_once_and_the_original_goes_on() {
        let pool = ProcessPoolExecutor::new(1);
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        assert_eq!(code_of_copy(|| refusal(&pool)), Some(0));
        // Nor does dropping or closing the copy touch the workers.
        let copy = pool.clone();
        let closing = || {
            copy.kill_workers();
            drop(copy.blocking_shutdown(Shutdown::new().wait(false)));
            refusal(&copy).min(2)
        };
        assert!(code_of_copy(closing).is_some(), "it hangs");
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
    }

    fn a_copy_that_was_forked_in_a_storm_of_submits_refuses_at_once() {
        let pool = ProcessPoolExecutor::new(2);
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        pool.submit(u64::pow, (2, 10)).result().unwrap();
                    }
                });
            }
            for _ in 0..100 {
                let code = code_of_copy(|| refusal(&pool));
                if code != Some(0) {
                    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
                }
                assert_eq!(code, Some(0), "no code: it was ended since it hung");
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    fn a_copy_that_was_forked_in_a_storm_of_reservations_uses_and_drops_its_permit_at_once() {
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let pool = builder.queue_limit(100).build().unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let codes: Vec<_> = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        drop(pool.try_reserve());
                    }
                });
            }
            let in_copy = || {
                let [used, dropped] = [(); 2].map(|()| pool.try_reserve().unwrap());
                code_of_copy(move || {
                    drop(dropped);
                    let error = used.submit(u64::pow, (2, 10)).result().unwrap_err();
                    i32::from(error.rejection() != Some(Rejection::Broken))
                })
            };
            let codes = (0..40).map(|_| in_copy()).take_while(Option::is_some).collect();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            codes
        });
        assert_eq!(codes, [Some(0); 40], "none: it was ended since it hung");
    }

    fn a_copy_may_have_a_pool_of_its_own() {
        let pool = ProcessPoolExecutor::new(1);
        pool.submit(|| (), ()).result().unwrap();
        let own_pool = || {
            let pool = ProcessPoolExecutor::new(1);
            let value = pool.submit(u64::pow, (2, 10)).result();
            i32::from(value.ok() != Some(1024))
        };
        assert_eq!(code_of_copy(own_pool), Some(0));
    }
}
