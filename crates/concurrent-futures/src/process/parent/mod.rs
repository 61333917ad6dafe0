//! The pool in the process that made it: what is submitted, which worker gets it, what comes back, and
//! who lives and dies.

mod admission;
mod broadcast;
mod callbacks;
mod callsites;
mod collector;
mod cpu_share;
mod large_result;
mod limits;
mod oom_kills;
mod options;
mod output;
mod relay;
mod resizing;
mod shared;
mod state;
mod statistics;
mod supervisor;
mod task;
mod wait_set;
mod worker_state;

pub(super) use cpu_share::of_each as cpus_of_each;
pub(super) use options::Options;
pub(super) use shared::Shared;
pub(super) use task::Arguments;
