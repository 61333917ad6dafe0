//! What pool and worker say to each other: the frames of the two rings, as bytes and back.
//!
//! Large values do not lie in the frame, which says [where](super::large) they are. Where the reader
//! does not have that memory yet, its descriptor comes by the channel, in the order of the frames.

use super::record::Name;
use super::ring::Violation;

/// Frames from the pool.
pub(super) mod task {
    /// Run this.
    pub(crate) const RUN: u32 = 1;
    /// Run this, once, before any task.
    pub(crate) const INITIALIZE: u32 = 2;
    /// Leave: there is nothing more to do.
    pub(crate) const LEAVE: u32 = 3;
    /// Run this, once, when told to leave.
    pub(crate) const FINALIZE: u32 = 4;
}

/// Frames from the worker.
pub(super) mod reply {
    /// The worker has begun, and its initializer, if there is one, has run.
    pub(crate) const READY: u32 = 1;
    /// The initializer failed; the payload is the error.
    pub(crate) const NOT_READY: u32 = 2;
    /// A task has given this value.
    pub(crate) const VALUE: u32 = 3;
    /// A task has given this error; or the contexts of a chunk have when they were left, as its end.
    pub(crate) const ERROR: u32 = 4;
    /// The next item of the chunk that runs has given this value.
    pub(crate) const ITEM_VALUE: u32 = 5;
    /// The next item of the chunk that runs has given this error.
    pub(crate) const ITEM_ERROR: u32 = 6;
    /// The chunk is over.
    pub(crate) const END: u32 = 7;
    /// The finalizer failed; the payload is the error.
    pub(crate) const NOT_FINALIZED: u32 = 8;
    /// The limits of the worker could not be set; the payload is the error.
    pub(crate) const NO_LIMITS: u32 = 9;
    /// Added to a kind of whose value a part lies in the worker's memory.
    pub(crate) const LARGE: u32 = 1 << 8;
    /// Added to the end of a task that has kept a part of its arguments, where they lie.
    pub(crate) const KEPT: u32 = 1 << 9;
}

/// The fields before the arguments of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskHeader {
    pub(super) number: u64,
    pub(super) call: Name,
    /// How many items the arguments are; 0 for a task that is no chunk.
    pub(super) items: u32,
    /// A part of the arguments lies in the pool's memory: where comes before the rest.
    pub(super) is_large: bool,
    /// The worker notes when each item begins.
    pub(super) is_timed: bool,
    /// It is for this worker alone, which runs it even if it begins nothing else any more.
    pub(super) is_pinned: bool,
    /// How many bytes lie between the header and the arguments: what the task carries. Whole words.
    pub(super) carried: u16,
    /// The task's id in the pool's process.
    pub(super) id: u64,
}

const LARGE: u64 = 1 << 32;
const TIMED: u64 = 1 << 33;
const PINNED: u64 = 1 << 34;
const CARRIED_SHIFT: u32 = 48;

impl TaskHeader {
    pub(super) const BYTES: usize = 32;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut flags = u64::from(self.items) | (u64::from(self.carried) << CARRIED_SHIFT);
        if self.is_large {
            flags |= LARGE;
        }
        if self.is_timed {
            flags |= TIMED;
        }
        if self.is_pinned {
            flags |= PINNED;
        }
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.call.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&flags.to_le_bytes());
        bytes[24..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// The header, and what comes after it.
    pub(super) fn split(frame: &[u8]) -> Result<(Self, &[u8]), Violation> {
        let (number, rest) = split_u64(frame)?;
        let (call, rest) = split_u64(rest)?;
        let (flags, rest) = split_u64(rest)?;
        let (id, rest) = split_u64(rest)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half, and the last quarter"
        )]
        let header = Self {
            number,
            call: Name(call),
            items: flags as u32,
            is_large: flags & LARGE != 0,
            is_timed: flags & TIMED != 0,
            is_pinned: flags & PINNED != 0,
            carried: (flags >> CARRIED_SHIFT) as u16,
            id,
        };
        Ok((header, rest))
    }

    /// What comes after the header: what the task carries, and the arguments.
    pub(super) fn split_rest(self, rest: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
        rest.split_at_checked(usize::from(self.carried))
            .ok_or(Violation("a frame is cut off"))
    }
}

/// The fields before the bytes of a result: the task's number, and how long it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyHeader {
    pub(super) number: u64,
    pub(super) nanos: u64,
}

impl ReplyHeader {
    /// Of frames that are about no task.
    pub(super) const NONE: Self = Self {
        number: 0,
        nanos: 0,
    };

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.nanos.to_le_bytes());
        bytes
    }

    pub(super) fn split(frame: &[u8]) -> Result<(Self, &[u8]), Violation> {
        let (number, rest) = split_u64(frame)?;
        let (nanos, rest) = split_u64(rest)?;
        Ok((Self { number, nanos }, rest))
    }
}

/// A number, and what comes after it.
pub(super) fn split_u64(bytes: &[u8]) -> Result<(u64, &[u8]), Violation> {
    match bytes.split_first_chunk() {
        Some((number, rest)) => Ok((u64::from_le_bytes(*number), rest)),
        None => Err(Violation("a frame is cut off")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_header_of_a_task_is_split_as_it_was_written(
            (number, call, id) in any::<(u64, u64, u64)>(),
            (items, carried) in any::<(u32, u16)>(),
            (is_large, is_timed, is_pinned) in any::<(bool, bool, bool)>(),
            arguments in vec(any::<u8>(), 0..20),
        ) {
            let call = Name(call);
            let header = TaskHeader { number, call, items, is_large, is_timed, is_pinned, carried, id };
            let frame = [&header.to_bytes()[..], &arguments].concat();
            prop_assert_eq!(TaskHeader::split(&frame), Ok((header, &arguments[..])));
            let split = header.split_rest(&arguments);
            prop_assert_eq!(split.is_ok(), usize::from(carried) <= arguments.len());
        }

        #[test]
        fn the_header_of_a_reply_is_split_as_it_was_written(
            (number, nanos) in any::<(u64, u64)>(),
            value in vec(any::<u8>(), 0..20),
        ) {
            let header = ReplyHeader { number, nanos };
            let frame = [&header.to_bytes()[..], &value].concat();
            prop_assert_eq!(ReplyHeader::split(&frame), Ok((header, &value[..])));
        }

        #[test]
        fn a_header_that_is_cut_off_is_refused(bytes in vec(any::<u8>(), 0..40)) {
            let length = bytes.len();
            prop_assert_eq!(TaskHeader::split(&bytes).is_ok(), length >= TaskHeader::BYTES);
            prop_assert_eq!(ReplyHeader::split(&bytes).is_ok(), length >= 16);
            prop_assert_eq!(split_u64(&bytes).is_ok(), length >= 8);
        }
    }
}
