//! Worker processes from their start to their end, and what becomes of them when something goes wrong.

mod built_otherwise;
mod conduct;
mod control;
mod death;
mod descriptors;
mod door;
mod environment;
mod hardship;
pub(crate) mod nesting;
mod orphans;
pub(crate) mod programs;
mod refusals;
mod residue;
mod shutdown;
mod start;
mod system;
mod visit;

pub(crate) use programs::{hardship, in_little_memory};
