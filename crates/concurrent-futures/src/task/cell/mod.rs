//! One allocation for a task: its state, its job and then its result, and who waits for it.
//!
//! # Contract
//!
//! Four kinds of handles point to a cell, each counted in its state, and each with rights of its
//! own. The phases and flags are those of the module `state`.
//!
//! | handle | how many | what it may touch |
//! |---|---|---|
//! | [`CellRef`] | any | the header's constants, the extras; makes a task final by winning a claim |
//! | [`Runnable`] → [`Started`] | one, if there is a job | the job, by winning `start`; then the result |
//! | [`Claimable`], [`Remote`] | one, for a promise or a task elsewhere | the result, by winning a claim |
//! | [`ResultRef`] | at most one | the waiter slot while `WAITER` is clear and the phase is not `DONE`; the stage and `taken` from `DONE` on |
//!
//! *Stage.* It holds the job while `QUEUED`, nothing while `RUNNING`, and the result from the
//! moment at which the publisher has written it. The job is dropped in place by who claims the task
//! out of the queue; otherwise it is consumed by its call, so that what it captured is gone before
//! the result can be seen. The result is dropped by its `ResultRef`, unless that one took it or
//! went before the task was done; then the publisher drops it.
//!
//! *Order.* Callbacks run first, then the waiter is told. Both come after `DONE`, on the thread
//! that published.
//!
//! *Foreign code* (bodies, drops, callbacks, wakers, decoders) always runs inside the panic guard
//! and never under a lock.
//!
//! # Why no wake-up is lost
//!
//! The waiter fills the slot and then sets `WAITER`, unless it finds `DONE`; the publisher sets
//! `DONE` and then looks for `WAITER` in the value that it replaced. Both are changes of one word,
//! so one comes second: it sees the other. The same holds for `CALLBACKS`, and for `STOP` with
//! `TOKEN`.

mod claim;
mod current;
mod kind;
mod layout;
mod reference;
mod result;
mod runnable;
mod scoped;
#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests;

pub(in crate::task) use claim::Claimable;
pub(in crate::task) use current::{OnThread, current, tasks_on_this_thread};
pub(in crate::task) use kind::{Decoder, Stored};
pub(in crate::task) use result::ResultRef;

pub(crate) use claim::Remote;
pub(crate) use reference::CellRef;
pub(crate) use runnable::{Recorder, Runnable, Started};

pub use scoped::Scope;
pub(crate) use scoped::{Kept, Lent, Place};
