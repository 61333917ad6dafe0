//! `concurrent_futures::ProcessPoolExecutor`, by its portable method.

use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown, TaskError, TaskFuture};

use super::pool::{Pool, nap, trivial};

/// Our pool.
pub(crate) struct Ours(ProcessPoolExecutor);

impl Ours {
    /// For tasks that take and give other values.
    pub(crate) fn pool(&self) -> &ProcessPoolExecutor {
        &self.0
    }
}

impl Pool for Ours {
    type Future = TaskFuture<u64>;
    type Error = TaskError;

    fn open(workers: usize) -> Self {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(workers)
            .build()
            .expect("worker processes can be started here");
        Self(pool)
    }

    fn submit(&self, number: u64) -> TaskFuture<u64> {
        self.0.submit(trivial, number)
    }

    fn submit_nap(&self, milliseconds: u64) -> TaskFuture<u64> {
        self.0.submit(nap, milliseconds)
    }

    fn try_wait(future: TaskFuture<u64>) -> Result<u64, TaskError> {
        future.result()
    }

    async fn value(future: TaskFuture<u64>) -> u64 {
        future.await.expect("the task returns")
    }

    fn close(self) {
        self.0
            .blocking_shutdown(Shutdown::new())
            .expect("nothing here is async");
    }
}
