//! The thread pool: a queue, and leases on threads that work it off.

mod builder;
mod entry;
mod extra;
mod lease;
#[cfg(all(test, concurrent_futures_loom))]
mod models;
mod pool;
mod queue;
mod scope;
mod shared;
mod slot;
mod spawner;
#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;

pub use builder::ThreadPoolBuilder;
pub use pool::ThreadPoolExecutor;
pub use scope::{Scope, ScopedFuture};
