//! The bytes of the format, read.
//!
//! Always: knows nothing of serde, and bytes are what a stranger may have written: a count is believed
//! only up to what the bytes that are left can hold.

use super::fault::Fault;
use super::format::{LONG_COUNT, tag};
use super::outside::Outside;

/// What is not read yet.
pub(super) struct Reader<'de> {
    bytes: &'de [u8],
    outside: Option<&'de dyn Outside>,
}

/// Bytes that were read.
pub(super) enum Bytes<'de> {
    InPlace(&'de [u8]),
    Copied(Vec<u8>),
}

impl<'de> Reader<'de> {
    pub(super) fn new(bytes: &'de [u8], outside: Option<&'de dyn Outside>) -> Self {
        Self { bytes, outside }
    }

    #[inline]
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Goes on behind the next tag if it is `tag`.
    #[inline]
    pub(super) fn found(&mut self, tag: u8) -> bool {
        match self.bytes.split_first() {
            Some((&first, rest)) if first == tag => {
                self.bytes = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        let (&first, rest) = self.bytes.split_first().ok_or_else(Fault::ends_early)?;
        self.bytes = rest;
        Ok(first)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (&array, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(Fault::ends_early)?;
        self.bytes = rest;
        Ok(array)
    }

    /// How many bytes or items follow, each of which takes `width` bytes or more.
    #[inline]
    pub(super) fn count(&mut self, width: usize) -> Result<usize, Fault> {
        let count = match self.byte()? {
            LONG_COUNT => usize::try_from(u64::from_le_bytes(self.array()?)).ok(),
            short => Some(usize::from(short)),
        };
        match count {
            Some(count) if count <= self.bytes.len() / width => Ok(count),
            _ => Err(Fault::ends_early()),
        }
    }

    #[inline]
    pub(super) fn slice(&mut self) -> Result<&'de [u8], Fault> {
        let count = self.count(1)?;
        let (slice, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Ok(slice)
    }

    /// Where bytes lie outside.
    fn place(&mut self) -> Result<(&'de dyn Outside, usize, usize), Fault> {
        let mut number =
            || Ok(usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX));
        let (start, length) = (number()?, number()?);
        let outside = self.outside.ok_or_else(nothing_outside)?;
        Ok((outside, start, length))
    }

    /// Bytes outside, as they lie there if that may be.
    pub(super) fn outside(&mut self) -> Result<Bytes<'de>, Fault> {
        let (outside, start, length) = self.place()?;
        match outside.in_place(start, length) {
            Some(bytes) => Ok(Bytes::InPlace(bytes)),
            None => outside
                .copy(start, length)
                .map(Bytes::Copied)
                .ok_or_else(nothing_outside),
        }
    }

    /// A copy of bytes outside.
    pub(super) fn copy_of_outside(&mut self) -> Result<Vec<u8>, Fault> {
        let (outside, start, length) = self.place()?;
        outside.copy(start, length).ok_or_else(nothing_outside)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.slice()?).map_err(|_| Fault::new("a string is not UTF-8"))
    }

    #[inline]
    pub(super) fn character(&mut self) -> Result<char, Fault> {
        char::from_u32(u32::from_le_bytes(self.array()?))
            .ok_or_else(|| Fault::new("a `char` is not a Unicode scalar value"))
    }

    /// Goes behind the next value, however deeply nested, without looking into it.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        let mut values = 1_usize;
        while values > 0 {
            values -= 1;
            let width = match self.byte()? {
                tag::UNIT | tag::NONE | tag::FALSE | tag::TRUE => 0,
                tag::U8 | tag::I8 => 1,
                tag::U16 | tag::I16 => 2,
                tag::U32 | tag::I32 | tag::F32 | tag::CHAR => 4,
                tag::U64 | tag::I64 | tag::F64 => 8,
                tag::U128 | tag::I128 => 16,
                tag::STRING | tag::BYTES | tag::RUN => self.count(1)?,
                tag::BYTES_OUTSIDE | tag::RUN_OUTSIDE => 16,
                tag::SOME => {
                    values += 1;
                    0
                }
                tag::SEQUENCE => {
                    values += self.count(1)?;
                    0
                }
                tag::MAP => {
                    values += 2 * self.count(2)?;
                    0
                }
                other => return Err(Fault::no_tag(other)),
            };
            self.bytes = self.bytes.get(width..).ok_or_else(Fault::ends_early)?;
            // Each value takes a byte or more, so the sum of hostile counts cannot overflow.
            if values > self.bytes.len() {
                return Err(Fault::ends_early());
            }
        }
        Ok(())
    }
}

#[cold]
fn nothing_outside() -> Fault {
    Fault::new("bytes are said to lie where nothing is")
}
