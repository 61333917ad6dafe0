//! The memory that a pool shares with one worker: two rings of frames, a slot for each task that was
//! handed over, and the bells that wake a sleeper.
//!
//! Always: each side keeps its own cursors to itself and never reads them back from the memory; what
//! it reads of the other side's is checked against what it knows; and all of it is atomics, so that
//! whatever the other process writes, and whenever, is a value and never undefined behaviour. No lock
//! is shared between processes.

mod bell;
#[cfg(not(concurrent_futures_loom))]
mod memory;
#[cfg(all(test, concurrent_futures_loom))]
mod models;
mod queue;
mod slot;
#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;
mod word;

#[cfg(not(concurrent_futures_loom))]
pub(super) use bell::Bell;
#[cfg(not(concurrent_futures_loom))]
pub(super) use memory::{
    AGAIN, LANE_BYTES, LARGE_SLOTS, Lane, Memory, RESULT_BYTES, SLOTS, TASK_BYTES,
};
#[cfg(any(all(test, not(concurrent_futures_loom)), fuzzing))]
pub(super) use queue::Ring;
#[cfg(not(concurrent_futures_loom))]
pub(super) use queue::{Reader, Violation, Writer};
#[cfg(not(concurrent_futures_loom))]
pub(super) use slot::Phase;
