//! The one word that says what may be done with a task's cell, and by whom.
//!
//! A task goes through four phases, forward only:
//!
//! ```text
//!            start                    claim                  publish
//!   QUEUED ─────────▶ RUNNING ──────────────▶ COMPLETING ─────────────▶ DONE
//!      └──────────────── claim (cancel, …) ────────▲
//! ```
//!
//! * `QUEUED`: the stage holds the job. Whoever moves the phase on owns the job.
//! * `RUNNING`: the runner takes the job out of the stage, which is empty from then on. Without
//!   [`OUTSIDE`] only the runner may fill it, and it publishes straight from here. With it, others may
//!   claim the task, but nobody does before the runner has taken the job: that is when it starts the
//!   clock that they go by.
//! * `COMPLETING`: the one who claimed fills the stage with the result.
//! * `DONE`: the stage holds the result. It belongs to the future while [`INTEREST`] is set at that
//!   moment, and to the one who published otherwise. Flags below the phase do not change any more,
//!   but for [`TOKEN`], [`STOP`] and [`CALLBACKS`], which are looked at by those who set them.
//!
//! The upper bits count the references to the cell.

use std::fmt;

use super::outcome::Outcome;
use crate::sync::{AtomicU64, Ordering, fence};

const PHASE: u64 = 0b11;
const QUEUED: u64 = 0;
const RUNNING: u64 = 1;
const COMPLETING: u64 = 2;
const DONE: u64 = 3;

/// A future exists that has the right to the result.
pub(super) const INTEREST: u64 = 1 << 2;
/// The waiter slot is filled. Before `DONE`: clear means that the future may write the slot, set
/// that nobody may. From `DONE` on, if set at that moment, the slot belongs to who published.
pub(super) const WAITER: u64 = 1 << 3;
/// There are callbacks in the extras. Set after a callback was put there; whoever of the setter and
/// the publisher comes second in the order of this word's changes sees the other, and runs them.
pub(super) const CALLBACKS: u64 = 1 << 4;
/// There is a token in the extras; the same rule as for [`CALLBACKS`], with [`STOP`].
pub(super) const TOKEN: u64 = 1 << 5;
/// The task was asked to stop.
pub(super) const STOP: u64 = 1 << 6;
/// Others than the runner may make the result: a promise's owner, a run timeout.
pub(super) const OUTSIDE: u64 = 1 << 7;
/// What the future's drop asks for.
pub(super) const CANCEL_ON_DROP: u64 = 1 << 8;
pub(super) const ABORT_ON_DROP: u64 = 1 << 9;

const OUTCOME_SHIFT: u32 = 10;
const OUTCOME: u64 = 0b1111 << OUTCOME_SHIFT;

/// The task runs in another process: its owner knows whether it has begun, and can stop it.
pub(super) const REMOTE: u64 = 1 << 14;

/// The graph of waits knows of the future: a worker's thread has polled it, and it was pending.
pub(super) const LISTED: u64 = 1 << 15;

/// A promise of the pool that owns it: of a place among its tasks while `QUEUED`, of its end while
/// `RUNNING`.
pub(super) const OF_POOL: u64 = 1 << 16;

const REFERENCE: u64 = 1 << 17;
/// More references than memory could hold handles for: something leaks them in a loop.
const TOO_MANY: u64 = 1 << 62;

pub(super) struct State(AtomicU64);

/// What the word said at one moment.
#[derive(Clone, Copy)]
pub(super) struct Snapshot(u64);

/// What the one who published has to do, beyond telling callbacks and waiter.
#[must_use]
pub(super) enum Published {
    /// The future takes the result, nobody waits, and the publisher's reference is given back.
    Quietly,
    /// Somebody is to be told, or the result to be dropped; the publisher still has its reference.
    Observed(Snapshot),
}

impl Snapshot {
    pub(super) fn is_queued(self) -> bool {
        self.0 & PHASE == QUEUED
    }

    pub(super) fn is_unfinished(self) -> bool {
        self.0 & PHASE < COMPLETING
    }

    pub(super) fn is_done(self) -> bool {
        self.0 & PHASE == DONE
    }

    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// How the task ended, if it has.
    pub(super) fn outcome(self) -> Option<Outcome> {
        self.is_done()
            .then(|| Outcome::from_bits((self.0 & OUTCOME) >> OUTCOME_SHIFT))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 & PHASE, self.outcome()) {
            (QUEUED, _) => f.write_str("queued"),
            (_, Some(outcome)) => write!(f, "{outcome:?}"),
            _ => f.write_str("running"),
        }
    }
}

impl State {
    /// A queued task with a future and `references` references.
    pub(super) fn queued(references: u64, flags: u64) -> Self {
        Self(AtomicU64::new(
            QUEUED | INTEREST | flags | (references * REFERENCE),
        ))
    }

