//! A sequence of framed items in one buffer: the arguments of a chunk, and its results.
//!
//! An item is a word with its kind (upper half) and its length in bytes (lower half), and then its
//! bytes, filled up to whole words.

use super::ring::Violation;

const WORD: usize = size_of::<u64>();

/// The bytes before those of an item.
pub(super) const HEADER: usize = WORD;

/// The most bytes that one item can have.
pub(super) const MOST_BYTES: u64 = u32::MAX as u64 - 16;

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
    while count < most {
        let Some((_, after)) = split_first(&buffer[end..])? else {
            break;
        };
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
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    fn pushed(items: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut buffer = Vec::new();
        for (kind, bytes) in items {
            push(&mut buffer, *kind, bytes);
        }
        buffer
    }

    fn some_items() -> impl Strategy<Value = Vec<(u32, Vec<u8>)>> {
        vec((any::<u32>(), vec(any::<u8>(), 0..40)), 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_pushed_in_either_way_is_split_again(items in some_items()) {
            let buffer = pushed(&items);
            let mut other = Vec::new();
            for (kind, bytes) in &items {
                push_with(&mut other, |buffer| {
                    buffer.extend_from_slice(bytes);
                    *kind
                });
            }
            prop_assert_eq!(&other, &buffer);
            let mut rest = &buffer[..];
            for (index, (kind, bytes)) in items.iter().enumerate() {
                prop_assert_eq!(skip(&buffer, index), Ok(buffer.len() - rest.len()));
                let (item, after) = split_first(rest).expect("whole").expect("one more");
                prop_assert_eq!(item, Item { kind: *kind, bytes });
                rest = after;
            }
            prop_assert_eq!(split_first(rest), Ok(None));
        }

        #[test]
        fn a_prefix_takes_as_many_items_as_the_limits_allow(
            items in some_items(),
            most in 0..14_usize,
            most_bytes in 0..200_usize,
        ) {
            let buffer = pushed(&items);
            let (count, end) = prefix(&buffer, most, most_bytes).expect("whole");
            prop_assert_eq!(skip(&buffer, count), Ok(end));
            prop_assert!(count <= most && (end <= most_bytes || count == 1));
            if count < most && count < items.len() {
                let next = skip(&buffer, count + 1).expect("one more");
                prop_assert!(count > 0 && next > most_bytes, "one more would have been allowed");
            }
        }

        #[test]
        fn a_buffer_that_is_cut_off_is_refused_where_it_is_cut(items in some_items(), cut in 1..8_usize) {
            let mut buffer = pushed(&items);
            prop_assume!(!buffer.is_empty());
            buffer.truncate(buffer.len() - cut);
            prop_assert!(skip(&buffer, items.len()).is_err());
            prop_assert!(prefix(&buffer, items.len(), usize::MAX).is_err());
        }

        #[test]
        fn any_bytes_are_items_up_to_some_place(
            buffer in vec(prop_oneof![any::<u8>(), Just(0), 0..20_u8], 0..100),
        ) {
            let mut rest = &buffer[..];
            while let Ok(Some((item, after))) = split_first(rest) {
                prop_assert_eq!(rest.len() - after.len(), WORD + item.bytes.len().next_multiple_of(WORD));
                rest = after;
            }
        }
    }
}
