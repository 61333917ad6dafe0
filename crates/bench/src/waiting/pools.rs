//! The ways to fork a branch, to compute the other one in place, and to wait.

use std::future::Future;
use std::pin::Pin;

use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor};
use tokio::runtime::Runtime;

use super::timing::{CUT_OFF, sequential};

/// A pool whose tasks fork tasks in it and wait for them.
pub(super) trait ForkJoin {
    fn open(workers: usize) -> Self;

    /// The Fibonacci number. Above the cut-off, the one two before is forked, and the one before is
    /// computed in place.
    fn fibonacci(&self, number: u64) -> u64;

    /// Counts the tasks of which each forks the next, and waits for it.
    fn recursion(&self, depth: u64) -> u64;

    /// Ends the threads.
    fn close(self);
}

/// `concurrent_futures::ThreadPoolExecutor`: a closure is spawned, and blocked on in its pool.
pub(super) struct Ours(ThreadPoolExecutor);

impl ForkJoin for Ours {
    fn open(workers: usize) -> Self {
        Self(ThreadPoolExecutor::new(workers))
    }

    fn fibonacci(&self, number: u64) -> u64 {
        fn fork(pool: &ThreadPoolExecutor, number: u64) -> u64 {
            if number <= CUT_OFF {
                return sequential(number);
            }
            let inside = pool.clone();
            let forked = pool.spawn(move || fork(&inside, number - 2));
            let here = fork(pool, number - 1);
            here + forked.result().expect("the task returns")
        }
        let inside = self.0.clone();
        let root = self.0.spawn(move || fork(&inside, number));
        root.result().expect("the task returns")
    }

    fn recursion(&self, depth: u64) -> u64 {
        fn descend(pool: &ThreadPoolExecutor, depth: u64) -> u64 {
            if depth == 0 {
                return 0;
            }
            let inside = pool.clone();
            let next = pool.spawn(move || descend(&inside, depth - 1));
            1 + next.result().expect("the task returns")
        }
        descend(&self.0, depth)
    }

    fn close(self) {
        self.0
            .blocking_shutdown(Shutdown::new())
            .expect("nothing here is async");
    }
}

/// `rayon::join` in a pool of rayon.
pub(super) struct RayonJoin(rayon::ThreadPool);

impl ForkJoin for RayonJoin {
    fn open(workers: usize) -> Self {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .build()
            .expect("there are threads");
        Self(pool)
    }

    fn fibonacci(&self, number: u64) -> u64 {
        fn fork(number: u64) -> u64 {
            if number <= CUT_OFF {
                return sequential(number);
            }
            let (here, forked) = rayon::join(|| fork(number - 1), || fork(number - 2));
            here + forked
        }
        self.0.install(|| fork(number))
    }

    fn recursion(&self, depth: u64) -> u64 {
        fn descend(depth: u64) -> u64 {
            if depth == 0 {
                return 0;
            }
            // The second branch is the one that another thread may take.
            let ((), below) = rayon::join(|| (), || descend(depth - 1));
            1 + below
        }
        self.0.install(|| descend(depth))
    }

    fn close(self) {}
}

/// `tokio::spawn` in a runtime of several threads: the tasks are async, and wait without blocking.
pub(super) struct TokioSpawn(Runtime);

type Boxed = Pin<Box<dyn Future<Output = u64> + Send>>;

impl ForkJoin for TokioSpawn {
    fn open(workers: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .build()
            .expect("there are threads");
        Self(runtime)
    }

    fn fibonacci(&self, number: u64) -> u64 {
        fn fork(number: u64) -> Boxed {
            Box::pin(async move {
                if number <= CUT_OFF {
                    return sequential(number);
                }
                let forked = tokio::spawn(fork(number - 2));
                let here = fork(number - 1).await;
                here + forked.await.expect("the task returns")
            })
        }
        let root = self.0.spawn(fork(number));
        self.0.block_on(root).expect("the task returns")
    }

    fn recursion(&self, depth: u64) -> u64 {
        fn descend(depth: u64) -> Boxed {
            Box::pin(async move {
                if depth == 0 {
                    return 0;
                }
                let next = tokio::spawn(descend(depth - 1));
                1 + next.await.expect("the task returns")
            })
        }
        let root = self.0.spawn(descend(depth));
        self.0.block_on(root).expect("the task returns")
    }

    fn close(self) {}
}
