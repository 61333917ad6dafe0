//! That bytes which nobody wrote, or that were damaged, are errors and do no harm.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, de};

use super::dynamic::Dynamic;
use super::shapes::{Enums, Maps, Options, Scalars, Standard};
use super::{cases, cause, encoded};
use crate::codec::decode;
use crate::codec::format::{LONG_COUNT, tag};

/// Decodes as many different things: none of them may panic.
fn survives(bytes: &[u8]) {
    let _ = decode::<Dynamic>(bytes);
    let _ = decode::<serde_json::Value>(bytes);
    let _ = decode::<IgnoredAny>(bytes);
    let _ = decode::<Enums>(bytes);
    let _ = decode::<Maps>(bytes);
    let _ = decode::<Options>(bytes);
    let _ = decode::<Scalars>(bytes);
    let _ = decode::<Standard>(bytes);
    let _ = decode::<Vec<(String, u64)>>(bytes);
    let _ = decode::<Greedy>(bytes);
}

/// Reserves whatever the length that it is told asks for.
struct Greedy;

impl<'de> Deserialize<'de> for Greedy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GreedyVisitor)
    }
}

struct GreedyVisitor;

impl<'de> Visitor<'de> for GreedyVisitor {
    type Value = Greedy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence or a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Greedy, A::Error> {
        let mut all = Vec::<u64>::with_capacity(items.size_hint().unwrap_or(0));
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Greedy)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Greedy, A::Error> {
        let mut all = Vec::<(u64, u64)>::with_capacity(entries.size_hint().unwrap_or(0));
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Greedy)
    }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn a_value_that_is_cut_off_is_an_error(value: Dynamic) {
        let bytes = encoded(&value);
        for length in 0..bytes.len() {
            prop_assert!(decode::<Dynamic>(&bytes[..length]).is_err());
            prop_assert!(decode::<IgnoredAny>(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_value_with_something_behind_it_is_an_error(value: Dynamic, more: u8) {
        let mut bytes = encoded(&value);
        bytes.push(more);
        prop_assert!(decode::<Dynamic>(&bytes).is_err());
    }

    #[test]
    fn damaged_bytes_do_no_harm(
        value in prop_oneof![
            any::<Dynamic>().prop_map(|value| encoded(&value)),
            any::<Enums>().prop_map(|value| encoded(&value)),
            any::<Standard>().prop_map(|value| encoded(&value)),
        ],
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = value;
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        survives(&bytes);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(prop_oneof![any::<u8>(), 0_u8..24], 0..64)) {
        survives(&bytes);
    }
}

#[test]
fn a_length_beyond_what_the_bytes_hold_is_not_believed() {
    for tag in [tag::SEQUENCE, tag::MAP, tag::STRING, tag::BYTES] {
        for length in [9, 1 << 20, 1 << 40, 1 << 62, u64::MAX / 2 + 1, u64::MAX] {
            let mut bytes = vec![tag, LONG_COUNT];
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&[0; 8]);
            survives(&bytes);
            assert!(decode::<Greedy>(&bytes).is_err(), "{tag} {length}");
            assert!(decode::<IgnoredAny>(&bytes).is_err(), "{tag} {length}");
        }
    }
}

#[test]
fn a_map_has_two_values_for_each_that_it_counts() {
    // Would be shown as a map of eight entries, of which the bytes hold four.
    let mut bytes = vec![tag::MAP, 8];
    bytes.extend_from_slice(&[tag::UNIT; 8]);
    let error = decode::<Shown>(&bytes).expect_err("too few bytes");
    assert!(!cause(&error).contains("shown"), "{}", cause(&error));
    bytes.extend_from_slice(&[tag::UNIT; 8]);
    let error = decode::<Shown>(&bytes).expect_err("what it always says");
    assert_eq!(cause(&error), "shown 8");
}

/// Fails with the length that it is told.
#[derive(Debug)]
struct Shown;

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Shown {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self, A::Error> {
        let length = entries.size_hint().unwrap_or(0);
        Err(de::Error::custom(format!("shown {length}")))
    }
}

#[test]
fn a_string_that_is_not_utf_8_and_a_surrogate_are_errors() {
    assert!(decode::<String>(&[tag::STRING, 1, 0xff]).is_err());
    assert!(decode::<char>(&[tag::CHAR, 0, 0xd8, 0, 0]).is_err());
}
