//! How the shared memory of one worker is laid out.

use super::bell::Bell;
use super::queue::Ring;
use super::slot::Slot;
use crate::process::sys::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::task::StopSource;

/// How many tasks may be handed over to one worker at a time.
pub(in crate::process) const SLOTS: usize = 128;

const TASK_WORDS: usize = 1 << 16;
const RESULT_WORDS: usize = 1 << 16;

/// The most bytes of payload that are put into a frame of tasks, so that several fit.
pub(in crate::process) const TASK_BYTES: usize = TASK_WORDS * size_of::<u64>() / 4;
/// The same for results.
pub(in crate::process) const RESULT_BYTES: usize = RESULT_WORDS * size_of::<u64>() / 4;

/// How many large payloads of a worker may be unread at a time.
pub(in crate::process) const LARGE_SLOTS: usize = 8;

/// Added to the ticket of one whose descriptor was not received, and has to come again.
pub(in crate::process) const AGAIN: u64 = 1 << 63;

/// All that the lane holds.
pub(in crate::process) const LANE_BYTES: usize = LANE_WORDS * size_of::<u64>();
const LANE_WORDS: usize = 1 << 14;

const NOTE_WORDS: usize = 127;

/// All that a pool and one worker share. Any bytes are a valid value.
#[repr(C, align(64))]
pub(in crate::process) struct Memory {
    /// The worker sleeps on it.
    pub(in crate::process) tasks_bell: Padded<Bell>,
    /// The worker sleeps on it while there is no room for its results.
    pub(in crate::process) room_bell: Padded<Bell>,
    /// The pool sleeps on it.
    pub(in crate::process) results_bell: Padded<Bell>,
    pub(in crate::process) last: Padded<Last>,
    pub(in crate::process) note: Note,
    /// For each slot of the worker's large payloads: the ticket of the last that is not read any more.
    pub(in crate::process) returned: [AtomicU64; LARGE_SLOTS],
    slots: [Slot; SLOTS],
    pub(in crate::process) tasks: Ring<TASK_WORDS>,
    pub(in crate::process) results: Ring<RESULT_WORDS>,
    pub(in crate::process) lane: Lane,
}

/// What the worker tells of its events and spans. Nobody waits for room in it.
#[repr(C, align(64))]
pub(in crate::process) struct Lane {
    /// The most verbose level that anybody wants, as a number. The pool writes it.
    pub(in crate::process) level: AtomicU32,
    /// How many records the worker has dropped, for want of room.
    pub(in crate::process) dropped: AtomicU64,
    pub(in crate::process) records: Ring<LANE_WORDS>,
}

/// What a worker says of itself once, when it ends.
#[repr(C)]
pub(in crate::process) struct Last {
    /// What it knows of its death by a signal, as `sys` writes it.
    pub(in crate::process) fatal: AtomicU32,
    /// Not 0 once it begins nothing more, because it has so many bytes of memory.
    pub(in crate::process) outgrown: AtomicU64,
}

/// On a cache line of its own.
#[repr(C, align(64))]
pub(in crate::process) struct Padded<T>(pub(in crate::process) T);

// SAFETY: `repr(C)`, and made of atomics and arrays of such only, for which any bytes are a value.
unsafe impl Shared for Memory {}

impl Memory {
    /// The slot of the task `number`. Tasks are numbered in the order in which they are handed over.
    pub(in crate::process) fn slot(&self, number: u64) -> &Slot {
        #[expect(clippy::cast_possible_truncation, reason = "less than SLOTS")]
        &self.slots[(number % SLOTS as u64) as usize]
    }
}

impl StopSource for Memory {
    fn is_asked_to_stop(&self, number: u64) -> bool {
        self.slot(number).is_asked_to_stop(number)
    }
}

/// What a worker leaves behind to explain its death: the text of a panic, written before it is known
/// whether the panic ends the process.
#[repr(C)]
pub(in crate::process) struct Note {
    /// The length in bytes, or 0.
    length: AtomicU64,
    words: [AtomicU64; NOTE_WORDS],
}

impl Note {
    /// Writes as much of `text` as there is room for.
    pub(in crate::process) fn write(&self, text: &str) {
        let mut end = text.len().min(NOTE_WORDS * size_of::<u64>());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.clear();
        for (word, bytes) in self.words.iter().zip(text.as_bytes()[..end].chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        // Release: the words come first. The reader looks when this process is dead.
        self.length.store(end as u64, Ordering::Release);
    }

    pub(in crate::process) fn clear(&self) {
        self.length.store(0, Ordering::Release);
    }

    /// What was written, made valid where it is not.
    pub(in crate::process) fn read(&self) -> Option<String> {
        let length = usize::try_from(self.length.load(Ordering::Acquire)).ok()?;
        if length == 0 || length > NOTE_WORDS * size_of::<u64>() {
            return None;
        }
        let mut bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        bytes.truncate(length);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}
