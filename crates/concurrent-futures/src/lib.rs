//! x
#![allow(unreachable_pub, dead_code)]
mod context;
mod id;
mod panic;
mod sync;
mod time;
