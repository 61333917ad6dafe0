//! Storms: workers are struck at random times while all kinds of work go on. Every result is exact, what may
//! be run again is, and nothing is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::{
    Clock, Executor, Outcome, ProcessPoolExecutor, Rejection, Shutdown, TaskError, TaskFuture,
    TaskOptions,
};
use fastrand::Rng;
use rustix::process::Signal;

use super::storm::{any_worker, kill, lasting, living_children, random, storm};
use crate::harness::{children, tests};
use crate::process_life::programs::{HARDSHIP, program, said};

/// Between two strikes.
const OFTEN: Duration = Duration::from_millis(20);

fn again() -> TaskOptions {
    TaskOptions::new().retries(1_000)
}

fn square(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(n % 4));
    n.wrapping_mul(n)
}

/// So many tasks whose values are known.
fn squares(pool: &ProcessPoolExecutor, count: u64, random: &mut Rng) {
    let numbers: Vec<u64> = (0..count).map(|_| random.u64(..)).collect();
    let again = pool.with(again());
    let futures: Vec<_> = numbers.iter().map(|n| again.submit(square, *n)).collect();
    for (n, future) in numbers.into_iter().zip(futures) {
        assert_eq!(future.result().unwrap(), n.wrapping_mul(n));
    }
}

/// A text of which each line says where it is. Texts are copied as they are, also where nothing is optimized.
fn text(seed: u64, length: usize) -> String {
    let page = format!("{seed:020}").repeat(200);
    let mut text = String::with_capacity(length + 2 * page.len());
    while text.len() < length {
        text.push_str(&format!("{:010}", text.len()));
        text.push_str(&page);
    }
    text.truncate(length);
    text
}

/// One task of any kind, and what must become of it.
struct Anything {
    future: TaskFuture<u64>,
    is_right: Expectation,
    n: u64,
}

type Expectation = fn(u64, &Result<u64, TaskError>) -> bool;

fn anything(pool: &ProcessPoolExecutor, random: &mut Rng) -> Anything {
    let n = random.u64(..);
    let briefly = Duration::from_millis(random.u64(1..20));
    let for_ever = |n: u64| -> u64 {
        std::thread::sleep(Duration::from_secs(1_000));
        n
    };
    let (future, is_right): (_, Expectation) = match random.u8(..) % 8 {
        0 => {
            let crash = |_: u64| -> u64 { std::process::abort() };
            (pool.submit(crash, n), |_, result| {
                is(result, TaskError::is_worker_lost)
            })
        }
        1 => {
            let panics = |n: u64| -> u64 { panic!("{n} on purpose") };
            (pool.with(again()).submit(panics, n), |_, result| {
                is(result, TaskError::is_panicked)
            })
        }
        2 => {
            let fails = |n: u64| -> Result<u64, String> { Err(n.to_string()) };
            (pool.with(again()).try_submit(fails, n), |_, result| {
                is(result, TaskError::is_failed)
            })
        }
        3 => {
            let limited = again().run_timeout(briefly);
            (pool.with(limited).submit(for_ever, n), |_, result| {
                is(result, |error| error.clock() == Some(Clock::Run))
            })
        }
        4 => {
            let future = pool.with(again()).submit(for_ever, n);
            std::thread::sleep(briefly / 2);
            if !future.cancel() {
                future.abort();
            }
            (future, |_, result| {
                is(result, |error| error.is_aborted() || error.is_cancelled())
            })
        }
        _ => (pool.with(again()).submit(square, n), |n, result| {
            result
                .as_ref()
                .is_ok_and(|value| *value == n.wrapping_mul(n))
        }),
    };
    Anything {
        future,
        is_right,
        n,
    }
}

fn is(result: &Result<u64, TaskError>, what: impl FnOnce(&TaskError) -> bool) -> bool {
    result.as_ref().is_err_and(what)
}

