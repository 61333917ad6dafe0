//! The pool of processes: the same program started again, memory that is shared with each worker, and
//! two threads that take in results and look after the processes.
//!
//! `parent` is what happens in the process that has the pool, `worker` in the others. Between them lie
//! `ring`, the shared memory; `frame`, `items`, `carried` and `lane`, what is written there; and `record`
//! and `call`, which name a function and call it. `sys` is what all of it needs of the system. A system without
//! worker processes has `elsewhere` instead of this module.

mod builder;
mod call;
mod carried;
mod clock;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod items;
mod lane;
mod large;
mod parent;
mod patience;
mod pool;
mod record;
mod ring;
mod stats;
mod sys;
pub mod worker;

pub use builder::ProcessPoolBuilder;
pub use pool::ProcessPoolExecutor;
pub use stats::{WorkerState, WorkerStats};
