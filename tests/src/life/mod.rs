//! The life of a pool of processes as a whole: more workers and fewer, all of them ahead of the work, what
//! each of them is told, what it does last, pools in pools, and copies made by a fork.

mod broadcast;
mod copies;
mod depth;
mod finalizer;
mod resizing;
mod warm_up;

use concurrent_futures::{ProcessPoolExecutor, TaskError, WorkerState};

use crate::harness::{PathGate, eventually};

/// A pool whose workers are there.
fn warm_pool(workers: usize) -> ProcessPoolExecutor {
    let pool = ProcessPoolExecutor::new(workers);
    pool.warm_up().result().expect("all workers start");
    pool
}

/// The process ids of the workers, in the order of their numbers.
fn pids(pool: &ProcessPoolExecutor) -> Vec<u32> {
    pool.worker_stats()
        .iter()
        .map(|worker| worker.pid())
        .collect()
}

fn has_so_many_idle(pool: &ProcessPoolExecutor, count: usize) -> bool {
    let workers = pool.worker_stats();
    let is_idle = |state| state == WorkerState::Idle;
    workers.len() == count && workers.iter().all(|worker| is_idle(worker.state()))
}

fn eventually_idle(pool: &ProcessPoolExecutor, count: usize) {
    eventually("so many workers are idle, and there are no others", || {
        has_so_many_idle(pool, count)
    });
}

/// The texts of the causes.
fn causes(error: &TaskError) -> String {
    let mut texts = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}

fn gates<const N: usize>() -> [PathGate; N] {
    std::array::from_fn(|_| PathGate::new())
}