    /// A task that is done from the start, with its future as the only reference.
    pub(super) fn done(outcome: Outcome) -> Self {
        Self(AtomicU64::new(
            DONE | INTEREST | ((outcome as u64) << OUTCOME_SHIFT) | REFERENCE,
        ))
    }

    /// Acquire: whoever sees `DONE` reads the result; pairs with the release in [`Self::publish`].
    pub(super) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Changes the word by `change` until it refuses with `None`. The changed-from snapshot is `Ok`,
    /// the refused one `Err`.
    ///
    /// AcqRel: as a release it publishes what the caller has written into slot or stage; as an
    /// acquire it makes visible what the one before it has written there.
    #[inline]
    fn change(&self, mut change: impl FnMut(u64) -> Option<u64>) -> Result<Snapshot, Snapshot> {
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            let Some(next) = change(current) else {
                return Err(Snapshot(current));
            };
            match self
                .0
                .compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(Snapshot(current)),
                Err(actual) => current = actual,
            }
        }
    }

    /// QUEUED → RUNNING. The winner owns the job.
    #[must_use]
    pub(super) fn start(&self) -> bool {
        self.change(|word| (word & PHASE == QUEUED).then_some(word + (RUNNING - QUEUED)))
            .is_ok()
    }

    /// QUEUED → COMPLETING. The winner owns the job and makes the result.
    #[must_use]
    pub(super) fn claim_queued(&self) -> bool {
        self.change(|word| (word & PHASE == QUEUED).then_some(word + (COMPLETING - QUEUED)))
            .is_ok()
    }

    /// RUNNING → COMPLETING. The winner makes the result.
    #[must_use]
    pub(super) fn claim_running(&self) -> bool {
        self.change(|word| (word & PHASE == RUNNING).then_some(word + (COMPLETING - RUNNING)))
            .is_ok()
    }

    /// QUEUED or RUNNING → COMPLETING, for a promise, which has no job.
    #[must_use]
    pub(super) fn claim_unfinished(&self) -> bool {
        self.change(|word| (word & PHASE < COMPLETING).then_some((word & !PHASE) | COMPLETING))
            .is_ok()
    }

    /// COMPLETING (or RUNNING without [`OUTSIDE`]) → DONE, by the one who has filled the stage.
    ///
    /// Where only the future is interested, the publisher's reference goes in the same step.
    #[inline]
    pub(super) fn publish(&self, outcome: Outcome) -> Published {
        let quiet = |word: u64| word & (INTEREST | WAITER | CALLBACKS) == INTEREST;
        let before = self
            .change(|word| {
                debug_assert!(word & PHASE == COMPLETING || word & PHASE == RUNNING);
                let done = word | DONE | ((outcome as u64) << OUTCOME_SHIFT);
                Some(if quiet(word) { done - REFERENCE } else { done })
            })
            .unwrap_or_else(|_| unreachable!("the change is never refused"));
        if quiet(before.0) {
            Published::Quietly
        } else {
            Published::Observed(before)
        }
    }

    /// Says that the waiter slot is filled, unless the task is done.
    #[must_use]
    pub(super) fn set_waiter(&self) -> bool {
        self.change(|word| (word & PHASE != DONE).then_some(word | WAITER))
            .is_ok()
    }

    /// Takes the waiter slot back, unless the task is done.
    #[must_use]
    pub(super) fn unset_waiter(&self) -> bool {
        self.change(|word| (word & PHASE != DONE).then_some(word & !WAITER))
            .is_ok()
    }

    /// Gives up the right to the result, and the waiter slot, unless the task is done.
    pub(super) fn release_interest(&self) -> Result<Snapshot, Snapshot> {
        self.change(|word| (word & PHASE != DONE).then_some(word & !(INTEREST | WAITER)))
    }

    /// Sets flags, and tells what was before.
    ///
    /// AcqRel for the same reasons as in [`Self::change`].
    pub(super) fn set(&self, flags: u64) -> Snapshot {
        Snapshot(self.0.fetch_or(flags, Ordering::AcqRel))
    }

    pub(super) fn unset(&self, flags: u64) {
        self.0.fetch_and(!flags, Ordering::AcqRel);
    }

    pub(super) fn add_reference(&self) {
        // Relaxed: the reference that is copied keeps the cell alive, as in `Arc`.
        if self.0.fetch_add(REFERENCE, Ordering::Relaxed) > TOO_MANY {
            std::process::abort();
        }
    }

    /// True for the last one, who frees the cell.
    #[must_use]
    pub(super) fn drop_reference(&self) -> bool {
        // Release: what this reference did comes before the freeing; pairs with the fence below.
        let before = self.0.fetch_sub(REFERENCE, Ordering::Release);
        if before >= 2 * REFERENCE {
            return false;
        }
        // Acquire: what all the others did comes before the freeing.
        fence(Ordering::Acquire);
        true
    }
}
