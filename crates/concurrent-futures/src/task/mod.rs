//! A task and everything that holds on to it: its cell, its future, its promise and its waiters. Also what the
//! task sees of itself while it runs, which is the [`current`] task.

mod cell;
mod current;
mod extras;
mod future;
#[cfg(all(test, concurrent_futures_loom))]
mod models;
mod outcome;
mod owner;
mod payload;
mod promise;
mod shared;
mod state;
mod waitable;
mod waiter;
mod waiting;

pub use cell::Scope;
pub use current::{CurrentTask, current};
pub(crate) use current::{RemoteCurrent, StopSource};
pub use future::{AbortOutcome, TaskFuture, TaskHandle};
pub use outcome::{Outcome, TaskInfo};
pub use promise::Promise;
pub use shared::SharedTaskFuture;
pub use waitable::Waitable;

pub(crate) use cell::{CellRef, Kept, Lent, Place, Recorder, Remote, Runnable, Started};
pub(crate) use extras::{Environment, Extras};
pub(crate) use owner::{Owner, Registration, register};
pub(crate) use payload::{Elsewhere, Encoded, Payload};
pub(crate) use waitable::sealed::Waits;
pub(crate) use waiter::Sink;
pub(crate) use waiting::{
    Extra, Foreign, Leave, Listing, Member, Pool, Runner, Strength, Wait, block_until,
    blocked_members, current_pool, look_again, prepare,
};
