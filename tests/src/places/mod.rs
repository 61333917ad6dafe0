//! Back-pressure: limits of what an executor takes, and places that are reserved, waited for and given
//! back.

mod bytes;
mod flow;
mod limits;
mod permits;

use concurrent_futures::{
    Executor as _, ProcessPoolExecutor, Rejection, TaskError, TaskFuture, ThreadPoolExecutor,
};

use crate::harness::{PathGate, Pool, Processes, Threads, pass};

/// A pool that can be limited.
trait Limited: Pool {
    fn limited(workers: usize, queue_limit: usize) -> Self::Executor;
}

impl Limited for Threads {
    fn limited(workers: usize, queue_limit: usize) -> ThreadPoolExecutor {
        let builder = ThreadPoolExecutor::builder().max_workers(workers);
        builder.queue_limit(queue_limit).build().unwrap()
    }
}

impl Limited for Processes {
    fn limited(workers: usize, queue_limit: usize) -> ProcessPoolExecutor {
        let builder = ProcessPoolExecutor::builder().max_workers(workers);
        builder.queue_limit(queue_limit).build().unwrap()
    }
}

/// A pool whose places are all taken by tasks that wait at the gate.
fn full<S: Limited>(
    workers: usize,
    queue_limit: usize,
) -> (S::Executor, PathGate, Vec<TaskFuture<()>>) {
    let pool = S::limited(workers, queue_limit);
    let gate = PathGate::new();
    let tasks = (0..workers + queue_limit)
        .map(|_| pool.submit(pass, gate.door()))
        .collect();
    gate.wait_for(workers);
    (pool, gate, tasks)
}

fn is_full<T>(result: &Result<T, TaskError>) -> bool {
    let error = result.as_ref().err();
    error.and_then(TaskError::rejection) == Some(Rejection::QueueFull)
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1);
    kilobytes.unwrap().parse::<u64>().unwrap() << 10
}
