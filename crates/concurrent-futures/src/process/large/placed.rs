//! Where a payload is, as frames say it.

use super::{Known, Lease, SLOTS};
use crate::process::frame::split_u64;
use crate::process::ring::Violation;

/// Where a large payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Placed {
    pub(in crate::process) slot: usize,
    /// The memory's descriptor comes by the channel.
    pub(in crate::process) is_new: bool,
    /// The memory is not used again, so that it need not be kept.
    pub(in crate::process) is_for_once: bool,
    /// Where the encoded value begins, if it is not in the frame; it ends where all ends.
    pub(in crate::process) value_at: Option<usize>,
    /// How many bytes of the memory are used.
    pub(in crate::process) length: usize,
    /// What is to be said when it is not read any more; 0 for nothing.
    pub(in crate::process) ticket: u64,
    /// A bit for each slot whose memory is still good.
    pub(in crate::process) alive: u64,
}

const NEW: u64 = 1 << 8;
const FOR_ONCE: u64 = 1 << 9;
const VALUE: u64 = 1 << 10;

impl Placed {
    pub(in crate::process) const BYTES: usize = 40;

    /// Of a payload for a reader who knows `known`, and is told of this one now.
    pub(in crate::process) fn of(
        lease: &Lease,
        value_at: Option<usize>,
        ticket: u64,
        known: &mut Known,
    ) -> Self {
        let is_new = !known.has(lease);
        known.learn(lease);
        Self {
            slot: lease.place().map_or(0, |place| place.slot),
            is_new,
            is_for_once: lease.is_for_once(),
            value_at,
            length: lease.length(),
            ticket,
            alive: known.alive(lease.shelf()),
        }
    }

    pub(in crate::process) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut flags = self.slot as u64;
        for (is_set, flag) in [
            (self.is_new, NEW),
            (self.is_for_once, FOR_ONCE),
            (self.value_at.is_some(), VALUE),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        let value_at = self.value_at.unwrap_or(0) as u64;
        let words = [flags, self.length as u64, self.ticket, self.alive, value_at];
        let mut bytes = [0; Self::BYTES];
        for (place, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Where it is, and what comes after that.
    pub(in crate::process) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), Violation> {
        const BEYOND: Violation = Violation("a payload is said to be where none can be");
        let (flags, rest) = split_u64(bytes)?;
        let (length, rest) = split_u64(rest)?;
        let (ticket, rest) = split_u64(rest)?;
        let (alive, rest) = split_u64(rest)?;
        let (value_at, rest) = split_u64(rest)?;
        let number = |number: u64| usize::try_from(number).map_err(|_| BEYOND);
        let (slot, length, value_at) = (number(flags & 0xff)?, number(length)?, number(value_at)?);
        if slot >= SLOTS || value_at > length {
            return Err(BEYOND);
        }
        let placed = Self {
            slot,
            is_new: flags & NEW != 0,
            is_for_once: flags & FOR_ONCE != 0,
            value_at: (flags & VALUE != 0).then_some(value_at),
            length,
            ticket,
            alive,
        };
        Ok((placed, rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_place_is_split_as_it_was_written(
            (slot, is_new, is_for_once) in (0..SLOTS, any::<bool>(), any::<bool>()),
            (length, value_at) in (0..1_usize << 40, proptest::option::of(0..1_usize << 40)),
            (ticket, alive) in any::<(u64, u64)>(),
        ) {
            let value_at = value_at.map(|at| at.min(length));
            let placed = Placed { slot, is_new, is_for_once, value_at, length, ticket, alive };
            let frame = [&placed.to_bytes()[..], &[1, 2]].concat();
            prop_assert_eq!(Placed::split(&frame), Ok((placed, &[1, 2][..])));
        }

        #[test]
        fn no_slot_or_value_is_beyond_the_end(words in proptest::array::uniform5(any::<u64>())) {
            let frame: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            if let Ok((placed, _)) = Placed::split(&frame) {
                prop_assert!(placed.slot < SLOTS);
                prop_assert!(placed.value_at.is_none_or(|at| at <= placed.length));
            }
            prop_assert!(Placed::split(&frame[..Placed::BYTES - 1]).is_err());
        }
    }
}
