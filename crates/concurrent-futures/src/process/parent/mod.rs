//! The pool in the process that made it: what is submitted, which worker gets it, what comes back, and
//! who lives and dies.

mod admission;
mod callbacks;
mod callsites;
mod collector;
mod limits;
mod options;
mod relay;
mod shared;
mod state;
mod statistics;
mod supervisor;
mod task;
mod wait_set;
mod worker_state;

pub(super) use options::Options;
pub(super) use shared::{Shared, encoded};
