//! Generated values of the shapes that services have: derived types with every attribute that changes
//! how they are written, in each other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, LinkedList, VecDeque};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroI16, Wrapping};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{arrives, cases};

/// A float that equals what has the same bits, and can be a key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Float<F>(pub(super) F);

macro_rules! floats {
    ($($float:ty, $bits:ty;)*) => {
        $(
            impl PartialEq for Float<$float> {
                fn eq(&self, other: &Self) -> bool {
                    self.0.to_bits() == other.0.to_bits()
                }
            }

            impl Eq for Float<$float> {}

            impl PartialOrd for Float<$float> {
                fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                    Some(self.cmp(other))
                }
            }

            impl Ord for Float<$float> {
                fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                    self.0.to_bits().cmp(&other.0.to_bits())
                }
            }

            impl Arbitrary for Float<$float> {
                type Parameters = ();
                type Strategy = BoxedStrategy<Self>;

                fn arbitrary_with((): ()) -> Self::Strategy {
                    any::<$bits>().prop_map(|bits| Self(<$float>::from_bits(bits))).boxed()
                }
            }
        )*
    };
}

floats! {
    f32, u32;
    f64, u64;
}

/// Structs whose fields are generated one by one.
macro_rules! generated {
    ($($(#[$meta:meta])* struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty = $values:expr,)*
    })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            $(#[$meta])*
            pub(super) struct $name {
                $($(#[$field_meta])* $field: $type,)*
            }

            impl Arbitrary for $name {
                type Parameters = ();
                type Strategy = BoxedStrategy<Self>;

                fn arbitrary_with((): ()) -> Self::Strategy {
                    ($($values,)*).prop_map(|($($field,)*)| Self { $($field,)* }).boxed()
                }
            }
        )*
    };
}

/// A few of each, so that a case stays small.
fn few<T: Arbitrary + 'static>() -> BoxedStrategy<Vec<T>> {
    vec(any::<T>(), 0..4).boxed()
}

fn keyed<K: Arbitrary + Ord + 'static, V: Arbitrary + 'static>() -> BoxedStrategy<BTreeMap<K, V>> {
    btree_map(any::<K>(), any::<V>(), 0..4).boxed()
}

fn json() -> BoxedStrategy<serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NoFields {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NoItems();

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wrapped(Option<Option<i8>>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pair(u8, String);

/// Written as a newtype struct and read as a string, as validated types are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address(String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('@') {
            Ok(Self(text))
        } else {
            Err(format!("no @ in {text}"))
        }
    }
}

fn address() -> BoxedStrategy<Address> {
    "[a-z]{0,3}@[a-z]{0,3}".prop_map(Address).boxed()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    number: i32,
    optional: Option<bool>,
}

