//! Uses pools of worker processes in all ways, for minutes or hours, and ends with an error if a result is
//! wrong, if something hangs, or if memory, descriptors or threads grow.
//!
//! Work comes in batches. Between two of them nothing runs, and what the process uses is looked at.

mod usage;
mod work;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown};
use fastrand::Rng;

use crate::usage::Usage;
use crate::work::Kind;

/// No batch takes this long.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Between two lines.
const LINE: Duration = Duration::from_secs(5);

/// Uses worker processes in all ways, and looks whether anything grows, hangs or is wrong
#[derive(Debug, Parser)]
struct Arguments {
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Where random choices begin; by default somewhere else each time
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match soak(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is being done, for the watchdog.
#[derive(Default)]
struct Progress {
    batches: AtomicU64,
    now: Mutex<String>,
}

impl Progress {
    fn begin(&self, what: String) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = what;
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the process if no batch has begun for too long.
    fn watch(self: Arc<Self>) {
        std::thread::spawn(move || {
            let mut seen = (self.batches.load(Ordering::Relaxed), Instant::now());
            loop {
                std::thread::sleep(Duration::from_millis(500));
                let batches = self.batches.load(Ordering::Relaxed);
                if batches != seen.0 {
                    seen = (batches, Instant::now());
                } else if seen.1.elapsed() > WATCHDOG {
                    let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("error: it hangs: {now} is not over after {WATCHDOG:?}");
                    std::process::exit(1);
                }
            }
        });
    }
}

/// What there was when it was counted last.
#[derive(Default)]
struct Totals {
    tasks: u64,
    lost: u64,
    retried: u64,
}

fn soak(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let progress = Arc::new(Progress::default());
    Arc::clone(&progress).watch();

    // One whose workers stay, and one whose workers leave after a few tasks.
    let pools = [work::pool(3, None)?, work::pool(2, Some(7))?];
    let mut totals = Totals::default();
    let (begin, lasts) = (
        Instant::now(),
        Duration::from_secs_f64(arguments.minutes * 60.0),
    );
    let mut last_line = (begin, 0);
    let mut samples = Vec::new();
    while begin.elapsed() < lasts {
        for kind in Kind::ALL {
            let pool = random.choice(&pools).unwrap_or(&pools[0]);
            batch(kind, pool, &mut random, &progress, &mut totals)?;
        }
        progress.begin("a pool of its own".to_owned());
        totals.tasks += work::short_life(&mut random)?;
        samples.push((begin.elapsed(), Usage::now()?));
        if last_line.0.elapsed() >= LINE {
            let stats: Vec<_> = pools.iter().map(ProcessPoolExecutor::stats).collect();
            totals.retried = stats.iter().map(|stats| stats.retried()).sum();
            print_line(begin.elapsed(), &totals, last_line);
            last_line = (Instant::now(), totals.tasks);
        }
    }
    for pool in &pools {
        pool.blocking_shutdown(Shutdown::new())?;
        let stats = pool.stats();
        ensure!(
            stats.submitted() == stats.finished(),
            "{} tasks were submitted, and {} are finished",
            stats.submitted(),
            stats.finished()
        );
    }
    usage::check(&samples)
}

fn batch(
    kind: Kind,
    pool: &ProcessPoolExecutor,
    random: &mut Rng,
    progress: &Progress,
    totals: &mut Totals,
) -> Result<()> {
    progress.begin(format!("{kind:?}"));
    let lost = work::do_some(kind, pool, random)?;
    totals.tasks += lost.tasks;
    totals.lost += lost.workers;
    Ok(())
}

fn print_line(time: Duration, totals: &Totals, before: (Instant, u64)) {
    let usage = Usage::now().map_or_else(|error| error.to_string(), |usage| usage.to_string());
    let rate = (totals.tasks - before.1) as f64 / before.0.elapsed().as_secs_f64();
    println!(
        "{:>6.0} s {:>10} tasks {rate:>8.0}/s {:>6} workers lost {:>6} retried {usage}",
        time.as_secs_f64(),
        totals.tasks,
        totals.lost,
        totals.retried,
    );
}
