//! A ring of frames with one writer and one reader, in words that two processes share.
//!
//! A frame is a word with its kind (upper half) and the length of its payload in bytes (lower half),
//! and then the payload, filled up to whole words. Positions count words from the beginning of time,
//! and never wrap in practice (2^64 words).
//!
//! The writer publishes a frame by moving the tail (release) after its words; the reader sees the tail
//! (acquire) before it reads them. The reader gives room back by moving the head (release) after it
//! has copied; the writer sees the head (acquire) before it writes there again. So no word is written
//! while an honest reader reads it. A dishonest one harms nobody: the words are atomics, and what it
//! says of its cursor is checked.

use std::fmt;

use super::word::Word;
use crate::sync::{AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// On a cache line of its own, so that the two sides do not disturb each other.
#[repr(C, align(64))]
struct Line(AtomicU64);

/// The shared part. `WORDS` is a power of two.
#[repr(C)]
pub(in crate::process) struct Ring<const WORDS: usize> {
    tail: Line,
    head: Line,
    words: [Word; WORDS],
}

/// What the other side has written cannot be: it is broken, or hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) struct Violation(pub(in crate::process) &'static str);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Violation {}

/// A frame that was read; its payload is where the reader was told to put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) struct Frame {
    pub(in crate::process) kind: u32,
}

impl<const WORDS: usize> Ring<WORDS> {
    const MASK: u64 = {
        assert!(WORDS.is_power_of_two(), "positions are masked");
        WORDS as u64 - 1
    };

    #[cfg(any(test, fuzzing))]
    pub(in crate::process) fn new() -> Self {
        Self {
            tail: Line(AtomicU64::new(0)),
            head: Line(AtomicU64::new(0)),
            words: std::array::from_fn(|_| Word::new(0)),
        }
    }

    #[inline]
    fn word(&self, position: u64) -> &Word {
        // The mask keeps it inside, on 32 bits too.
        #[expect(clippy::cast_possible_truncation, reason = "masked to less than WORDS")]
        &self.words[(position & Self::MASK) as usize]
    }

    /// Whether the other side has published anything beyond what `reader` has read.
    pub(in crate::process) fn has_more_than(&self, reader: &Reader) -> bool {
        // Acquire: pairs with the release of the writer.
        self.tail.0.load(Ordering::Acquire) != reader.head
    }

    /// Where the writer is: all that it has written up to now lies before this.
    pub(in crate::process) fn position(&self) -> u64 {
        // Acquire: pairs with the release of the writer.
        self.tail.0.load(Ordering::Acquire)
    }

    /// Another process scribbles over the cursors.
    #[cfg(any(all(test, not(concurrent_futures_loom)), fuzzing))]
    pub(in crate::process) fn scribble(
        &self,
        tail: u64,
        head: u64,
        words: impl Fn(usize) -> Option<u64>,
    ) {
        self.tail.0.store(tail, Ordering::Relaxed);
        self.head.0.store(head, Ordering::Relaxed);
        for (index, word) in self.words.iter().enumerate() {
            if let Some(value) = words(index) {
                word.store(value);
            }
        }
    }
}

/// How many words a frame with a payload of this many bytes takes.
fn frame_words(bytes: usize) -> u64 {
    1 + bytes.div_ceil(WORD) as u64
}

/// The writing side, with its own cursors.
#[derive(Debug, Default)]
pub(in crate::process) struct Writer {
    tail: u64,
    /// The reader's cursor as it was last seen.
    head: u64,
}

impl Writer {
    /// Whether a frame with a payload of `bytes` fits now.
    ///
    /// # Errors
    /// If the reader's cursor cannot be.
    pub(in crate::process) fn has_room<const WORDS: usize>(
        &mut self,
        ring: &Ring<WORDS>,
        bytes: usize,
    ) -> Result<bool, Violation> {
        let needed = frame_words(bytes);
        if self.tail - self.head + needed <= WORDS as u64 {
            return Ok(true);
        }
        // Acquire: pairs with the release of the reader, which has copied what was there.
        let head = ring.head.0.load(Ordering::Acquire);
        if head < self.head || head > self.tail {
            return Err(Violation("the reader's cursor is where it cannot be"));
        }
        self.head = head;
        Ok(self.tail - self.head + needed <= WORDS as u64)
    }

    /// Writes a frame whose payload is all `parts` together, and publishes it. False if there is no
    /// room for it now. All parts but the last are whole words.
    ///
    /// # Errors
    /// If the reader's cursor cannot be.
    pub(in crate::process) fn write<const WORDS: usize>(
        &mut self,
        ring: &Ring<WORDS>,
        kind: u32,
        parts: &[&[u8]],
    ) -> Result<bool, Violation> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        if !self.has_room(ring, bytes)? {
            return Ok(false);
        }
        let length = u32::try_from(bytes).expect("a ring is far smaller than 4 GiB");
        let header = (u64::from(kind) << 32) | u64::from(length);
        ring.word(self.tail).store(header);
        let mut position = self.tail + 1;
        for part in parts {
            let mut words = part.chunks_exact(WORD);
            for word in &mut words {
                let word = u64::from_le_bytes(word.try_into().expect("a whole word"));
                ring.word(position).store(word);
                position += 1;
            }
            let rest = words.remainder();
            if !rest.is_empty() {
                let mut word = [0; WORD];
                word[..rest.len()].copy_from_slice(rest);
                ring.word(position).store(u64::from_le_bytes(word));
                position += 1;
            }
        }
        debug_assert_eq!(position, self.tail + frame_words(bytes));
        self.tail = position;
        ring.tail.0.store(position, Ordering::Release);
        Ok(true)
    }
}

/// The reading side, with its own cursors.
#[derive(Debug, Default)]
pub(in crate::process) struct Reader {
    head: u64,
    /// The writer's cursor as it was last seen.
    tail: u64,
}

impl Reader {
    /// Whether there is something to read before this position of the writer's.
    pub(in crate::process) fn is_before(&self, position: u64) -> bool {
        self.head < position
    }

    /// Reads the next frame and appends its payload to `out`; `None` if there is none.
    ///
    /// # Errors
    /// If the writer's cursor or the frame's length cannot be; nothing was appended then.
    pub(in crate::process) fn read<const WORDS: usize>(
        &mut self,
        ring: &Ring<WORDS>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Frame>, Violation> {
        if self.head == self.tail {
            // Acquire: pairs with the release of the writer.
            let tail = ring.tail.0.load(Ordering::Acquire);
            if tail.wrapping_sub(self.head) > WORDS as u64 {
                return Err(Violation("the writer's cursor is where it cannot be"));
            }
            self.tail = tail;
            if self.head == tail {
                return Ok(None);
            }
        }
        // Each word is read once, so that it cannot change between the check and the use.
        let header = ring.word(self.head).load();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the two halves of the word"
        )]
        let (kind, bytes) = ((header >> 32) as u32, header as u32 as usize);
        let words = frame_words(bytes);
        if words > self.tail - self.head {
            return Err(Violation("a frame is longer than what was written"));
        }
        let start = out.len();
        out.reserve(bytes.next_multiple_of(WORD));
        for position in self.head + 1..self.head + words {
            let word = ring.word(position).load();
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.truncate(start + bytes);
        self.head += words;
        // Release: the words were copied before the writer sees that there is room.
        ring.head.0.store(self.head, Ordering::Release);
        Ok(Some(Frame { kind }))
    }
}
