//! Single values whose bytes, counts or ways of being written are easy to get wrong, and types that
//! misuse serde.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::{arrives, cause, encoded};
use crate::codec::{decode, encode};

#[test]
fn an_absent_value_differs_from_a_present_unit() {
    let all = [None, Some(None), Some(Some(None)), Some(Some(Some(())))];
    let bytes = all.map(|value: Option<Option<Option<()>>>| {
        arrives(value);
        encoded(&value)
    });
    for (index, one) in bytes.iter().enumerate() {
        assert!(!bytes[..index].contains(one));
    }
}

#[test]
fn signalling_nans_keep_their_bits() {
    let sent = (
        f32::from_bits(0x7fa0_0001),
        f64::from_bits(0xfff4_0000_0000_0001),
    );
    let (single, double): (f32, f64) = decode(&encoded(&sent)).expect("two floats");
    assert_eq!(single.to_bits(), 0x7fa0_0001);
    assert_eq!(double.to_bits(), 0xfff4_0000_0000_0001);
}

#[test]
fn lengths_around_the_long_count_arrive() {
    for length in [0, 1, 253, 254, 255, 256, 65_536] {
        arrives("x".repeat(length));
        arrives(vec![(); length]);
        arrives(serde_bytes::ByteBuf::from(vec![7; length]));
        arrives(
            (0..length)
                .map(|number| (number, ()))
                .collect::<BTreeMap<_, _>>(),
        );
    }
}

#[test]
fn what_is_appended_leaves_what_was_there() {
    let mut out = vec![1, 2, 3];
    encode(&json!({"a": [null, 1]}), &mut out).expect("a JSON value");
    assert_eq!(out[..3], [1, 2, 3]);
    assert_eq!(
        decode::<serde_json::Value>(&out[3..]).expect("the same"),
        json!({"a": [null, 1]})
    );
}

/// Writes items one by one after announcing another number of them, or none.
struct Announced {
    announced: Option<usize>,
    written: u16,
}

impl Serialize for Announced {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(self.announced)?;
        for item in 0..self.written {
            items.serialize_element(&item)?;
        }
        items.end()
    }
}

/// The same as entries of a map.
struct AnnouncedMap(Announced);

impl Serialize for AnnouncedMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_map(self.0.announced)?;
        for item in 0..self.0.written {
            entries.serialize_entry(&item, &self.0)?;
        }
        entries.end()
    }
}

#[test]
fn what_counts_is_the_number_of_items_and_not_what_was_announced() {
    for announced in [
        None,
        Some(0),
        Some(2),
        Some(254),
        Some(255),
        Some(1_000_000),
    ] {
        for written in [0, 2, 254, 255, 300] {
            let expected: Vec<u16> = (0..written).collect();
            // Between two others, to see that neither is overwritten.
            let sent = (1_u8, Announced { announced, written }, "end");
            let (before, items, after): (u8, Vec<u16>, String) =
                decode(&encoded(&sent)).expect("a sequence");
            assert_eq!((before, &items, after.as_str()), (1, &expected, "end"));

            let sent = AnnouncedMap(Announced { announced, written });
            let entries: Vec<(u16, Vec<u16>)> = decode::<BTreeMap<u16, Vec<u16>>>(&encoded(&sent))
                .expect("a map")
                .into_iter()
                .collect();
            assert_eq!(entries.len(), usize::from(written));
            assert!(entries.iter().all(|(_, items)| *items == expected));
        }
    }
}

/// Is written by its `Display`, piece by piece.
struct Displayed(usize);

impl fmt::Display for Displayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.0).try_for_each(|_| f.write_str("ä"))
    }
}

impl Serialize for Displayed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn displayed_text_arrives() {
    for length in [0, 1, 127, 128, 1_000] {
        let text: String = decode(&encoded(&Displayed(length))).expect("a string");
        assert_eq!(text, "ä".repeat(length));
    }
}

/// Says that two fields come and leaves one out.
#[derive(Debug, PartialEq, Deserialize)]
struct Careless {
    a: u8,
    #[serde(default)]
    b: u8,
}

impl Serialize for Careless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Careless", 2)?;
        fields.serialize_field("a", &self.a)?;
        fields.end()
    }
}

#[test]
fn a_struct_with_fewer_fields_than_announced_arrives() {
    arrives(vec![Careless { a: 1, b: 0 }, Careless { a: 2, b: 0 }]);
}

