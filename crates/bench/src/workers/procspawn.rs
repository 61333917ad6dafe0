//! The pool of the crate `procspawn`.

use procspawn::{JoinHandle, SpawnError};

use super::pool::{Pool, nap, trivial};

/// `procspawn::Pool`.
pub(crate) struct Procspawn(procspawn::Pool);

impl Procspawn {
    /// For tasks that take and give other values.
    pub(crate) fn pool(&self) -> &procspawn::Pool {
        &self.0
    }
}

impl Pool for Procspawn {
    /// A task that waits holds three descriptors, of which a process often may have 1 024.
    const MOST_AT_ONCE: usize = 200;

    type Future = JoinHandle<u64>;
    type Error = SpawnError;

    fn open(workers: usize) -> Self {
        Self(procspawn::Pool::new(workers).expect("worker processes can be started here"))
    }

    fn submit(&self, number: u64) -> JoinHandle<u64> {
        self.0.spawn(number, trivial)
    }

    fn submit_nap(&self, milliseconds: u64) -> JoinHandle<u64> {
        self.0.spawn(milliseconds, nap)
    }

    fn try_wait(future: JoinHandle<u64>) -> Result<u64, SpawnError> {
        future.join()
    }

    /// It knows blocking waits only. `block_in_place` costs it next to nothing, `spawn_blocking`
    /// would cost it two wake-ups.
    async fn value(future: JoinHandle<u64>) -> u64 {
        tokio::task::block_in_place(|| Self::wait(future))
    }

    fn close(self) {
        // Dropping it kills the workers and reaps them.
    }
}
