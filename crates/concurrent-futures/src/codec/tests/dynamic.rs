//! A value of serde's whole data model, which is read as whatever the bytes say it is.
//!
//! What the format does not keep apart arrives as something else here, so a round trip of generated
//! values is the proof that it describes itself exactly, at every depth.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::{EnumAccess, MapAccess, SeqAccess, VariantAccess};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{arrives, cases, cause, encoded};
use crate::codec::decode;

#[derive(Clone, Debug)]
pub(super) enum Dynamic {
    Unit,
    None,
    Some(Box<Self>),
    Bool(bool),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    I128(i128),
    F32(f32),
    F64(f64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Sequence(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl PartialEq for Dynamic {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unit, Self::Unit) | (Self::None, Self::None) => true,
            (Self::Some(a), Self::Some(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::U8(a), Self::U8(b)) => a == b,
            (Self::U16(a), Self::U16(b)) => a == b,
            (Self::U32(a), Self::U32(b)) => a == b,
            (Self::U64(a), Self::U64(b)) => a == b,
            (Self::U128(a), Self::U128(b)) => a == b,
            (Self::I8(a), Self::I8(b)) => a == b,
            (Self::I16(a), Self::I16(b)) => a == b,
            (Self::I32(a), Self::I32(b)) => a == b,
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::I128(a), Self::I128(b)) => a == b,
            (Self::F32(a), Self::F32(b)) => a.to_bits() == b.to_bits(),
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::Char(a), Self::Char(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Sequence(a), Self::Sequence(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Dynamic {
    /// Whether serde's buffer has no place for it.
    fn is_too_wide(&self) -> bool {
        match self {
            Self::U128(_) | Self::I128(_) => true,
            Self::Some(inner) => inner.is_too_wide(),
            Self::Sequence(items) => items.iter().any(Self::is_too_wide),
            Self::Map(entries) => entries
                .iter()
                .any(|(key, value)| key.is_too_wide() || value.is_too_wide()),
            _ => false,
        }
    }
}

impl Serialize for Dynamic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => serializer.serialize_unit(),
            Self::None => serializer.serialize_none(),
            Self::Some(inner) => serializer.serialize_some(inner),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::U8(value) => serializer.serialize_u8(*value),
            Self::U16(value) => serializer.serialize_u16(*value),
            Self::U32(value) => serializer.serialize_u32(*value),
            Self::U64(value) => serializer.serialize_u64(*value),
            Self::U128(value) => serializer.serialize_u128(*value),
            Self::I8(value) => serializer.serialize_i8(*value),
            Self::I16(value) => serializer.serialize_i16(*value),
            Self::I32(value) => serializer.serialize_i32(*value),
            Self::I64(value) => serializer.serialize_i64(*value),
            Self::I128(value) => serializer.serialize_i128(*value),
            Self::F32(value) => serializer.serialize_f32(*value),
            Self::F64(value) => serializer.serialize_f64(*value),
            Self::Char(value) => serializer.serialize_char(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Sequence(items) => {
                // Lengths are sometimes known and sometimes not.
                let known = (items.len() % 2 == 0).then_some(items.len());
                let mut sequence = serializer.serialize_seq(known)?;
                for item in items {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Map(entries) => {
                let known = (entries.len() % 2 == 0).then_some(entries.len());
                let mut map = serializer.serialize_map(known)?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Dynamic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

macro_rules! scalars {
    ($($method:ident($from:ty) $case:ident)*) => {
        $(
            fn $method<E: de::Error>(self, value: $from) -> Result<Dynamic, E> {
                Ok(Dynamic::$case(value.into()))
            }
        )*
    };
}

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Dynamic;

    scalars! {
        visit_bool(bool) Bool
        visit_u8(u8) U8
        visit_u16(u16) U16
        visit_u32(u32) U32
        visit_u64(u64) U64
        visit_u128(u128) U128
        visit_i8(i8) I8
        visit_i16(i16) I16
        visit_i32(i32) I32
        visit_i64(i64) I64
        visit_i128(i128) I128
        visit_f32(f32) F32
        visit_f64(f64) F64
        visit_char(char) Char
        visit_str(&str) Text
        visit_bytes(&[u8]) Bytes
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::Unit)
    }

    fn visit_none<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Dynamic, D::Error> {
        Deserialize::deserialize(inner).map(|inner| Dynamic::Some(Box::new(inner)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Dynamic::Sequence(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Dynamic, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Dynamic::Map(all))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Dynamic, A::Error> {
        let (name, variant) = data.variant::<Dynamic>()?;
        Ok(Dynamic::Map(vec![(name, variant.newtype_variant()?)]))
    }
}

impl Arbitrary for Dynamic {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let leaf = prop_oneof![
            Just(Self::Unit),
            Just(Self::None),
            any::<bool>().prop_map(Self::Bool),
            any::<u8>().prop_map(Self::U8),
            any::<u16>().prop_map(Self::U16),
            any::<u32>().prop_map(Self::U32),
            any::<u64>().prop_map(Self::U64),
            any::<u128>().prop_map(Self::U128),
            any::<i8>().prop_map(Self::I8),
            any::<i16>().prop_map(Self::I16),
            any::<i32>().prop_map(Self::I32),
            any::<i64>().prop_map(Self::I64),
            any::<i128>().prop_map(Self::I128),
            any::<u32>().prop_map(|bits| Self::F32(f32::from_bits(bits))),
            any::<u64>().prop_map(|bits| Self::F64(f64::from_bits(bits))),
            any::<char>().prop_map(Self::Char),
            ".{0,8}".prop_map(Self::Text),
            vec(any::<u8>(), 0..8).prop_map(Self::Bytes),
        ];
        leaf.prop_recursive(6, 32, 5, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| Self::Some(Box::new(inner))),
                vec(inner.clone(), 0..5).prop_map(Self::Sequence),
                vec((inner.clone(), inner), 0..5).prop_map(Self::Map),
            ]
        })
        .boxed()
    }
}

/// Reads its value out of serde's buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Buffered {
    Value(Dynamic),
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_value_arrives_as_what_it_was(value: Dynamic) {
        arrives(value);
    }

    #[test]
    fn any_value_arrives_through_the_buffer_of_serde_or_is_an_error(value: Dynamic) {
        if value.is_too_wide() {
            let error = decode::<Buffered>(&encoded(&value)).expect_err("128 bits");
            prop_assert!(error.to_string().contains("Buffered"), "{}", error);
            prop_assert!(cause(&error).contains("128"), "{}", cause(&error));
        } else {
            arrives(Buffered::Value(value));
        }
    }

    #[test]
    fn what_is_ignored_is_skipped_exactly(ignored: Dynamic, kept: u64) {
        #[derive(Debug, PartialEq, Serialize)]
        struct Sent {
            before: Dynamic,
            kept: u64,
            after: Dynamic,
        }
        #[derive(Deserialize)]
        struct Received {
            kept: u64,
        }
        let sent = Sent { before: ignored.clone(), kept, after: ignored };
        let received: Received = decode(&encoded(&sent)).expect("the same field");
        prop_assert_eq!(received.kept, kept);
    }
}
