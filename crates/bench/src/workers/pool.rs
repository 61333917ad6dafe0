//! A pool of worker processes, as the cases use it.

use std::collections::BTreeSet;
use std::future::Future;
use std::hint::black_box;
use std::process;
use std::thread;
use std::time::Duration;

/// How long a task of [`worker_pids`] sleeps.
const NAP: Duration = Duration::from_millis(30);
/// How often [`worker_pids`] tries before it says that workers are missing.
const TRIES: usize = 100;

/// A pool of worker processes.
pub(crate) trait Pool: Sized {
    /// How many tasks may be submitted and not yet over.
    const MOST_AT_ONCE: usize = usize::MAX;

    /// What gives the result of a task.
    type Future;

    /// What a lost task says.
    type Error: std::fmt::Display;

    fn open(workers: usize) -> Self;

    /// Runs [`trivial`] with `number` in a worker.
    fn submit(&self, number: u64) -> Self::Future;

    /// Runs [`nap`] with `milliseconds` in a worker.
    fn submit_nap(&self, milliseconds: u64) -> Self::Future;

    /// Blocks until the task is over.
    fn try_wait(future: Self::Future) -> Result<u64, Self::Error>;

    /// Waits in async code until the task is over.
    fn value(future: Self::Future) -> impl Future<Output = u64>;

    /// Ends the workers, and waits until they are gone.
    fn close(self);

    /// Blocks until the task is over, which returns.
    fn wait(future: Self::Future) -> u64 {
        match Self::try_wait(future) {
            Ok(value) => value,
            Err(error) => panic!("the task returns: {error}"),
        }
    }
}

/// What the tasks do.
pub(super) fn trivial(number: u64) -> u64 {
    black_box(number)
}

/// Keeps a worker busy, and says which one.
pub(super) fn nap(milliseconds: u64) -> u64 {
    thread::sleep(Duration::from_millis(milliseconds));
    process::id().into()
}

/// The ids of all worker processes of a pool, each of which has run a task by then.
///
/// They tell it themselves, in tasks that sleep for a moment, so that one worker does not run all.
pub(crate) fn worker_pids<P: Pool>(pool: &P, workers: usize) -> Vec<u32> {
    let milliseconds = u64::try_from(NAP.as_millis()).expect("a nap is short");
    let mut pids = BTreeSet::new();
    for _ in 0..TRIES {
        let naps: Vec<_> = (0..workers)
            .map(|_| pool.submit_nap(milliseconds))
            .collect();
        pids = naps.into_iter().map(P::wait).collect();
        if pids.len() == workers {
            break;
        }
    }
    assert_eq!(pids.len(), workers, "each worker runs a task");
    pids.into_iter()
        .map(|pid| u32::try_from(pid).expect("an id of a process has 32 bits"))
        .collect()
}
