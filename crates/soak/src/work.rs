//! What the pools are used for. Each kind checks what becomes of its tasks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use concurrent_futures::{
    Clock, Executor, ProcessPoolExecutor, Shutdown, TaskError, TaskFuture, TaskOptions,
};
use fastrand::Rng;

/// The kinds of work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Values,
    Errors,
    Panics,
    Crashes,
    Retries,
    Aborts,
    Timeouts,
    Maps,
    Large,
    Dropped,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Values,
        Self::Errors,
        Self::Panics,
        Self::Crashes,
        Self::Retries,
        Self::Aborts,
        Self::Timeouts,
        Self::Maps,
        Self::Large,
        Self::Dropped,
    ];
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) tasks: u64,
    /// Workers that were ended, by a task or for its sake.
    pub(crate) workers: u64,
}

pub(crate) fn pool(workers: usize, most_tasks: Option<usize>) -> Result<ProcessPoolExecutor> {
    // Panics on purpose are not to be read.
    let be_quiet = || std::panic::set_hook(Box::new(|_| {}));
    let mut builder = ProcessPoolExecutor::builder()
        .max_workers(workers)
        .initializer(be_quiet, ());
    if let Some(tasks) = most_tasks {
        builder = builder.max_tasks_per_worker(tasks);
    }
    Ok(builder.build()?)
}

fn double(n: u64) -> u64 {
    n.wrapping_mul(2)
}

fn check(n: u64, result: Result<u64, TaskError>) -> Result<()> {
    let value = result.with_context(|| format!("the task of {n}"))?;
    ensure!(value == double(n), "the task of {n} gave {value}");
    Ok(())
}

fn check_error(
    result: Result<u64, TaskError>,
    is_right: impl FnOnce(&TaskError) -> bool,
) -> Result<()> {
    match result {
        Ok(value) => anyhow::bail!("a task gave {value} that was to fail"),
        Err(error) if is_right(&error) => Ok(()),
        Err(error) => Err(error).context("another error was expected"),
    }
}

/// A text of which each part says where it is.
fn text(seed: u64, length: usize) -> String {
    let part = format!("{seed:020}").repeat(200);
    let mut text = String::with_capacity(length + 2 * part.len());
    while text.len() < length {
        text.push_str(&text.len().to_string());
        text.push_str(&part);
    }
    text.truncate(length);
    text
}

/// One batch; when it is over nothing of it runs.
pub(crate) fn do_some(kind: Kind, pool: &ProcessPoolExecutor, random: &mut Rng) -> Result<Done> {
    let n = random.u64(..);
    let few = random.u64(1..10);
    let mut done = Done {
        tasks: few,
        workers: 0,
    };
    let each = |work: &mut dyn FnMut(u64) -> TaskFuture<u64>| -> Vec<TaskFuture<u64>> {
        (0..few)
            .map(|offset| work(n.wrapping_add(offset)))
            .collect()
    };
    let for_ever = |n: u64| -> u64 {
        std::thread::sleep(Duration::from_secs(1_000));
        n
    };
    match kind {
        Kind::Values => {
            done.tasks = random.u64(1..2_000);
            let futures: Vec<_> = (0..done.tasks)
                .map(|offset| n.wrapping_add(offset))
                .map(|n| (n, pool.submit(double, n)))
                .collect();
            for (n, future) in futures {
                check(n, future.result())?;
            }
        }
        Kind::Errors => {
            let fails = |n: u64| -> Result<u64, String> { Err(n.to_string()) };
            for future in each(&mut |n| pool.try_submit(fails, n)) {
                check_error(future.result(), TaskError::is_failed)?;
            }
        }
        Kind::Panics => {
            let panics = |n: u64| -> u64 { panic!("{n}") };
            for future in each(&mut |n| pool.submit(panics, n)) {
                check_error(future.result(), TaskError::is_panicked)?;
            }
        }
        Kind::Crashes => {
            done.workers = few;
            let crashes = |_: u64| -> u64 { std::process::abort() };
            for future in each(&mut |n| pool.submit(crashes, n)) {
                check_error(future.result(), TaskError::is_worker_lost)?;
            }
        }
        Kind::Retries => {
            let dies_at_times = |n: u64| {
                if fastrand::u8(..3) == 0 {
                    std::process::abort();
                }
                double(n)
            };
            let again = pool.with(TaskOptions::new().retries(100));
            let futures = each(&mut |n| again.submit(dies_at_times, n));
            for (offset, future) in (0..).zip(futures) {
                check(n.wrapping_add(offset), future.result())?;
            }
        }
        Kind::Aborts => {
            let futures = each(&mut |n| pool.submit(for_ever, n));
            std::thread::sleep(Duration::from_micros(random.u64(..10_000)));
            for future in &futures {
                done.workers += u64::from(!future.cancel());
                future.abort();
            }
            for future in futures {
                let is_right = |error: &TaskError| error.is_aborted() || error.is_cancelled();
                check_error(future.result(), is_right)?;
            }
        }
        Kind::Timeouts => {
            done.workers = few;
            let limit = Duration::from_millis(random.u64(1..20));
            let limited = pool.with(TaskOptions::new().run_timeout(limit));
            for future in each(&mut |n| limited.submit(for_ever, n)) {
                check_error(future.result(), |error| error.clock() == Some(Clock::Run))?;
            }
        }
        Kind::Maps => {
            done.tasks = random.u64(1..5_000);
            let items = (0..done.tasks).map(|offset| n.wrapping_add(offset));
            for (item, result) in items.clone().zip(pool.map(double, items)) {
                check(item, result)?;
            }
        }
        Kind::Large => {
            let turn = |seed: u64, received: String| {
                let is_right = received == text(seed, received.len());
                is_right.then(|| text(seed ^ 1, received.len()))
            };
            let length = random.usize(1..8 << 20);
            let futures: Vec<_> = (0..few.min(3))
                .map(|seed| (seed, pool.submit(turn, (seed, text(seed, length)))))
                .collect();
            done.tasks = futures.len() as u64;
            for (seed, future) in futures {
                let answer = future.result()?;
                ensure!(answer == Some(text(seed ^ 1, length)), "other text came");
            }
        }
        Kind::Dropped => {
            drop(each(&mut |n| pool.submit(double, n)));
            // Those are before it.
            check(n, pool.submit(double, n).result())?;
            while pool.stats().finished() < pool.stats().submitted() {
                std::thread::yield_now();
            }
        }
    }
    Ok(done)
}

/// A pool that is made, used, and ended in one of the ways there are. Gives how many tasks it had.
pub(crate) fn short_life(random: &mut Rng) -> Result<u64> {
    let pool = pool(random.usize(1..4), None)?;
    let tasks = random.u64(1..50);
    let futures: Vec<_> = (0..tasks).map(|n| pool.submit(double, n)).collect();
    match random.u8(..5) {
        0 => pool.blocking_shutdown(Shutdown::new())?,
        1 => pool.blocking_shutdown(Shutdown::new().cancel_pending(true))?,
        2 => pool.kill_workers(),
        3 => pool.terminate_workers(),
        _ => {}
    }
    let end = pool.shutdown(Shutdown::new());
    drop(pool);
    for (n, future) in (0..).zip(futures) {
        match future.result() {
            Err(error) if error.is_cancelled() || error.is_aborted() => {}
            result => check(n, result)?,
        }
    }
    end.result()?;
    Ok(tasks)
}
