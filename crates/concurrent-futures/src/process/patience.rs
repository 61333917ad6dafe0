//! Whether it pays to look for a moment before going to sleep.
//!
//! Waking a sleeper costs tens of microseconds on many machines, and looking costs somebody's CPU.
//! What pays depends on the machine and on the moment, so it is measured: where work comes while one
//! looks, one looks longer the next time; where it does not, shorter, down to not at all but for a
//! trial now and then.

use std::thread;
use std::time::Duration;

use super::clock;

const LONGEST: Duration = Duration::from_micros(100);
const SHORTEST: Duration = Duration::from_micros(5);

/// After this many sleeps without a look, one is tried.
const TRIAL: u32 = 32;

/// What came one by one, as in a conversation, and not in bulk.
pub(super) const FEW: u32 = 2;

/// How many looks there are between two of the clock.
const LOOKS: u32 = 32;

/// How long one looks before sleeping.
#[derive(Debug)]
pub(in crate::process) struct Patience {
    nanos: u64,
    sleeps_until_trial: u32,
}

impl Patience {
    pub(in crate::process) fn new() -> Self {
        Self {
            nanos: nanos(LONGEST) / 2,
            sleeps_until_trial: TRIAL,
        }
    }

    /// Looks for a while. True if `is_there` became true meanwhile.
    ///
    /// `yields` lets others have the CPU between the looks: where [few](FEW) came last, somebody is
    /// likely to wait for just these, and wants to run before more can come. Where many came, more
    /// come anyway, and each yield would only make the rounds smaller.
    pub(in crate::process) fn look(&mut self, yields: bool, is_there: impl Fn() -> bool) -> bool {
        if self.nanos < nanos(SHORTEST) {
            self.sleeps_until_trial -= 1;
            if self.sleeps_until_trial > 0 {
                return is_there();
            }
            self.sleeps_until_trial = TRIAL;
            self.nanos = nanos(LONGEST) / 2;
        }
        let end = clock::now() + self.nanos;
        let found = loop {
            if (0..LOOKS).any(|_| {
                std::hint::spin_loop();
                is_there()
            }) {
                break true;
            }
            if clock::now() >= end {
                break false;
            }
            if yields {
                thread::yield_now();
            }
        };
        self.nanos = if found {
            (self.nanos * 2).min(nanos(LONGEST))
        } else {
            self.nanos / 2
        };
        found
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
