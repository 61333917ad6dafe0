//! The service as a process, and clients of all sorts: kind, rude, hostile, and many.

// Worker processes need Linux, and so does looking at them.
#![cfg(target_os = "linux")]

mod answers;
mod clients;
mod command_line;
mod load;
mod pictures;
mod running;
mod shutdown;
mod workers;
