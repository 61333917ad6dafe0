//! Worker processes from their start to their end, and what becomes of them when something goes wrong.

mod control;
mod death;
mod door;
mod environment;
mod nesting;
mod orphans;
mod programs;
mod refusals;
mod residue;
mod shutdown;
mod start;
mod system;
mod visit;
