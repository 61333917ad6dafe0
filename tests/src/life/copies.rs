//! Copies of a process that has a pool, made by `fork`: nothing hangs in them, and the pool goes on.

use std::time::{Duration, Instant};

use concurrent_futures::{
    AbortOutcome, Executor, ProcessPoolExecutor, Rejection, Shutdown, TaskError, as_completed, wait,
};

use super::{pids, warm_pool};
use crate::harness::{PathGate, pass, tests};
use crate::process_life::nesting::code_of_copy;

/// What is checked in a copy, by its number.
#[derive(Default)]
struct Checks {
    count: i32,
    first_wrong: i32,
}

impl Checks {
    /// This holds, and is over soon.
    fn that(&mut self, holds: impl FnOnce() -> bool) {
        self.count += 1;
        let begin = Instant::now();
        let is_right = holds() && begin.elapsed() < Duration::from_secs(1);
        if !is_right && self.first_wrong == 0 {
            self.first_wrong = self.count;
        }
    }
}

/// The number of the first check that does not hold in a copy, or 0; none if it hangs.
fn first_wrong(inside: impl FnOnce(&mut Checks)) -> Option<i32> {
    code_of_copy(|| {
        let mut checks = Checks::default();
        inside(&mut checks);
        checks.first_wrong
    })
}

fn is_broken<T>(result: Result<T, TaskError>) -> bool {
    result.is_err_and(|error| error.rejection() == Some(Rejection::Broken))
}

tests! {
    fn each_method_of_a_copied_handle_returns_and_touches_nothing() {
        let pool = warm_pool(2);
        let before = pids(&pool);
        let mut copy = Some(pool.clone());
        let code = first_wrong(|check| {
            check.that(|| is_broken(pool.submit(|| (), ()).result()));
            check.that(|| is_broken(pool.submit_fn(|n: u8| n, 1).result()));
            check.that(|| is_broken(pool.map(|n: u8| n, [1, 2]).blocking_next().unwrap()));
            check.that(|| is_broken(pool.warm_up().result()));
            check.that(|| {
                let mut told = pool.broadcast(|| (), ());
                told.len() == 1 && is_broken(told.remove(0).result())
            });
            check.that(|| pool.resize(7).is_ok() && pool.max_workers() == 2);
            check.that(|| pool.stats().workers() == 0 && pool.worker_stats().is_empty());
            check.that(|| is_broken(pool.try_reserve()) && is_broken(pool.blocking_reserve()));
            check.that(|| format!("{pool:?}").contains("ProcessPoolExecutor"));
            check.that(|| {
                pool.terminate_workers();
                pool.kill_workers();
                pool.blocking_shutdown(Shutdown::new()).is_ok()
            });
            check.that(|| {
                drop(copy.take());
                true
            });
        });
        assert_eq!(code, Some(0), "none: it hung");
        assert_eq!(pids(&pool), before);
        let told = pool.broadcast(std::process::id, ());
        let told: Vec<_> = told.into_iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(told, before);
        assert_eq!(pool.max_workers(), 2);
    }

    fn what_was_submitted_before_the_fork_is_no_wait_without_end_in_the_copy() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(1);
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let mut queued: Vec<_> = (0..8_u32).map(|n| pool.submit(|n: u32| n, n)).collect();
        let mut map = pool.map(|n: u32| n, 0..10_u32);
        let mut warm = pool.warm_up();
        let told = pool.broadcast(|| (), ());
        let done = warm.result_timeout(Duration::from_secs(10)).is_ok();
        assert!(done);
        let mut first = queued.remove(0);
        let mut told_there = told.into_iter();
        let mut in_copy = Vec::from_iter(queued.drain(4..));
        let is_abandoned = |error: TaskError| error.is_abandoned();
        let code = first_wrong(|check| {
            let limit = Duration::from_secs(60);
            check.that(|| first.result_timeout(limit).is_err_and(is_abandoned));
            check.that(|| in_copy.pop().unwrap().result().is_err_and(is_abandoned));
            check.that(|| told_there.next().unwrap().result().is_err_and(is_abandoned));
            check.that(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let future = in_copy.pop().unwrap();
                runtime.block_on(future).is_err_and(is_abandoned)
            });
            check.that(|| map.blocking_next().unwrap().is_err_and(is_abandoned));
            check.that(|| running.abort() != AbortOutcome::Finished);
            check.that(|| in_copy.pop().unwrap().cancel());
        });
        assert_eq!(code, Some(0), "none: it hung");
        // In the original, nothing has happened.
        gate.open();
        running.result().unwrap();
        assert_eq!(first.result().unwrap(), 0);
        let others: Vec<_> = queued.into_iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(others, [1, 2, 3, 4]);
        for future in told_there {
            future.result().unwrap();
        }
        assert_eq!(map.into_iter().map(Result::unwrap).sum::<u32>(), 45);
    }

    fn waits_for_several_end_in_the_copy_too() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(1);
        let mut pending: Vec<_> = (0..4).map(|_| pool.submit(pass, gate.door())).collect();
        gate.wait_for(1);
        let code = first_wrong(|check| {
            let is_abandoned = |error: TaskError| error.is_abandoned();
            check.that(|| wait(pending.drain(..2)).blocking_wait().is_err_and(is_abandoned));
            check.that(|| as_completed(pending.drain(..)).blocking_next().is_err_and(is_abandoned));
        });
        assert_eq!(code, Some(0), "none: it hung");
        gate.open();
        for future in pending {
            future.result().unwrap();
        }
    }

    fn a_copy_of_a_copy_is_none_either() {
        let pool = warm_pool(1);
        let inside = || {
            let second = code_of_copy(|| i32::from(!is_broken(pool.warm_up().result())));
            second.unwrap_or(9)
        };
        assert_eq!(code_of_copy(inside), Some(0));
        pool.submit(|| (), ()).result().unwrap();
    }
}
