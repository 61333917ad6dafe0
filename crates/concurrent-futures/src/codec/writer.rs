//! The bytes of the format, written.
//!
//! Always: knows nothing of serde, and appends only.

use std::fmt;

use super::format::{LONG_COUNT, LONG_COUNT_WIDTH, tag};
use super::outside::{LEAST_OUTSIDE, Sink};

/// Appends tags, counts and what follows them.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// What takes long runs of bytes.
    sink: Option<&'a mut dyn Sink>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, sink: Option<&'a mut dyn Sink>) -> Self {
        Self { out, sink }
    }

    /// Where the next byte will be.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    #[inline]
    pub(super) fn tag(&mut self, tag: u8) {
        self.out.push(tag);
    }

    /// Appends a tag and its number in one step: `N` is one more than the number's width.
    #[inline]
    pub(super) fn tagged<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.extend_from_slice(&bytes);
    }

    #[inline]
    pub(super) fn count(&mut self, count: usize) {
        if count < usize::from(LONG_COUNT) {
            self.out.push(count as u8);
        } else {
            self.out.extend_from_slice(&long_count(count));
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.within_or_outside(bytes, tag::BYTES, tag::BYTES_OUTSIDE);
    }

    /// A `Vec<u8>`.
    #[inline]
    pub(super) fn run(&mut self, bytes: &[u8]) {
        self.within_or_outside(bytes, tag::RUN, tag::RUN_OUTSIDE);
    }

    #[inline]
    fn within_or_outside(&mut self, bytes: &[u8], within: u8, outside: u8) {
        if bytes.len() >= LEAST_OUTSIDE {
            if let Some(start) = self.sink.as_mut().and_then(|sink| sink.put(bytes)) {
                self.tag(outside);
                self.tagged((start as u64).to_le_bytes());
                self.tagged((bytes.len() as u64).to_le_bytes());
                return;
            }
        }
        self.tag(within);
        self.count(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        self.tag(tag::STRING);
        self.count(text.len());
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Replaces the count at `position`, which was `announced`, by what there really is.
    #[cold]
    pub(super) fn recount(&mut self, position: usize, announced: usize, real: usize) {
        let old = position..position + count_width(announced);
        if real < usize::from(LONG_COUNT) {
            self.out.splice(old, [real as u8]);
        } else {
            self.out.splice(old, long_count(real));
        }
    }
}

/// Text without tag and count, for what is displayed piece by piece.
impl fmt::Write for Writer<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn count_width(count: usize) -> usize {
    if count < usize::from(LONG_COUNT) {
        1
    } else {
        LONG_COUNT_WIDTH
    }
}

fn long_count(count: usize) -> [u8; LONG_COUNT_WIDTH] {
    let mut bytes = [LONG_COUNT; LONG_COUNT_WIDTH];
    bytes[1..].copy_from_slice(&(count as u64).to_le_bytes());
    bytes
}