fn key() -> BoxedStrategy<Key> {
    any::<(i32, Option<bool>)>()
        .prop_map(|(number, optional)| Key { number, optional })
        .boxed()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum External {
    Unit,
    Newtype(Option<()>),
    Deep(Box<External>),
    Tuple(u8, Option<Option<u8>>),
    NoItems(),
    #[serde(rename = "with fields")]
    Struct {
        only: Option<Box<External>>,
        wide: i128,
    },
    NoFields {},
}

/// The same without 128 bits, for places that serde buffers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Narrow {
    Unit,
    Newtype(Option<()>),
    Deep(Box<Narrow>),
    Tuple(u8, Float<f32>),
    Struct { only: Option<Option<u8>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(super) enum Internal {
    Unit,
    Struct {
        value: Option<Option<u8>>,
        ip: IpAddr,
        nested: Narrow,
        address: Address,
    },
    Newtype(Flattened),
    Deep {
        inner: Box<Internal>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
pub(super) enum Adjacent {
    Unit,
    Newtype(Option<Option<()>>),
    Tuple(u8, Float<f64>),
    Struct {
        number: u128,
        deep: Option<Box<Adjacent>>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Untagged {
    Both { a: i64, b: i8 },
    One { a: i64 },
    Ip { ip: IpAddr },
    Enum { external: Narrow },
    Deep { deep: Box<Untagged> },
    Bytes { bytes: ByteBuf },
    Pair(u8, Option<Option<()>>),
    Text(String),
    Whole(i64),
    Float(Float<f64>),
    Optional(Option<Option<bool>>),
}

generated! {
    struct Scalars {
        unsigned: (u8, u16, u32, u64, u128, usize) = any::<(u8, u16, u32, u64, u128, usize)>(),
        signed: (i8, i16, i32, i64, i128, isize) = any::<(i8, i16, i32, i64, i128, isize)>(),
        single: Float<f32> = any::<Float<f32>>(),
        double: Float<f64> = any::<Float<f64>>(),
        boolean: bool = any::<bool>(),
        character: char = any::<char>(),
        text: String = ".{0,300}",
        unit: () = Just(()),
        bytes: ByteBuf = vec(any::<u8>(), 0..300).prop_map(ByteBuf::from),
        same_bytes: Vec<u8> = few::<u8>(),
    }

    struct Options {
        unit: Option<()> = any::<Option<()>>(),
        twice: Option<Option<u8>> = any::<Option<Option<u8>>>(),
        thrice: Option<Option<Option<()>>> = any::<Option<Option<Option<()>>>>(),
        of_nothing: Option<Option<Nothing>> =
            any::<Option<Option<()>>>().prop_map(|outer| outer.map(|inner| inner.map(|()| Nothing))),
        of_json: Option<serde_json::Value> = proptest::option::of(json()),
        wrapped: Wrapped = any::<Option<Option<i8>>>().prop_map(Wrapped),
        result: Result<Option<()>, Option<Option<()>>> =
            any::<Result<Option<()>, Option<Option<()>>>>(),
        many: Vec<Option<Option<()>>> = few::<Option<Option<()>>>(),
    }

    struct Parts {
        part: Option<Option<()>> = any::<Option<Option<()>>>(),
        ip: IpAddr = any::<IpAddr>(),
        email: Address = address(),
        narrow: Narrow = any::<Narrow>(),
        json: serde_json::Value = json(),
    }

    struct Flattened {
        id: u64 = any::<u64>(),
        #[serde(flatten)]
        parts: Parts = any::<Parts>(),
        #[serde(flatten)]
        chosen: Chosen = prop_oneof![
            Just(Chosen::Fields { speed: Some(None) }),
            any::<Option<Option<u8>>>().prop_map(Chosen::Held),
        ],
        #[serde(flatten)]
        rest: BTreeMap<String, Option<Option<i16>>> =
            btree_map("r[a-z]{0,3}", any::<Option<Option<i16>>>(), 0..3),
    }

    struct Beside {
        wide: u128 = any::<u128>(),
        #[serde(flatten)]
        parts: Parts = any::<Parts>(),
        other: i128 = any::<i128>(),
    }

    struct Skipping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        absent: Option<Option<u8>> = any::<Option<Option<u8>>>(),
        present: u8 = any::<u8>(),
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        many: Vec<u16> = few::<u16>(),
        #[serde(skip)]
        never: u8 = Just(0),
        #[serde(rename = "other name", alias = "third name")]
        renamed: String = ".{0,4}",
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8> = few::<u8>(),
    }

    struct Maps {
        by_struct: BTreeMap<Key, u8> = btree_map(key(), any::<u8>(), 0..3),
        by_tuple: BTreeMap<(u8, Option<Option<bool>>), ()> = keyed::<_, ()>(),
        by_unit: BTreeMap<(), Option<()>> = keyed::<(), Option<()>>(),
        by_float: BTreeMap<Float<f64>, f32> =
            btree_map(any::<Float<f64>>(), -1.0_f32..1.0, 0..3),
        by_option: BTreeMap<Option<Option<()>>, u8> = keyed::<Option<Option<()>>, u8>(),
        by_sequence: BTreeMap<Vec<u8>, u8> = btree_map(few::<u8>(), any::<u8>(), 0..3),
        by_wide: BTreeMap<i128, char> = keyed::<i128, char>(),
        by_map: BTreeMap<BTreeMap<bool, i8>, u8> = btree_map(keyed::<bool, i8>(), any::<u8>(), 0..3),
        by_address: HashMap<Address, u8> = btree_map(address(), any::<u8>(), 0..3)
            .prop_map(|map| map.into_iter().collect()),
        json: serde_json::Value = json(),
    }

    struct Standard {
        duration: Duration = any::<Duration>(),
        time: SystemTime = any::<u32>()
            .prop_map(|seconds| SystemTime::UNIX_EPOCH + Duration::new(seconds.into(), 999_999_999)),
        addresses: (IpAddr, SocketAddr) = any::<(IpAddr, SocketAddr)>().prop_map(|(ip, mut socket)| {
            // The one part of an address that serde's own impl does not write.
            if let SocketAddr::V6(address) = &mut socket {
                address.set_flowinfo(0);
            }
            (ip, socket)
        }),
        path: PathBuf = "[a-z/]{0,8}".prop_map(PathBuf::from),
        texts: (Cow<'static, str>, Box<str>) =
            (".{0,4}", ".{0,4}").prop_map(|(a, b)| (Cow::Owned(a), b.into_boxed_str())),
        arrays: ([u8; 0], [Option<()>; 3]) = any::<[Option<()>; 3]>().prop_map(|array| ([], array)),
        numbers: (NonZeroI16, Wrapping<u8>) =
            (1_i16.., any::<u8>()).prop_map(|(a, b)| (NonZeroI16::new(a).expect("not 0"), Wrapping(b))),
        range: std::ops::Range<i8> = any::<(i8, i8)>().prop_map(|(start, end)| start..end),
        sets: (BTreeSet<u8>, VecDeque<i8>, LinkedList<bool>) =
            (few::<u8>(), few::<i8>(), few::<bool>()).prop_map(|(a, b, c)| {
                (a.into_iter().collect(), b.into(), c.into_iter().collect())
            }),
        empty: (NoFields, NoItems, Nothing, PhantomData<u8>, Vec<()>) =
            (0_usize..300).prop_map(|n| (NoFields {}, NoItems(), Nothing, PhantomData, vec![(); n])),
        pair: Pair = (any::<u8>(), ".{0,4}").prop_map(|(number, text)| Pair(number, text)),
    }

    struct Enums {
        external: External = any::<External>(),
        internal: Internal = any::<Internal>(),
        adjacent: Adjacent = any::<Adjacent>(),
        untagged: Vec<Untagged> = few::<Untagged>(),
        narrow: Option<Narrow> = any::<Option<Narrow>>(),
    }
}

/// A variant whose name becomes a field of what it is flattened into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Chosen {
    Fields { speed: Option<Option<u8>> },
    Held(Option<Option<u8>>),
}

/// Enums, some of whose variants hold the enum itself.
macro_rules! recursive {
    ($($name:ident: $inner:ident => [$($leaf:expr),* $(,)?] [$($branch:expr),* $(,)?];)*) => {
        $(
            impl Arbitrary for $name {
                type Parameters = ();
                type Strategy = BoxedStrategy<Self>;

                fn arbitrary_with((): ()) -> Self::Strategy {
                    let leaf = prop_oneof![$($leaf),*];
                    leaf.prop_recursive(4, 8, 1, |$inner| prop_oneof![$($branch),*]).boxed()
                }
            }
        )*
    };
}

recursive! {
    External: inner => [
        Just(Self::Unit),
        any::<Option<()>>().prop_map(Self::Newtype),
        any::<(u8, Option<Option<u8>>)>().prop_map(|(a, b)| Self::Tuple(a, b)),
        Just(Self::NoItems()),
        any::<i128>().prop_map(|wide| Self::Struct { only: None, wide }),
        Just(Self::NoFields {}),
    ] [
        inner.clone().prop_map(|inner| Self::Deep(Box::new(inner))),
        inner.prop_map(|inner| Self::Struct { only: Some(Box::new(inner)), wide: -1 }),
    ];
    Narrow: inner => [
        Just(Self::Unit),
        any::<Option<()>>().prop_map(Self::Newtype),
        any::<(u8, Float<f32>)>().prop_map(|(a, b)| Self::Tuple(a, b)),
        any::<Option<Option<u8>>>().prop_map(|only| Self::Struct { only }),
    ] [
        inner.prop_map(|inner| Self::Deep(Box::new(inner))),
    ];
    Internal: inner => [
        Just(Self::Unit),
        (any::<(Option<Option<u8>>, IpAddr, Narrow)>(), address()).prop_map(
            |((value, ip, nested), address)| Self::Struct { value, ip, nested, address }
        ),
        any::<Flattened>().prop_map(Self::Newtype),
    ] [
        inner.prop_map(|inner| Self::Deep { inner: Box::new(inner) }),
    ];
    Adjacent: inner => [
        Just(Self::Unit),
        any::<Option<Option<()>>>().prop_map(Self::Newtype),
        any::<(u8, Float<f64>)>().prop_map(|(a, b)| Self::Tuple(a, b)),
        any::<u128>().prop_map(|number| Self::Struct { number, deep: None }),
    ] [
        inner.prop_map(|inner| Self::Struct { number: 1, deep: Some(Box::new(inner)) }),
    ];
    Untagged: inner => [
        any::<(i64, i8)>().prop_map(|(a, b)| Self::Both { a, b }),
        any::<i64>().prop_map(|a| Self::One { a }),
        any::<IpAddr>().prop_map(|ip| Self::Ip { ip }),
        any::<Narrow>().prop_map(|external| Self::Enum { external }),
        few::<u8>().prop_map(|bytes| Self::Bytes { bytes: ByteBuf::from(bytes) }),
        any::<(u8, Option<Option<()>>)>().prop_map(|(a, b)| Self::Pair(a, b)),
        ".{0,4}".prop_map(Self::Text),
        any::<i64>().prop_map(Self::Whole),
        any::<Float<f64>>().prop_map(Self::Float),
        any::<Option<Option<bool>>>().prop_map(Self::Optional),
    ] [
        inner.prop_map(|inner| Self::Deep { deep: Box::new(inner) }),
    ];
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn scalars_arrive(value: Scalars) {
        arrives(value);
    }

    #[test]
    fn options_arrive(value: Options) {
        arrives(value);
    }

    #[test]
    fn flattened_structs_arrive(value: Flattened) {
        arrives(value);
    }

    #[test]
    fn wide_numbers_beside_flattened_structs_arrive(value: Beside) {
        arrives(value);
    }

    #[test]
    fn structs_that_leave_fields_out_arrive(value: Skipping) {
        arrives(value);
    }

    #[test]
    fn maps_with_any_keys_arrive(value: Maps) {
        arrives(value);
    }

    #[test]
    fn types_of_the_standard_library_arrive(value: Standard) {
        arrives(value);
    }

    #[test]
    fn enums_arrive(value: Enums) {
        arrives(value);
    }

    #[test]
    fn all_of_them_arrive_together(
        value in (any::<Scalars>(), any::<Options>(), any::<Skipping>(), few::<Enums>())
    ) {
        arrives(value);
    }
}
