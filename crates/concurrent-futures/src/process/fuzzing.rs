//! The entry of the fuzzer: decodes bytes as everything that comes from another process.
//!
//! Always: whatever the bytes are, nothing panics, nothing goes on for ever, and what the decoders
//! accept is consistent. The tests run the fuzzer's corpus through the same function.

use std::collections::{BTreeMap, VecDeque};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::call::{decode_error, encode_error};
use super::carried;
use super::frame::{ReplyHeader, TaskHeader};
use super::items;
use super::ring::{Reader, Ring, Writer};
use crate::codec;

/// The words of the ring that is read and written here: few, so that its edge is always near.
const WORDS: usize = 8;

/// Decodes `bytes`; the first says as what.
///
/// # Panics
/// If a decoder accepts what contradicts itself: a defect.
pub fn decode_anything(bytes: &[u8]) {
    let Some((way, bytes)) = bytes.split_first() else {
        return;
    };
    match way % 6 {
        0 => split_headers(bytes),
        1 => split_items(bytes),
        2 => read_from_the_hostile(bytes),
        3 => write_to_the_hostile(bytes),
        4 => write_and_read(bytes),
        _ => decode_values(bytes),
    }
}

/// A header that is accepted says the same when it is written and split again.
fn split_headers(bytes: &[u8]) {
    match TaskHeader::split(bytes) {
        Ok((header, rest)) => {
            assert_eq!(rest, &bytes[TaskHeader::BYTES..]);
            let written = header.to_bytes();
            assert_eq!(TaskHeader::split(&written), Ok((header, &[][..])));
            if let Ok((carried, arguments)) = header.split_rest(rest) {
                assert_eq!(carried.len() + arguments.len(), rest.len());
                let _ = carried::name_in(carried);
            }
        }
        Err(_) => assert!(bytes.len() < TaskHeader::BYTES),
    }
    match ReplyHeader::split(bytes) {
        Ok((header, rest)) => {
            assert_eq!(bytes, [&header.to_bytes()[..], rest].concat());
        }
        Err(_) => assert!(bytes.len() < size_of::<ReplyHeader>()),
    }
}

