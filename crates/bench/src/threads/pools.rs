//! The ways to run a function on one of two threads and to await what it returns.

use std::future::Future;
use std::sync::Arc;

use concurrent_futures::{Executor, Shutdown, TaskError, TaskFuture, ThreadPoolExecutor};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinError, JoinHandle};

use super::WORKERS;

/// A way to run functions.
pub(crate) trait Pool: Sized {
    /// How many threads the runtime may have for blocking work.
    const BLOCKING_THREADS: usize = 512;

    /// What gives the result of a task.
    type Future: Future;

    /// Called in the runtime in which the tasks are awaited.
    fn open() -> Self;

    /// Runs `function` with `number`.
    fn submit<F>(&self, function: F, number: u64) -> Self::Future
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static;

    /// The task's result.
    fn value(output: <Self::Future as Future>::Output) -> u64;

    /// Ends the threads, as far as they can be waited for.
    fn close(self) {}
}

/// `concurrent_futures::ThreadPoolExecutor`, by its portable method.
pub(super) struct Ours(pub(super) ThreadPoolExecutor);

impl Pool for Ours {
    type Future = TaskFuture<u64>;

    fn open() -> Self {
        Self(ThreadPoolExecutor::new(WORKERS))
    }

    fn submit<F>(&self, function: F, number: u64) -> TaskFuture<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        self.0.submit(function, number)
    }

    fn value(output: Result<u64, TaskError>) -> u64 {
        output.expect("the task returns")
    }

    fn close(self) {
        self.0
            .blocking_shutdown(Shutdown::new())
            .expect("nothing here is async");
    }
}

/// `tokio::task::spawn_blocking`, as it comes: with up to 512 threads.
pub(super) struct SpawnBlocking;

impl Pool for SpawnBlocking {
    type Future = JoinHandle<u64>;

    fn open() -> Self {
        Self
    }

    fn submit<F>(&self, function: F, number: u64) -> JoinHandle<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        tokio::task::spawn_blocking(move || function(number))
    }

    fn value(output: Result<u64, JoinError>) -> u64 {
        output.expect("the task returns")
    }
}

/// `tokio::task::spawn_blocking` in a runtime that has two threads for it.
pub(super) struct SpawnBlockingTwoThreads;

impl Pool for SpawnBlockingTwoThreads {
    const BLOCKING_THREADS: usize = WORKERS;

    type Future = JoinHandle<u64>;

    fn open() -> Self {
        Self
    }

    fn submit<F>(&self, function: F, number: u64) -> JoinHandle<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        SpawnBlocking.submit(function, number)
    }

    fn value(output: Result<u64, JoinError>) -> u64 {
        SpawnBlocking::value(output)
    }
}

/// `tokio::task::spawn_blocking` behind a semaphore, in a task: how it is bounded as a rule.
pub(super) struct SpawnBlockingSemaphore(Arc<Semaphore>);

impl Pool for SpawnBlockingSemaphore {
    type Future = JoinHandle<u64>;

    fn open() -> Self {
        Self(Arc::new(Semaphore::new(WORKERS)))
    }

    fn submit<F>(&self, function: F, number: u64) -> JoinHandle<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        let semaphore = Arc::clone(&self.0);
        tokio::spawn(async move {
            let permit = semaphore.acquire_owned().await.expect("it is never closed");
            let task = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                function(number)
            });
            task.await.expect("the task returns")
        })
    }

    fn value(output: Result<u64, JoinError>) -> u64 {
        output.expect("the task returns")
    }
}

/// A pool of rayon, and a oneshot channel for each task.
///
/// The channel is tokio's, which was faster than that of the futures crate in `bulk` (by a tenth
/// here, by a fifth with the threadpool crate) and as fast in `ping-pong`.
pub(super) struct RayonOneshot(rayon::ThreadPool);

impl Pool for RayonOneshot {
    type Future = oneshot::Receiver<u64>;

    fn open() -> Self {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(WORKERS)
            .build()
            .expect("there are threads");
        Self(pool)
    }

    fn submit<F>(&self, function: F, number: u64) -> oneshot::Receiver<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.0.spawn(move || {
            let _ = sender.send(function(number));
        });
        receiver
    }

    fn value(output: Result<u64, oneshot::error::RecvError>) -> u64 {
        output.expect("the task returns")
    }
}

/// A pool of the threadpool crate, and a oneshot channel for each task.
pub(super) struct ThreadpoolOneshot(threadpool::ThreadPool);

impl Pool for ThreadpoolOneshot {
    type Future = oneshot::Receiver<u64>;

    fn open() -> Self {
        Self(threadpool::ThreadPool::new(WORKERS))
    }

    fn submit<F>(&self, function: F, number: u64) -> oneshot::Receiver<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.0.execute(move || {
            let _ = sender.send(function(number));
        });
        receiver
    }

    fn value(output: Result<u64, oneshot::error::RecvError>) -> u64 {
        output.expect("the task returns")
    }
}

/// `blocking::unblock`, whose pool is that of the whole process.
pub(super) struct BlockingUnblock;

impl Pool for BlockingUnblock {
    type Future = blocking::Task<u64>;

    fn open() -> Self {
        Self
    }

    fn submit<F>(&self, function: F, number: u64) -> blocking::Task<u64>
    where
        F: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        blocking::unblock(move || function(number))
    }

    fn value(output: u64) -> u64 {
        output
    }
}

/// Gives the pool of the crate `blocking` as many threads as the others have.
///
/// To be called before there are other threads.
pub(crate) fn limit_blocking_crate() {
    // SAFETY: there is no other thread yet that could read or write the environment.
    unsafe { std::env::set_var("BLOCKING_MAX_THREADS", WORKERS.to_string()) };
}
