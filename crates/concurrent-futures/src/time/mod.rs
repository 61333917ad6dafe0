//! Deadlines: the arithmetic that never overflows, and the one thread that serves them.

mod deadline;
mod timer;

pub(crate) use deadline::Deadline;
pub(crate) use timer::{Alarm, Timer, schedule};