#[test]
fn a_type_may_be_read_as_less_or_more_optional_than_it_was_written() {
    assert_eq!(
        decode::<u8>(&encoded(&Some(Some(1_u8)))).expect("a number"),
        1
    );
    assert_eq!(
        decode::<Option<u8>>(&encoded(&1_u8)).expect("a number"),
        Some(1)
    );
    assert_eq!(decode::<Option<u8>>(&encoded(&())).expect("nothing"), None);
    assert_eq!(
        decode::<Result<u8, ()>>(&encoded(&Some(Ok::<u8, ()>(1)))).expect("a variant"),
        Ok(1)
    );
}

#[test]
fn errors_name_the_type_and_the_cause() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wide {
        Number(i128),
    }

    let error = decode::<Wide>(&encoded(&Wide::Number(5))).expect_err("serde cannot buffer it");
    assert!(error.is_codec());
    assert!(error.to_string().contains("Wide"), "{error}");
    assert!(cause(&error).contains("i128"), "{}", cause(&error));

    let error = decode::<String>(&encoded(&1_u8)).expect_err("a number");
    assert!(error.to_string().contains("String"), "{error}");
    assert!(
        cause(&error).contains("expected a string"),
        "{}",
        cause(&error)
    );
}

/// Fails, or panics, after it has written something.
struct Breaks {
    panics: bool,
}

impl Serialize for Breaks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(None)?;
        items.serialize_element("something")?;
        assert!(!self.panics, "as it should");
        Err(serde::ser::Error::custom("no more"))
    }
}

#[test]
fn nothing_is_appended_by_an_encoding_that_fails_or_panics() {
    let mut out = vec![1, 2, 3];
    let error = encode(&Breaks { panics: false }, &mut out).expect_err("it says so");
    assert!(error.is_codec());
    assert!(error.to_string().contains("Breaks"), "{error}");
    assert_eq!(cause(&error), "no more");
    assert_eq!(out, [1, 2, 3]);

    std::thread::scope(|scope| {
        let panicked = scope
            .spawn(|| encode(&Breaks { panics: true }, &mut out))
            .join();
        assert!(panicked.is_err());
    });
    assert_eq!(out, [1, 2, 3]);
}

/// Uses serde in ways that end in the middle of a value.
enum Misuse {
    GoesOn,
    TwoKeys,
    NoValue,
    NoKey,
}

impl Serialize for Misuse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::GoesOn = self {
            let mut items = serializer.serialize_seq(None)?;
            let _ = items.serialize_element(&Breaks { panics: false });
            return items.end();
        }
        let mut entries = serializer.serialize_map(None)?;
        match self {
            Self::GoesOn => {}
            Self::TwoKeys => {
                entries.serialize_key("a")?;
                let _ = entries.serialize_key("b");
                entries.serialize_value("c")?;
            }
            Self::NoValue => entries.serialize_key("a")?,
            Self::NoKey => entries.serialize_value("a")?,
        }
        entries.end()
    }
}

#[test]
fn a_serialize_that_breaks_the_rules_is_an_error() {
    for misuse in [
        Misuse::GoesOn,
        Misuse::TwoKeys,
        Misuse::NoValue,
        Misuse::NoKey,
    ] {
        let mut out = Vec::new();
        let error = encode(&misuse, &mut out).expect_err("against the rules");
        assert!(cause(&error).contains("`Serialize`"), "{}", cause(&error));
        assert!(out.is_empty());
    }
}

/// Takes what it understands of a sequence; of a map with one entry keys only, of one with two entries
/// one, and of others values only.
#[derive(Debug)]
struct Lenient;

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Lenient {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        if let Some(wanted) = items.size_hint() {
            for _ in 0..wanted.min(2) {
                let _ = items.next_element::<Vec<bool>>();
            }
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        match entries.size_hint() {
            Some(1) => {
                let _ = entries.next_key::<u8>();
                let _ = entries.next_key::<u8>();
            }
            Some(2) => {
                entries.next_entry::<u8, u8>()?;
            }
            _ => {
                for _ in 0..6 {
                    let _ = entries.next_value::<u8>();
                }
            }
        }
        Ok(self)
    }
}

#[test]
fn a_deserialize_that_breaks_the_rules_is_an_error() {
    let wrong_parts = encoded(&[vec![1_u8, 2], vec![3]]);
    let unread = encoded(&[vec![true], vec![], vec![false]]);
    let keys_only = encoded(&BTreeMap::from([(1_u8, 2_u8)]));
    let unread_entry = encoded(&BTreeMap::from([(1_u8, 2_u8), (3, 4)]));
    let values_only = encoded(&BTreeMap::from([(1_u8, 2_u8), (3, 4), (5, 6)]));
    for bytes in [wrong_parts, unread, keys_only, unread_entry, values_only] {
        let error = decode::<Lenient>(&bytes).expect_err("against the rules");
        assert!(cause(&error).contains("`Deserialize`"), "{}", cause(&error));
    }
}
