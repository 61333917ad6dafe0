//! Deadlines: the arithmetic that never overflows, and the one thread that serves them.

mod deadline;
mod expiry;
mod timer;

pub(crate) use deadline::Deadline;
pub(crate) use expiry::Expiry;
pub(crate) use timer::{Alarm, Timer, schedule};
