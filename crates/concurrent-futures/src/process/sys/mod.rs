//! What worker processes need of Linux: shared memory, futexes, a socket, starting and ending programs, and a
//! worker's life before its loop.
//!
//! Everything here is a thin layer with its safety argument beside it, and knows nothing of tasks. What is unsafe
//! about processes is here, in the rings and in the records, and nowhere else.

mod channel;
mod child;
mod descriptors;
mod entry;
mod fatal;
mod fork;
pub(in crate::process) mod futex;
mod image;
mod large;
mod leave;
mod limits;
mod mark;
mod memory;
mod program;
mod segment;
mod signals;
mod watchdog;

pub(in crate::process) use channel::Channel;
pub(in crate::process) use child::{Child, Exit, Launch, Signal};
pub(in crate::process) use entry::enter_if_worker;
pub(in crate::process) use fatal::{FatalNote, set_fatal_note};
pub(in crate::process) use fork::generation;
pub(in crate::process) use image::image;
pub(in crate::process) use large::{Foreign, Trusted, Writable, copy_of};
pub(in crate::process) use leave::{flush_output, leave};
pub(in crate::process) use limits::{Limits, anonymous_memory};
pub(in crate::process) use mark::{MOST_DEPTH, depth};
pub(in crate::process) use program::{Program, anchor};
pub(in crate::process) use segment::{Segment, Shared};
