//! Workers that do not keep to the rules. The pool goes on: it neither panics nor hangs, it keeps no more
//! memory or descriptors, and what others run gives exact results. The hostile worker is replaced.

use std::fs;
use std::time::Duration;

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Shutdown, TaskError, TaskFuture, TaskOptions,
};
use fastrand::Rng;

use super::attacks::{
    Attack, END, ERROR, ITEM_ERROR, ITEM_VALUE, LARGE, NOT_READY, READY, Sent, VALUE, attack,
};
use super::storm::random;
use crate::harness::{eventually, tests};

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The memory in bytes that this process has for itself.
fn own_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

fn square(n: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(n % 1_000));
    n.wrapping_mul(n)
}

/// What honest tasks give, wherever they run. One that came to a hostile worker is run again.
fn goes_on(pool: &ProcessPoolExecutor, random: &mut Rng) {
    let again = pool.with(TaskOptions::new().retries(100));
    let numbers: Vec<u64> = (0..30).map(|_| random.u64(..)).collect();
    let futures: Vec<_> = numbers.iter().map(|n| again.submit(square, *n)).collect();
    for (n, future) in numbers.into_iter().zip(futures) {
        assert_eq!(future.result().unwrap(), n.wrapping_mul(n));
    }
}

/// What the worker's own task gives is its own affair, but it gives something: within some ten seconds, where
/// the worker only says nothing.
fn end_of(future: TaskFuture<u64>) -> Result<u64, TaskError> {
    future.result()
}

/// The pool bears `rounds` of these, one after the other, and is as it was.
fn bears(rounds: u64, attacks: &[Attack], limit: Option<Duration>) {
    let mut random = random();
    let pool = ProcessPoolExecutor::new(2);
    goes_on(&pool, &mut random);
    let before = own_memory();
    let files = open_files();
    for _ in 0..rounds {
        for &kind in attacks {
            let mut options = TaskOptions::new();
            if let Some(limit) = limit {
                options = options.run_timeout(limit);
            }
            let hostile = pool.with(options).submit(attack, (kind, random.u64(..)));
            goes_on(&pool, &mut random);
            let end = end_of(hostile);
            eprintln!("{kind:?}: {end:?}");
            if let Err(error) = &end {
                assert!(!error.is_panicked(), "{error}");
            }
        }
    }
    goes_on(&pool, &mut random);
    eventually("descriptors are closed", || open_files() <= files + 8);
    let grown = own_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    assert!(pool.worker_stats().len() <= 2);
    pool.blocking_shutdown(Shutdown::new()).unwrap();
}

tests! {
    fn a_worker_that_scribbles_over_all_that_it_shares_harms_itself() {
        let limit = Some(Duration::from_secs(1));
        bears(3, &[Attack::Scribble, Attack::Aim, Attack::Wipe], limit);
    }

    fn a_pool_heals_from_a_thread_that_scribbles_on_after_its_task() {
        let mut random = random();
        let pool = ProcessPoolExecutor::new(2);
        for _ in 0..2 {
            // Whatever this worker says.
            let _ = end_of(pool.submit(attack, (Attack::Linger, random.u64(..))));
            let again = pool.with(TaskOptions::new().retries(100).run_timeout(Duration::from_secs(1)));
            let futures: Vec<_> = (0..30).map(|n| again.submit(square, n)).collect();
            for future in futures {
                let _ = end_of(future);
            }
            std::thread::sleep(Duration::from_millis(60));
        }
        // What was told of before the scribbling ended is read by then, or the worker is gone.
        goes_on(&pool, &mut random);
        goes_on(&pool, &mut random);
    }

    fn a_worker_that_wakes_the_pool_without_end_delays_nothing() {
        bears(2, &[Attack::Ring], None);
    }

    fn a_worker_that_says_what_cannot_be_is_ended() {
        let kinds = [READY, NOT_READY, VALUE, ERROR, ITEM_VALUE, ITEM_ERROR, END, 0, 99, u32::MAX];
        let mut attacks = Vec::new();
        for kind in kinds {
            // The task itself, those before and after it, and none.
            for ahead in [0, 1, 2, u64::MAX, 1 << 60] {
                attacks.push(Attack::Forge(kind, ahead, 24));
            }
            for length in [0, 8, u32::MAX, 1 << 20, 1 << 18] {
                attacks.push(Attack::Forge(kind, 0, length));
            }
            attacks.push(Attack::Flood(kind));
        }
        bears(1, &attacks, None);
    }

    fn a_large_result_that_is_not_what_it_says_is_refused() {
        let mut attacks = vec![Attack::Stuff];
        for length in [0, 1, 200_000, 1 << 31, 1 << 60, u64::MAX] {
            for sent in [Sent::Nothing, Sent::Unsealed, Sent::Short, Sent::Pipe, Sent::Wrong] {
                attacks.push(Attack::Send(length, sent));
            }
        }
        attacks.push(Attack::Forge(ITEM_VALUE | LARGE, 0, 8));
        attacks.push(Attack::Forge(READY | LARGE, 0, 8));
        attacks.push(Attack::Forge(END | LARGE, 0, 24));
        attacks.push(Attack::Stuff);
        bears(1, &attacks, None);
    }

    fn a_worker_that_hangs_up_and_lives_on_is_ended() {
        bears(2, &[Attack::HangUp], None);
    }

    fn a_task_whose_worker_lies_about_how_far_it_has_come_is_stopped_in_its_time() {
        // None of the phases, those that only the pool brings about, and the number of another task.
        let words = [Some(0), Some(4), Some(5), None];
        let attacks: Vec<_> = words.map(Attack::Slot).into_iter().chain([Attack::Now]).collect();
        bears(1, &attacks, Some(Duration::from_millis(50)));
    }

    fn a_worker_that_does_not_begin_what_it_has_or_does_not_give_what_it_announces_is_ended() {
        let (handed, done) = (Some(1), Some(3));
        let pool = ProcessPoolExecutor::new(3);
        let lies = [handed, done].map(|phase| pool.submit(attack, (Attack::Slot(phase), 0)));
        goes_on(&pool, &mut random());
        let [handed, done] = lies;
        let error = done.result().unwrap_err();
        assert!(error.to_string().contains("does not come"), "{error}");
        // To the pool it has not begun, so that it is handed over again, and lies again.
        handed.abort();
        let error = handed.result().unwrap_err();
        assert!(error.is_aborted() || error.is_cancelled(), "{error}");
        goes_on(&pool, &mut random());
        pool.kill_workers();
    }
}