/// Items are whole words, one after the other; those that are accepted can be pushed again.
fn split_items(bytes: &[u8]) {
    let Some((&limit, buffer)) = bytes.split_first() else {
        return;
    };
    let mut ends = vec![0];
    let mut again = Vec::new();
    let mut rest = buffer;
    let is_whole = loop {
        match items::split_first(rest) {
            Ok(Some((item, after))) => {
                assert!(after.len() < rest.len(), "it comes to an end");
                items::push(&mut again, item.kind, item.bytes);
                rest = after;
                ends.push(buffer.len() - rest.len());
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let count = ends.len() - 1;
    let end = ends[count];
    assert_eq!(again.len(), end);
    assert!(!is_whole || end == buffer.len());
    for (skipped, &end) in ends.iter().enumerate() {
        assert_eq!(items::skip(buffer, skipped), Ok(end));
    }
    assert!(items::skip(buffer, count + 1).is_err());
    let (most, most_bytes) = (usize::from(limit % 8), usize::from(limit / 8) * 8);
    if let Ok((taken, end)) = items::prefix(buffer, most, most_bytes) {
        assert!(taken <= most && ends[taken] == end);
        assert!(end <= most_bytes || taken == 1);
    }
}

/// The next 8 bytes as a number, fewer at the end.
fn next_word(bytes: &mut &[u8]) -> u64 {
    let mut word = [0; 8];
    let length = bytes.len().min(word.len());
    let (head, rest) = bytes.split_at(length);
    word[..length].copy_from_slice(head);
    *bytes = rest;
    u64::from_le_bytes(word)
}

/// Overwrites the cursors, and the words for which there are bytes left.
fn scribble(ring: &Ring<WORDS>, bytes: &mut &[u8]) {
    let (tail, head) = (next_word(bytes), next_word(bytes));
    let words: Vec<Option<u64>> = (0..WORDS)
        .map(|_| (!bytes.is_empty()).then(|| next_word(bytes)))
        .collect();
    ring.scribble(tail, head, |index| words[index]);
}

/// Both sides after some honest frames of a word, so that the cursors are beyond the beginning.
fn after_frames(count: u8) -> (Ring<WORDS>, Writer, Reader) {
    let ring = Ring::new();
    let (mut writer, mut reader) = (Writer::default(), Reader::default());
    for kind in 0..u32::from(count % 32) {
        assert_eq!(writer.write(&ring, kind, &[]), Ok(true));
        let frame = reader.read(&ring, &mut Vec::new());
        assert!(matches!(frame, Ok(Some(frame)) if frame.kind == kind));
    }
    (ring, writer, reader)
}

/// Between any two changes the ring holds at most its words, and a violation appends nothing.
fn read_from_the_hostile(bytes: &[u8]) {
    let Some((&count, mut bytes)) = bytes.split_first() else {
        return;
    };
    let (ring, _, mut reader) = after_frames(count);
    while !bytes.is_empty() {
        scribble(&ring, &mut bytes);
        let mut out = Vec::new();
        // What was seen before, and what is seen now.
        let mut words = 0;
        loop {
            let before = out.len();
            match reader.read(&ring, &mut out) {
                Ok(Some(_)) => {
                    words += 1 + (out.len() - before).div_ceil(8);
                    assert!(words <= 2 * WORDS, "more than the ring holds");
                }
                Ok(None) => break,
                Err(_) => {
                    assert_eq!(out.len(), before);
                    break;
                }
            }
        }
    }
}

/// What the writer believes of the reader never lets it write more than the ring has: once for what it
/// had seen before, and once for what it sees now.
fn write_to_the_hostile(bytes: &[u8]) {
    let Some((&count, mut bytes)) = bytes.split_first() else {
        return;
    };
    let (ring, mut writer, _) = after_frames(count);
    while !bytes.is_empty() {
        scribble(&ring, &mut bytes);
        let length = usize::from(bytes.first().copied().unwrap_or(0)) % (8 * WORDS);
        let mut written = 0;
        while let Ok(true) = writer.write(&ring, 1, &[&[1; 8 * WORDS][..length]]) {
            written += 1 + length.div_ceil(8);
            assert!(written <= 2 * WORDS, "nobody has made room");
        }
        assert_ne!(writer.has_room(&ring, 8 * WORDS), Ok(true));
    }
}

/// Each byte is a frame to write, or asks for one to be read; a queue says what must come of it.
fn write_and_read(bytes: &[u8]) {
    let ring = Ring::<WORDS>::new();
    let (mut writer, mut reader) = (Writer::default(), Reader::default());
    let mut expected = VecDeque::new();
    let mut used = 0;
    for (step, &byte) in bytes.iter().enumerate() {
        if byte & 0x80 == 0 {
            let payload: Vec<u8> = (0..byte % 64).map(|index| index ^ byte).collect();
            let words = 1 + payload.len().div_ceil(8);
            let kind = u32::try_from(step).unwrap_or(u32::MAX);
            let (first, second) = payload.split_at(payload.len() / 16 * 8);
            let is_written = writer.write(&ring, kind, &[first, second]);
            assert_eq!(is_written, Ok(used + words <= WORDS));
            if is_written == Ok(true) {
                used += words;
                expected.push_back((kind, payload));
            }
        } else {
            let mut payload = Vec::new();
            let frame = reader.read(&ring, &mut payload);
            let found = frame.map(|frame| frame.map(|frame| (frame.kind, payload)));
            let next: Option<(u32, Vec<u8>)> = expected.pop_front();
            used -= next
                .as_ref()
                .map_or(0, |(_, payload)| 1 + payload.len().div_ceil(8));
            assert_eq!(found, Ok(next));
        }
        assert_eq!(ring.has_more_than(&reader), !expected.is_empty());
    }
}

/// What can be decoded says the same when it is encoded and decoded again.
fn decode_values(bytes: &[u8]) {
    let _ = codec::decode::<IgnoredAny>(bytes);
    crosses_again::<Record>(bytes);
    crosses_again::<Shape>(bytes);
    crosses_again::<Untagged>(bytes);
    crosses_again::<Vec<(char, Option<Option<f32>>)>>(bytes);
    crosses_again::<BTreeMap<String, i128>>(bytes);
    let error = decode_error(bytes);
    let mut encoded = Vec::new();
    encode_error(&error, &mut encoded);
    assert_eq!(decode_error(&encoded).to_string(), error.to_string());
}

fn crosses_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else {
        return;
    };
    let mut encoded = Vec::new();
    // What was decoded can be deeper when encoded: an absent field is written as one.
    if codec::encode(&value, &mut encoded).is_err() {
        return;
    }
    let value: T = codec::decode(&encoded).expect("what was just encoded");
    let mut again = Vec::new();
    codec::encode(&value, &mut again).expect("what was encoded before");
    assert_eq!(again, encoded);
}

#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<u64>,
    shape: Shape,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

#[derive(Serialize, Deserialize)]
enum Shape {
    Unit,
    One(u128),
    Two(u8, bool),
    Fields { left: Option<Box<Shape>>, right: () },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Nothing,
    Number(i64),
    Text(String),
    Point { x: f64, y: f64 },
    List(Vec<Untagged>),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/decode_anything");

    #[test]
    fn the_corpus_of_the_fuzzer_does_no_harm() {
        let mut ways = [0; 6];
        for entry in fs::read_dir(CORPUS).expect("the corpus is part of the repository") {
            let bytes = fs::read(entry.expect("a file").path()).expect("a file");
            if let Some(way) = bytes.first() {
                ways[usize::from(way % 6)] += 1;
            }
            decode_anything(&bytes);
        }
        assert!(
            ways.iter().all(|&inputs| inputs > 0),
            "no input for one of {ways:?}"
        );
    }

    #[test]
    fn the_values_here_do_cross() {
        let record = Record {
            name: "a".to_owned(),
            numbers: vec![7],
            shape: Shape::Fields {
                left: Some(Box::new(Shape::Two(1, true))),
                right: (),
            },
            rest: BTreeMap::from([(
                "point".to_owned(),
                Untagged::Point {
                    x: 0.5,
                    y: f64::NAN,
                },
            )]),
        };
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes).expect("a value that can be encoded");
        assert!(codec::decode::<Record>(&bytes).is_ok());
        bytes.insert(0, 5);
        decode_anything(&bytes);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_do_no_harm_either(
            bytes in vec(prop_oneof![any::<u8>(), 0_u8..24, Just(0)], 0..160),
        ) {
            decode_anything(&bytes);
        }
    }
}
