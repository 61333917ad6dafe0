//! Inside a worker process: what it does from its takeover to its end. Programs see only [`init`].

mod forward;
mod growth;
mod init;
mod large;
mod serve;

pub(super) use init::can_begin;
pub use init::init;
pub(super) use serve::{Hello, serve};
