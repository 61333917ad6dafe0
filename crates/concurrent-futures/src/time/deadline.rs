//! A point in time that may lie beyond what the clock can say; then it never comes.

use std::time::{Duration, Instant};

/// When to stop waiting. The monotonic clock counts: setting the wall clock changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    /// `limit` from now; never, where that is beyond the clock (`Duration::MAX`).
    pub(crate) fn after(limit: Duration) -> Self {
        Self::after_instant(Instant::now(), limit)
    }

    pub(crate) fn after_instant(start: Instant, limit: Duration) -> Self {
        Self(start.checked_add(limit))
    }

    pub(crate) fn instant(self) -> Option<Instant> {
        self.0
    }

    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// The time left, `None` for ever.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0
            .map(|at| at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_the_clock_never_comes() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::after(Duration::MAX).left(), None);
        assert!(!Deadline::after(Duration::from_millis(u64::MAX)).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }
}
