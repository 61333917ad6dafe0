//! The cases `idle-wakeups` and `idle-worker-memory`: what a pool costs that has nothing to do.

use std::thread;
use std::time::Duration;

use crate::settings;
use crate::workers::{Pool, Threads, WORKERS, private_resident_bytes, worker_pids};

/// How long a pool has to come to rest.
const SETTLING: Duration = Duration::from_secs(1);

/// How often the threads of a pool at rest wake up while somebody looks on: all threads of the
/// workers, and all of this process but the one that sleeps here.
pub(super) fn wakeups<P: Pool>(_tasks: u64) -> f64 {
    let time = settings::get().idle_time;
    let pool = P::open(WORKERS);
    let pids = worker_pids(&pool, WORKERS);
    thread::sleep(SETTLING);
    let before = Threads::now(&pids);
    thread::sleep(time);
    let after = Threads::now(&pids);
    pool.close();
    let sleeps = after.sleeps_since(&before);
    let total: u64 = sleeps.iter().map(|(_, sleeps)| sleeps).sum();
    let awake: Vec<_> = sleeps
        .into_iter()
        .filter(|(_, sleeps)| *sleeps > 0)
        .collect();
    if !awake.is_empty() {
        eprintln!("woken within {time:?}: {awake:?}");
    }
    total as f64
}

/// Bytes of memory that a worker at rest has for itself, after a task or a few.
pub(super) fn worker_memory<P: Pool>(_tasks: u64) -> f64 {
    let pool = P::open(WORKERS);
    let pids = worker_pids(&pool, WORKERS);
    thread::sleep(SETTLING / 5);
    let total: u64 = pids.iter().copied().map(private_resident_bytes).sum();
    pool.close();
    total as f64 / WORKERS as f64
}
