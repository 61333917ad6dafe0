//! The pool of processes: the same program started again, memory that is shared with each worker, and
//! two threads that take in results and look after the processes.

#[cfg(not(concurrent_futures_loom))]
mod builder;
#[cfg(not(concurrent_futures_loom))]
mod call;
#[cfg(not(concurrent_futures_loom))]
mod callbacks;
#[cfg(not(concurrent_futures_loom))]
mod clock;
#[cfg(not(concurrent_futures_loom))]
mod collector;
#[cfg(not(concurrent_futures_loom))]
mod frame;
#[cfg(not(concurrent_futures_loom))]
mod items;
#[cfg(not(concurrent_futures_loom))]
mod options;
#[cfg(not(concurrent_futures_loom))]
mod patience;
#[cfg(not(concurrent_futures_loom))]
mod pool;
#[cfg(not(concurrent_futures_loom))]
mod record;
mod ring;
#[cfg(not(concurrent_futures_loom))]
mod shared;
#[cfg(not(concurrent_futures_loom))]
mod state;
#[cfg(not(concurrent_futures_loom))]
mod stats;
#[cfg(not(concurrent_futures_loom))]
mod supervisor;
#[cfg(not(concurrent_futures_loom))]
mod sys;
#[cfg(not(concurrent_futures_loom))]
mod task;
#[cfg(not(concurrent_futures_loom))]
mod wait_set;
#[cfg(not(concurrent_futures_loom))]
pub mod worker;
#[cfg(not(concurrent_futures_loom))]
mod worker_state;

#[cfg(not(concurrent_futures_loom))]
pub use builder::ProcessPoolBuilder;
#[cfg(not(concurrent_futures_loom))]
pub use pool::ProcessPoolExecutor;
#[cfg(not(concurrent_futures_loom))]
pub use stats::{WorkerState, WorkerStats};
