//! The mark in the environment by which a program knows that it was started as a worker, and of whom.
//!
//! The mark alone proves nothing, since anybody can set a variable; what else has to be true is checked by `entry`.
//!
//! It also says how deep the worker is: how many workers lie between the first process and it. A worker remembers
//! that and removes the mark, so that a program which a task starts is a first process again. It decides for itself
//! what it starts, as a script does that calls itself, and a variable that told it would be seen by every other
//! program as well.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable.
pub(super) const VARIABLE: &str = "CONCURRENT_FUTURES_WORKER";

/// This copy's version. Two versions in one program both see the mark.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most workers that may lie between the first process and one that makes a pool. loky allows as many
/// (`LOKY_MAX_DEPTH`).
pub(in crate::process) const MOST_DEPTH: u32 = 10;

static DEPTH: AtomicU32 = AtomicU32::new(0);

/// How deep this process is: 0 if it is no worker.
pub(in crate::process) fn depth() -> u32 {
    // Relaxed, here and below: it is set before any other thread could ask.
    DEPTH.load(Ordering::Relaxed)
}

/// This process is a worker.
pub(super) fn set_depth(depth: u32) {
    DEPTH.store(depth, Ordering::Relaxed);
}

/// `VERSION:ANCHOR:PID:STACK:DEPTH:NAME`, the anchor in hexadecimal, the rest in decimal; the name is last since it
/// may contain anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) version: String,
    /// The anchor's distance from the start of the program, which tells copies of one version apart.
    pub(super) anchor: usize,
    /// The process that started this one.
    pub(super) parent: u32,
    /// Bytes of stack for the thread that runs tasks.
    pub(super) stack_size: usize,
    /// How deep this process is; at least 1.
    pub(super) depth: u32,
    pub(super) name: OsString,
}

impl Mark {
    pub(super) fn to_value(&self) -> OsString {
        let Self {
            version,
            anchor,
            parent,
            stack_size,
            depth,
            name,
        } = self;
        let mut value = OsString::from(format!(
            "{version}:{anchor:x}:{parent}:{stack_size}:{depth}:"
        ));
        // A value in the environment ends at the first of these.
        let name = name.as_bytes().iter().copied().filter(|byte| *byte != 0);
        value.push(OsString::from_vec(name.collect()));
        value
    }

    pub(super) fn from_value(value: &OsStr) -> Option<Self> {
        let mut fields = value.as_bytes().splitn(6, |byte| *byte == b':');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        Some(Self {
            version: field()?.to_owned(),
            anchor: usize::from_str_radix(field()?, 16).ok()?,
            parent: field()?.parse().ok()?,
            stack_size: field()?.parse().ok()?,
            depth: field()?.parse().ok()?,
            name: OsStr::from_bytes(fields.next()?).to_owned(),
        })
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark {
            version: VERSION.to_owned(),
            anchor: 0x1f2e,
            parent: 77,
            stack_size: 1 << 20,
            depth: 3,
            name: OsString::from("worker: 3"),
        };
        assert_eq!(Mark::from_value(&mark.to_value()), Some(mark.clone()));
        let with_nul = Mark {
            name: OsString::from_vec(b"wor\0ker: 3".to_vec()),
            ..mark.clone()
        };
        assert_eq!(Mark::from_value(&with_nul.to_value()), Some(mark));
    }

    #[test]
    fn what_is_no_mark_is_not_read_as_one() {
        for value in [
            "",
            "1",
            "0.1.0:x:1:1:1:n",
            "0.1.0:1:-1:1:1:n",
            "0.1.0:1:1:1:n",
            "0.1.0:1:1:1:1",
        ] {
            assert_eq!(Mark::from_value(OsStr::new(value)), None, "{value}");
        }
    }
}
