//! The entry of the fuzzer: decodes bytes as everything that comes from another process.
//!
//! Always: whatever the bytes are, nothing panics, nothing goes on for ever, and what the decoders
//! accept is consistent. The tests run the fuzzer's corpus through the same function.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::call::{decode_error, encode_error};
use super::carried;
use super::frame::{ReplyHeader, TaskHeader};
use super::items;
use super::large::{Placed, SLOTS};
use super::ring::{Reader, Ring, Writer};
use crate::blob::Blob;
use crate::codec::{self, Outside};

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
    match Way::of(*way) {
        Way::Headers => split_headers(bytes),
        Way::Items => split_items(bytes),
        Way::Reads => read_from_the_hostile(bytes),
        Way::Writes => write_to_the_hostile(bytes),
        Way::Both => write_and_read(bytes),
        Way::Values => decode_values(bytes),
        Way::Places => split_places(bytes),
        Way::Runs => decode_runs(bytes),
    }
}

/// As what bytes are decoded.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Headers,
    Items,
    Reads,
    Writes,
    Both,
    Values,
    Places,
    Runs,
}

impl Way {
    #[cfg(test)]
    const ALL: [Self; 8] = [
        Self::Headers,
        Self::Items,
        Self::Reads,
        Self::Writes,
        Self::Both,
        Self::Values,
        Self::Places,
        Self::Runs,
    ];

    /// What the first byte says. The ways that came later have their own, so that older inputs mean
    /// what they meant.
    fn of(byte: u8) -> Self {
        match byte {
            250..=252 => Self::Places,
            253..=255 => Self::Runs,
            _ => match byte % 6 {
                0 => Self::Headers,
                1 => Self::Items,
                2 => Self::Reads,
                3 => Self::Writes,
                4 => Self::Both,
                _ => Self::Values,
            },
        }
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

/// A place that is accepted lies within the memory that it names, and says the same when it is written
/// and split again.
fn split_places(bytes: &[u8]) {
    let Ok((placed, rest)) = Placed::split(bytes) else {
        return;
    };
    assert_eq!(rest, &bytes[Placed::BYTES..]);
    assert!(placed.slot < SLOTS);
    assert!(placed.value_at.is_none_or(|start| start <= placed.length));
    assert_eq!(Placed::split(&placed.to_bytes()), Ok((placed, &[][..])));
}

/// Bytes outside of a value, as a worker has them: nobody changes them.
struct InPlace<'a>(&'a [u8]);

impl Outside for InPlace<'_> {
    fn in_place(&self, start: usize, length: usize) -> Option<&[u8]> {
        self.0.get(start..start.checked_add(length)?)
    }

    fn copy(&self, start: usize, length: usize) -> Option<Vec<u8>> {
        self.in_place(start, length).map(<[u8]>::to_vec)
    }
}

/// The same, as a pool has them: they are copied, and no more of them than there are.
struct Copied<'a> {
    bytes: InPlace<'a>,
    left: AtomicUsize,
}

impl Outside for Copied<'_> {
    fn in_place(&self, _start: usize, _length: usize) -> Option<&[u8]> {
        None
    }

    fn copy(&self, start: usize, length: usize) -> Option<Vec<u8>> {
        let copy = self.bytes.copy(start, length)?;
        let spend = |left: usize| left.checked_sub(length);
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.is_ok().then_some(copy)
    }
}

/// The first byte says how long the value is; what follows it lies outside.
fn decode_runs(bytes: &[u8]) {
    let Some((&length, bytes)) = bytes.split_first() else {
        return;
    };
    let (value, outside) = bytes.split_at(bytes.len().min(length.into()));
    let _ = codec::decode_with::<IgnoredAny>(value, Some(&InPlace(outside)));
    runs_cross_again::<Blob>(value, outside);
    runs_cross_again::<Runs>(value, outside);
    runs_cross_again::<UntaggedRuns>(value, outside);
    runs_cross_again::<Vec<Vec<u8>>>(value, outside);
    runs_cross_again::<BTreeMap<String, Option<Bytes>>>(value, outside);
}

