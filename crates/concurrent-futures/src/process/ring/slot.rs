//! Who may do what with a task that was handed over, in one word.
//!
//! ```text
//!              worker                worker
//!   HANDED ───────────▶ RUNNING ───────────▶ DONE
//!      │ pool              │ pool
//!      ▼                   ▼
//!    TAKEN             STOPPING
//! ```
//!
//! Each step is one compare-and-swap, so exactly one side wins it. A task that the pool has taken back
//! is never begun; one that it stops gives no result, and the worker that meets `STOPPING` begins
//! nothing more, so that the signal which follows hits this task and never the next one. The upper
//! bits hold the task's number, so that a step meant for one task never applies to its successor in
//! the same slot.

use crate::sync::{AtomicU64, Ordering};

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(in crate::process) enum Phase {
    Handed = 1,
    Running = 2,
    Done = 3,
    Taken = 4,
    Stopping = 5,
}

const PHASE_BITS: u32 = 3;

/// A slot. The first word is the state machine; the others are notes, each written by one side.
#[repr(C, align(64))]
pub(in crate::process) struct Slot {
    state: AtomicU64,
    /// When the task, or the item of a chunk, began, in nanoseconds of the monotonic clock. Written by
    /// the worker.
    begun_at: AtomicU64,
    /// How many items of a chunk have begun. Written by the worker.
    items_begun: AtomicU64,
    /// One more than the number of the task that should stop when it likes. Written by the pool.
    asked: AtomicU64,
}

fn word(number: u64, phase: Phase) -> u64 {
    (number << PHASE_BITS) | phase as u64
}

impl Slot {
    #[cfg(test)]
    pub(in crate::process) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            begun_at: AtomicU64::new(0),
            items_begun: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// One step of the state machine.
    ///
    /// AcqRel: who wins a step sees what the winner of the step before has written.
    fn step(&self, number: u64, from: Phase, to: Phase) -> bool {
        self.state
            .compare_exchange(
                word(number, from),
                word(number, to),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// The pool hands a task over; the slot is free.
    pub(in crate::process) fn hand_over(&self, number: u64) {
        // Relaxed, both: the release of the ring's cursor publishes them with the frame.
        self.items_begun.store(0, Ordering::Relaxed);
        self.state
            .store(word(number, Phase::Handed), Ordering::Relaxed);
    }

    /// The pool takes a task back. False if it has begun.
    #[must_use]
    pub(in crate::process) fn take_back(&self, number: u64) -> bool {
        self.step(number, Phase::Handed, Phase::Taken)
    }

    /// The pool is about to end the worker for the sake of this task. False if it is over, or has not
    /// begun.
    #[must_use]
    pub(in crate::process) fn stop(&self, number: u64) -> bool {
        self.step(number, Phase::Running, Phase::Stopping)
    }

    /// The worker begins a task. False if it was taken back.
    #[must_use]
    pub(in crate::process) fn start(&self, number: u64, now: u64) -> bool {
        // Relaxed: a pool that sees RUNNING may see an older time, and bounds what it reads.
        self.begun_at.store(now, Ordering::Relaxed);
        self.step(number, Phase::Handed, Phase::Running)
    }

    /// The worker has a result. False if the task is being stopped.
    #[must_use]
    pub(in crate::process) fn finish(&self, number: u64) -> bool {
        self.step(number, Phase::Running, Phase::Done)
    }

    /// The worker begins an item of a chunk. False if the task is being stopped.
    #[must_use]
    pub(in crate::process) fn start_item(&self, number: u64, begun: u64, now: u64) -> bool {
        self.begun_at.store(now, Ordering::Relaxed);
        // Release: the results of the items before are published first.
        self.items_begun.store(begun, Ordering::Release);
        self.phase(number) == Some(Phase::Running)
    }

    /// How far the task `number` has come; `None` if the word is not about it.
    pub(in crate::process) fn phase(&self, number: u64) -> Option<Phase> {
        let word = self.state.load(Ordering::Acquire);
        if word >> PHASE_BITS != number & (u64::MAX >> PHASE_BITS) {
            return None;
        }
        Some(match word & ((1 << PHASE_BITS) - 1) {
            1 => Phase::Handed,
            2 => Phase::Running,
            3 => Phase::Done,
            4 => Phase::Taken,
            5 => Phase::Stopping,
            _ => return None,
        })
    }

    pub(in crate::process) fn begun_at(&self) -> u64 {
        self.begun_at.load(Ordering::Relaxed)
    }

    pub(in crate::process) fn items_begun(&self) -> u64 {
        self.items_begun.load(Ordering::Acquire)
    }

    /// The pool asks a task to stop when it likes.
    pub(in crate::process) fn ask_to_stop(&self, number: u64) {
        // Relaxed: it guards nothing but itself.
        self.asked.store(number + 1, Ordering::Relaxed);
    }

    pub(in crate::process) fn is_asked_to_stop(&self, number: u64) -> bool {
        self.asked.load(Ordering::Relaxed) == number + 1
    }
}