tests! {
    fn in_a_storm_of_kills_thousands_of_tasks_give_their_exact_values() {
        let mut random = random();
        let pool = ProcessPoolExecutor::new(4);
        let kills = storm(&pool, lasting(10), OFTEN, &mut random, kill, |random| {
            squares(&pool, 200, random);
        });
        let stats = pool.stats();
        let done = stats.finished_with(Outcome::Succeeded);
        eprintln!("{kills} kills, {done} tasks, {} retried", stats.retried());
        assert_eq!((stats.submitted(), stats.finished()), (done, done));
        assert!(kills > 100 && done >= 5_000 && stats.retried() > 0);
    }

    fn in_a_storm_of_kills_large_values_arrive_whole() {
        const LARGE: usize = 8 << 20;
        let mut random = random();
        let pool = ProcessPoolExecutor::new(2);
        let answer = |seed: u64, received: String| {
            (received == text(seed, received.len())).then(|| text(seed + 1, received.len()))
        };
        let often = Duration::from_millis(100);
        let kills = storm(&pool, lasting(3), often, &mut random, kill, |random| {
            let again = pool.with(again());
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let (seed, length) = (random.u64(..1 << 60), LARGE - random.usize(..100));
                    (seed, length, again.submit(answer, (seed, text(seed, length))))
                })
                .collect();
            for (seed, length, future) in tasks {
                let answer = future.result().unwrap();
                assert!(answer == Some(text(seed + 1, length)), "other text came");
            }
        });
        assert!(kills > 0 && pool.stats().finished_with(Outcome::Succeeded) > 0);
    }

    fn workers_of_one_task_each_are_never_too_many_in_a_storm() {
        let mut random = random();
        let most = AtomicUsize::new(0);
        let pool = ProcessPoolExecutor::builder().max_workers(3).max_tasks_per_worker(1).build().unwrap();
        let kill = |target, random: &mut Rng| {
            most.fetch_max(living_children(), Ordering::Relaxed);
            kill(target, random);
        };
        storm(&pool, lasting(3), OFTEN, &mut random, kill, |random| squares(&pool, 20, random));
        let stats = pool.stats();
        assert_eq!(stats.finished(), stats.finished_with(Outcome::Succeeded));
        assert!(most.into_inner() <= 3);
    }

    fn workers_that_are_stopped_at_random_cost_no_result() {
        let mut random = random();
        let builder = ProcessPoolExecutor::builder().max_workers(3);
        let pool = builder.stopped_timeout(Duration::from_millis(200)).build().unwrap();
        let stop = |target: super::storm::Target, random: &mut Rng| {
            target.signal(Signal::STOP);
            if random.bool() {
                std::thread::sleep(Duration::from_millis(random.u64(..300)));
                target.signal(Signal::CONT);
            }
        };
        let seldom = Duration::from_millis(300);
        let stops = storm(&pool, lasting(3), seldom, &mut random, stop, |random| {
            squares(&pool, 50, random);
        });
        assert!(stops > 0);
    }

    fn in_a_storm_of_kills_the_items_of_maps_come_in_their_order() {
        let mut random = random();
        let pool = ProcessPoolExecutor::new(3);
        storm(&pool, lasting(2), OFTEN, &mut random, kill, |random| {
            let numbers: Vec<u64> = (0..random.u64(1..400)).map(|_| random.u64(..)).collect();
            let mut mapping = pool.with(again()).mapping();
            if random.bool() {
                mapping = mapping.chunk_size(random.usize(1..50));
            }
            let results: Result<Vec<u64>, _> = mapping.map(square, numbers.clone()).into_iter().collect();
            let expected: Vec<u64> = numbers.iter().map(|n| n.wrapping_mul(*n)).collect();
            assert_eq!(results.unwrap(), expected);
        });
    }

    fn in_a_storm_of_kills_every_kind_of_end_is_told_apart() {
        let mut random = random();
        // A task that panics would not live long enough to look up its symbols.
        let builder = ProcessPoolExecutor::builder().max_workers(3).env("RUST_BACKTRACE", "0");
        let pool = builder.build().unwrap();
        storm(&pool, lasting(3), OFTEN, &mut random, kill, |random| {
            let tasks: Vec<_> = (0..random.usize(1..30)).map(|_| anything(&pool, random)).collect();
            for Anything { future, is_right, n } in tasks {
                let result = future.result();
                assert!(is_right(n, &result), "{n}: {result:?}");
            }
        });
        let stats = pool.stats();
        assert_eq!(stats.submitted(), stats.finished());
    }

    fn a_shutdown_at_any_moment_of_a_storm_leaves_nothing_undone() {
        let mut random = random();
        let begin = std::time::Instant::now();
        while begin.elapsed() < lasting(3) {
            let pool = ProcessPoolExecutor::new(random.usize(1..4));
            let futures: Vec<_> = (0..random.u64(1..40))
                .map(|n| (n, pool.with(again()).submit(square, n)))
                .collect();
            for _ in 0..random.u8(..4) {
                std::thread::sleep(Duration::from_micros(random.u64(..5_000)));
                if let Some(target) = any_worker(&pool, &mut random) {
                    kill(target, &mut random);
                }
            }
            let late = pool.clone();
            match random.u8(..6) {
                0 => pool.blocking_shutdown(Shutdown::new()).unwrap(),
                1 => pool.blocking_shutdown(Shutdown::new().cancel_pending(true)).unwrap(),
                2 => {
                    let deadline = Duration::from_millis(random.u64(1..20));
                    // In time, or not.
                    let _ = pool.blocking_shutdown(Shutdown::new().deadline(deadline));
                }
                3 => pool.kill_workers(),
                4 => pool.terminate_workers(),
                _ => drop(pool.shutdown(Shutdown::new().wait(false))),
            }
            let refused = late.submit(square, 1).result().unwrap_err();
            assert_eq!(refused.rejection(), Some(Rejection::ShutDown), "{refused}");
            drop(pool);
            for (n, future) in futures {
                match future.result() {
                    Ok(value) => assert_eq!(value, n.wrapping_mul(n)),
                    Err(error) => assert!(
                        // Lost, if it waited to be run again.
                        error.is_cancelled() || error.is_aborted() || error.is_worker_lost(),
                        "{error}"
                    ),
                }
            }
            late.blocking_shutdown(Shutdown::new()).unwrap();
            assert!(children().is_empty(), "{:?}", children());
        }
    }

    fn where_starts_fail_now_and_then_all_work_is_done() {
        for limit in ["descriptors-come-and-go", "processes-come-and-go"] {
            let seconds = lasting(2).as_secs().to_string();
            said(program(HARDSHIP, limit).arg(seconds));
        }
    }
}