/// Both who reads in place and who copies get the same, and what they get crosses again.
fn runs_cross_again<T: Serialize + DeserializeOwned>(value: &[u8], outside: &[u8]) {
    let encoded = |outside: &dyn Outside| {
        let value = codec::decode_with::<T>(value, Some(outside)).ok()?;
        let mut encoded = Vec::new();
        codec::encode(&value, &mut encoded).ok()?;
        Some(encoded)
    };
    let in_place = encoded(&InPlace(outside));
    let copied = Copied {
        bytes: InPlace(outside),
        left: AtomicUsize::new(outside.len()),
    };
    if let Some(copied) = encoded(&copied) {
        assert_eq!(in_place.as_ref(), Some(&copied));
    }
    // Without anything outside, only what names nothing there can be decoded.
    if let Ok(value) = codec::decode::<T>(value) {
        let mut alone = Vec::new();
        if codec::encode(&value, &mut alone).is_ok() {
            assert_eq!(in_place.as_ref(), Some(&alone));
        }
    }
    if let Some(bytes) = in_place {
        crosses_again::<T>(&bytes);
    }
}

#[derive(Serialize, Deserialize)]
struct Runs {
    blob: Blob,
    bytes: Bytes,
    vector: Vec<u8>,
    inner: Option<Option<Vec<u8>>>,
    #[serde(flatten)]
    rest: BTreeMap<String, UntaggedRuns>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum UntaggedRuns {
    Number(i64),
    Text(String),
    Fields { blob: Blob, more: Vec<u8> },
    Bytes(Bytes),
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
        let mut ways = Vec::new();
        for entry in fs::read_dir(CORPUS).expect("the corpus is part of the repository") {
            let bytes = fs::read(entry.expect("a file").path()).expect("a file");
            ways.extend(bytes.first().map(|&byte| Way::of(byte)));
            decode_anything(&bytes);
        }
        let is_missing = |way: &Way| !ways.contains(way);
        assert_eq!(Way::ALL.iter().position(is_missing), None, "no input");
    }

    /// A value with runs outside, as the fuzzer gets it: the number that says how, the length of the
    /// value, the value, and what lies outside.
    fn with_runs_outside() -> Vec<u8> {
        struct Every(Vec<u8>);
        impl codec::Sink for Every {
            fn put(&mut self, bytes: &[u8]) -> Option<usize> {
                let start = self.0.len();
                self.0.extend_from_slice(bytes);
                Some(start)
            }
        }
        let long = vec![7; codec::LEAST_OUTSIDE];
        let runs = Runs {
            blob: long.clone().into(),
            bytes: long.clone().into(),
            vector: long.clone(),
            inner: Some(Some(long.clone())),
            rest: BTreeMap::from([("a".to_owned(), UntaggedRuns::Bytes(long.into()))]),
        };
        let (mut value, mut outside) = (Vec::new(), Every(Vec::new()));
        codec::encode_with(&runs, &mut value, Some(&mut outside)).expect("it can be encoded");
        assert_eq!(outside.0.len(), 5 * codec::LEAST_OUTSIDE);
        assert!(codec::decode_with::<Runs>(&value, Some(&InPlace(&outside.0))).is_ok());
        assert!(codec::decode::<Runs>(&value).is_err(), "nothing is outside");
        let length = u8::try_from(value.len()).expect("only numbers are in it");
        [&[253, length][..], &value, &outside.0].concat()
    }

    #[test]
    fn values_with_runs_outside_do_cross() {
        let mut bytes = with_runs_outside();
        decode_anything(&bytes);
        // The same with less outside than it names.
        for length in [bytes.len() - 1, bytes.len() / 2, 300, 40] {
            bytes.truncate(length);
            decode_anything(&bytes);
        }
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
            way in prop_oneof![any::<u8>(), 248..=255_u8],
            bytes in vec(prop_oneof![any::<u8>(), 0_u8..25, Just(0)], 0..160),
        ) {
            decode_anything(&[&[way][..], &bytes].concat());
        }
    }
}
