//! A sequence of framed items in one buffer: the arguments of a chunk, and its results.
//!
//! An item is a word with its kind (upper half) and its length in bytes (lower half), and then its
//! bytes, filled up to whole words.

use super::ring::Violation;

const WORD: usize = size_of::<u64>();

/// The bytes before those of an item.
pub(super) const HEADER: usize = WORD;

/// The item is an encoded value.
pub(super) const VALUE: u32 = 0;
/// The item is an encoded error.
pub(super) const ERROR: u32 = 1;

/// One item of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) kind: u32,
    pub(super) bytes: &'a [u8],
}

fn header(kind: u32, length: usize) -> [u8; WORD] {
    let length = u32::try_from(length).expect("an item has less than 4 GiB");
    ((u64::from(kind) << 32) | u64::from(length)).to_le_bytes()
}

/// Appends an item.
pub(super) fn push(buffer: &mut Vec<u8>, kind: u32, bytes: &[u8]) {
    buffer.extend_from_slice(&header(kind, bytes.len()));
    buffer.extend_from_slice(bytes);
    buffer.resize(buffer.len().next_multiple_of(WORD), 0);
}

/// Appends an item whose bytes `write` appends; it says of which kind they are.
pub(super) fn push_with(buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> u32) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; WORD]);
    let kind = write(buffer);
    finish(buffer, start, kind);
}

/// Makes an item of what was appended after a header's room at `start`.
pub(super) fn finish(buffer: &mut Vec<u8>, start: usize, kind: u32) {
    let length = buffer.len() - start - WORD;
    buffer[start..start + WORD].copy_from_slice(&header(kind, length));
    buffer.resize(buffer.len().next_multiple_of(WORD), 0);
}

/// The first item of a buffer, and the rest of it; `None` at the end.
///
/// # Errors
/// If the buffer is no sequence of items.
pub(super) fn split_first(buffer: &[u8]) -> Result<Option<(Item<'_>, &[u8])>, Violation> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let Some((header, rest)) = buffer.split_first_chunk::<WORD>() else {
        return Err(Violation("an item is cut off"));
    };
    let header = u64::from_le_bytes(*header);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    let (kind, length) = ((header >> 32) as u32, header as u32 as usize);
    let Some(padded) = length.checked_next_multiple_of(WORD) else {
        return Err(Violation("an item is longer than its buffer"));
    };
    if padded > rest.len() {
        return Err(Violation("an item is longer than its buffer"));
    }
    let item = Item {
        kind,
        bytes: &rest[..length],
    };
    Ok(Some((item, &rest[padded..])))
}

/// Where the items begin that come after the first `count`.
///
/// # Errors
/// If the buffer has fewer items.
pub(super) fn skip(buffer: &[u8], count: usize) -> Result<usize, Violation> {
    let mut rest = buffer;
    for _ in 0..count {
        match split_first(rest)? {
            Some((_, after)) => rest = after,
            None => return Err(Violation("there are fewer items than said")),
        }
    }
    Ok(buffer.len() - rest.len())
}

/// How many of the first items have at most `most_bytes` together, but at least one and at most
/// `most`, and where they end.
///
/// # Errors
/// If the buffer is no sequence of items.
pub(super) fn prefix(
    buffer: &[u8],
    most: usize,
    most_bytes: usize,
) -> Result<(usize, usize), Violation> {
    let (mut count, mut end) = (0, 0);
    while count < most
        && let Some((_, after)) = split_first(&buffer[end..])?
    {
        let next = buffer.len() - after.len();
        if count > 0 && next > most_bytes {
            break;
        }
        (count, end) = (count + 1, next);
    }
    Ok((count, end))
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_as_they_were_pushed() {
        let mut buffer = Vec::new();
        push(&mut buffer, VALUE, b"");
        push(&mut buffer, ERROR, b"twelve bytes");
        push_with(&mut buffer, |buffer| {
            buffer.push(3);
            VALUE
        });
        let mut found = Vec::new();
        let mut rest = &buffer[..];
        while let Some((item, after)) = split_first(rest).expect("well formed") {
            found.push((item.kind, item.bytes.to_vec()));
            rest = after;
        }
        let expected: [(u32, Vec<u8>); 3] = [
            (VALUE, vec![]),
            (ERROR, b"twelve bytes".to_vec()),
            (VALUE, vec![3]),
        ];
        assert_eq!(found, expected);
        assert_eq!(skip(&buffer, 1), Ok(8));
        assert_eq!(skip(&buffer, 3), Ok(buffer.len()));
        assert!(skip(&buffer, 4).is_err());
    }

    #[test]
    fn lengths_beyond_the_buffer_are_refused() {
        assert!(split_first(&[1, 0, 0]).is_err());
        assert!(split_first(&u64::from(u32::MAX).to_le_bytes()).is_err());
        assert!(split_first(&1_u64.to_le_bytes()).is_err());
    }
}
