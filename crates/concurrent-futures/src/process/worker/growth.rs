//! Whether a worker has more memory of its own than it may keep, looked at now and then.

use crate::process::sys;

/// Between two looks, in nanoseconds: a look takes some microseconds.
const PAUSE: u64 = 5_000_000;

/// The limit, and when to look next. Times are of the monotonic clock, in nanoseconds.
pub(super) struct Growth {
    limit: Option<u64>,
    next_look: u64,
}

impl Growth {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            next_look: 0,
        }
    }

    /// There is a limit: without one no time need be known.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// How many bytes this process has, if that is found to be more than the limit.
    pub(super) fn beyond(&mut self, now: u64) -> Option<u64> {
        let limit = self.limit?;
        if now < self.next_look {
            return None;
        }
        self.next_look = now.saturating_add(PAUSE);
        sys::anonymous_memory().filter(|bytes| *bytes > limit)
    }
}
