//! What goes on around the work in a storm: somebody outside of the pool strikes its workers.
//!
//! What happens next is random, from a seed that each test prints. `CHAOS_SEED` sets it. How long storms
//! last is short by default, so that a run of all tests is; `CHAOS_SECONDS` sets it for all of them.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::ProcessPoolExecutor;
use fastrand::Rng;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::harness::children;

fn set<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let value = std::env::var(variable).ok()?;
    let parsed = value.parse().ok();
    assert!(parsed.is_some(), "{variable} is {value:?}, no number");
    parsed
}

/// The random choices of a test.
pub(super) fn random() -> Rng {
    let seed = set("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CHAOS_SEED={seed}");
    Rng::with_seed(seed)
}

/// How long a storm lasts that is to be this long where nothing else is said.
pub(super) fn lasting(seconds: u64) -> Duration {
    Duration::from_secs(set("CHAOS_SECONDS").unwrap_or(seconds))
}

/// For how much longer tests may run, since their storms do.
pub(crate) fn longer() -> Duration {
    Duration::from_secs(set("CHAOS_SECONDS").unwrap_or(0))
}

/// A worker process, held so that it is not taken for another one that gets its number.
pub(super) struct Target {
    descriptor: OwnedFd,
}

impl Target {
    /// None if it is gone.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let number = Pid::from_raw(pid.cast_signed()).expect("a process id");
        let descriptor = pidfd_open(number, PidfdFlags::empty()).ok()?;
        // After it is held: what is a child of ours is a worker, if not the same one.
        let beginning = format!("{pid} (");
        let is_ours = children().iter().any(|stat| stat.starts_with(&beginning));
        is_ours.then_some(Self { descriptor })
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended in between.
        let _ = pidfd_send_signal(&self.descriptor, signal);
    }
}

/// Some worker of the pool, if there is one.
pub(super) fn any_worker(pool: &ProcessPoolExecutor, random: &mut Rng) -> Option<Target> {
    let workers = pool.worker_stats();
    let worker = random.choice(&workers)?;
    Target::of(worker.pid())
}

/// Does `work` again and again, for this time, while a random worker is struck every so often. Gives how
/// many were.
pub(super) fn storm(
    pool: &ProcessPoolExecutor,
    lasts: Duration,
    every: Duration,
    random: &mut Rng,
    mut strike: impl FnMut(Target, &mut Rng) + Send,
    mut work: impl FnMut(&mut Rng),
) -> u64 {
    let is_over = AtomicBool::new(false);
    let mut choices = random.fork();
    std::thread::scope(|scope| {
        let striker = scope.spawn(|| {
            let mut strikes = 0;
            while !is_over.load(Ordering::Relaxed) {
                if let Some(target) = any_worker(pool, &mut choices) {
                    strike(target, &mut choices);
                    strikes += 1;
                }
                std::thread::sleep(every);
            }
            strikes
        });
        let calm = Calm(&is_over);
        let begin = Instant::now();
        while begin.elapsed() < lasts {
            work(random);
        }
        drop(calm);
        striker.join().expect("the striker ends")
    })
}

/// Ends the storm when dropped, also where the work has failed.
struct Calm<'a>(&'a AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The most common strike.
pub(super) fn kill(target: Target, _random: &mut Rng) {
    target.signal(Signal::KILL);
}

/// How many processes of this one's children live.
pub(super) fn living_children() -> usize {
    let is_alive = |stat: &String| {
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().next() != Some("Z")
    };
    children().iter().filter(|stat| is_alive(stat)).count()
}
