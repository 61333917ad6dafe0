//! What a reader has of a shelf, as its owner knows it.

use super::{Lease, SLOTS, Shelf};

/// The memory that one reader was told of.
pub(in crate::process) struct Known([u64; SLOTS]);

impl Default for Known {
    fn default() -> Self {
        Self([0; SLOTS])
    }
}

impl Known {
    /// Whether the reader has this memory.
    pub(in crate::process) fn has(&self, lease: &Lease) -> bool {
        let place = lease.place();
        place.is_some_and(|place| self.0[place.slot] == place.generation)
    }

    /// The reader was told, and keeps it if it is worth that.
    pub(in crate::process) fn learn(&mut self, lease: &Lease) {
        if let Some(place) = lease.place() {
            let is_kept = !lease.is_for_once();
            self.0[place.slot] = if is_kept { place.generation } else { 0 };
        }
    }

    /// The reader could not take it.
    pub(in crate::process) fn forget(&mut self, slot: usize) {
        self.0[slot] = 0;
    }

    /// One bit for each slot: the reader has what is there now, and may be told of it again.
    pub(super) fn alive(&self, shelf: &Shelf) -> u64 {
        let generations = shelf.generations();
        (0..SLOTS)
            .filter(|&slot| self.0[slot] != 0 && self.0[slot] == generations[slot])
            .fold(0, |bits, slot| bits | 1 << slot)
    }
}
