//! Types of every kind that hold long runs of bytes, around each length from which they travel in another
//! way.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use concurrent_futures::{Blob, Executor, Portable, ProcessPoolExecutor};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use super::{FRAME, MEBIBYTE, OUTSIDE, pattern, text};
use crate::harness::tests;

/// A value of about so many bytes, which the pool and the worker can both make.
trait Made: Portable + PartialEq {
    fn made(seed: u64, length: usize) -> Self;
}

macro_rules! made {
    ($($kind:ty: |$seed:ident, $length:ident| $value:expr;)+) => {
        $(impl Made for $kind {
            fn made($seed: u64, $length: usize) -> Self {
                $value
            }
        })+
    };
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Picture {
    name: String,
    red: Vec<u8>,
    between: u64,
    green: Bytes,
    nothing: Option<Vec<u8>>,
    inner: Inner,
    last: u8,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Inner {
    blue: ByteBuf,
    #[serde(with = "serde_bytes")]
    alpha: Vec<u8>,
    short: Vec<u8>,
    pages: Vec<Vec<u8>>,
    blob: Option<Option<Blob>>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Newtype(Vec<u8>);

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    bytes: Blob,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Tuple(Vec<u8>, u32, ByteBuf);

#[derive(PartialEq, Serialize, Deserialize)]
enum Tagged {
    One(Blob),
    Two(u8, Vec<u8>),
    Fields { bytes: Bytes },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Bytes(ByteBuf),
    Blob { blob: Blob },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Inside {
    Empty,
    Bytes { bytes: ByteBuf, number: u8 },
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Flat {
    first: u8,
    #[serde(flatten)]
    rest: Rest,
    #[serde(flatten)]
    more: BTreeMap<String, ByteBuf>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Rest {
    blob: Blob,
    second: u8,
}

/// serde keeps what it buffers of a `Vec<u8>` number by number.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Numbers {
    Nothing,
    Numbers(Vec<u8>),
}

made! {
    Blob: |seed, length| pattern(seed, length).into();
    Bytes: |seed, length| pattern(seed, length).into();
    ByteBuf: |seed, length| ByteBuf::from(pattern(seed, length));
    Vec<u8>: |seed, length| pattern(seed, length);
    Box<[u8]>: |seed, length| pattern(seed, length).into();
    Cow<'static, [u8]>: |seed, length| pattern(seed, length).into();
    String: |seed, length| text(seed, length);
    Vec<String>: |seed, length| (0..4).map(|n| text(seed + n, length / 4 + n as usize)).collect();
    Vec<Vec<u8>>: |seed, length| (0..3).map(|n| pattern(seed + n, length / (n as usize + 1))).collect();
    Option<Vec<u8>>: |seed, length| Some(pattern(seed, length));
    Option<Option<Blob>>: |seed, length| Some(Some(pattern(seed, length).into()));
    Result<ByteBuf, Vec<u8>>: |seed, length| match seed % 2 {
        0 => Ok(ByteBuf::from(pattern(seed, length))),
        _ => Err(pattern(seed, length)),
    };
    BTreeMap<u32, Bytes>: |seed, length| {
        (0..3).map(|n| (n, pattern(seed + u64::from(n), length).into())).collect()
    };
    Newtype: |seed, length| Newtype(pattern(seed, length));
    Transparent: |seed, length| Transparent { bytes: pattern(seed, length).into() };
    Tuple: |seed, length| {
        Tuple(pattern(seed, length), 7, ByteBuf::from(pattern(seed + 1, length + 1)))
    };
    Tagged: |seed, length| match seed % 3 {
        0 => Tagged::One(pattern(seed, length).into()),
        1 => Tagged::Two(9, pattern(seed, length)),
        _ => Tagged::Fields { bytes: pattern(seed, length).into() },
    };
    Untagged: |seed, length| match seed % 2 {
        0 => Untagged::Bytes(ByteBuf::from(pattern(seed, length))),
        _ => Untagged::Blob { blob: pattern(seed, length).into() },
    };
    Inside: |seed, length| Inside::Bytes { bytes: ByteBuf::from(pattern(seed, length)), number: 3 };
    Flat: |seed, length| Flat {
        first: 1,
        rest: Rest { blob: pattern(seed, length).into(), second: 2 },
        more: [("more".to_owned(), ByteBuf::from(pattern(seed + 1, length)))].into(),
    };
    Numbers: |seed, length| Numbers::Numbers(pattern(seed, length));
    Value: |seed, length| json!({"text": text(seed, length), "list": [1, null, text(seed + 1, length)]});
    Picture: |seed, length| Picture {
        name: text(seed, length / 2),
        red: pattern(seed, length),
        between: seed,
        green: pattern(seed + 1, length + 1).into(),
        nothing: None,
        inner: Inner {
            blue: ByteBuf::from(pattern(seed + 2, length + 2)),
            alpha: pattern(seed + 3, length.saturating_sub(1)),
            short: pattern(seed + 4, 10),
            pages: (0..3).map(|n| pattern(n, length)).collect(),
            blob: Some(Some(pattern(seed + 5, length).into())),
        },
        last: 255,
    };
}

/// Whether the right value has arrived, and the value on its way back.
fn look<T: Made>(seed: u64, length: usize, value: T) -> (bool, T) {
    (value == T::made(seed, length), value)
}

/// Alone, so that nothing is around it.
fn give_back<T>(value: T) -> T {
    value
}

fn arrive<T: Made>(pool: &ProcessPoolExecutor, lengths: &[usize]) {
    let name = std::any::type_name::<T>();
    let tasks: Vec<_> = lengths
        .iter()
        .zip(7..)
        .map(|(&length, seed)| {
            let looked = pool.submit(look::<T>, (seed, length, T::made(seed, length)));
            let back = pool.submit(give_back::<T>, T::made(seed, length));
            (seed, length, looked, back)
        })
        .collect();
    for (seed, length, looked, back) in tasks {
        let what = || format!("{name} of {length} bytes");
        let sent = T::made(seed, length);
        let (is_right, value) = looked
            .result()
            .unwrap_or_else(|error| panic!("{}: {error:?}", what()));
        assert!(is_right, "{} in the worker", what());
        assert!(value == sent, "{} back here", what());
        let value = back
            .result()
            .unwrap_or_else(|error| panic!("{}: {error:?}", what()));
        assert!(value == sent, "{} back alone", what());
    }
}

fn around(bounds: &[usize]) -> Vec<usize> {
    let around = |&bound: &usize| [bound - 1, bound, bound + 1];
    [0, 1]
        .into_iter()
        .chain(bounds.iter().flat_map(around))
        .collect()
}

/// All kinds whose bytes are copied as one.
fn all_arrive(pool: &ProcessPoolExecutor, lengths: &[usize]) {
    arrive::<Blob>(pool, lengths);
    arrive::<Bytes>(pool, lengths);
    arrive::<ByteBuf>(pool, lengths);
    arrive::<Vec<u8>>(pool, lengths);
    arrive::<String>(pool, lengths);
    arrive::<Vec<String>>(pool, lengths);
    arrive::<Vec<Vec<u8>>>(pool, lengths);
    arrive::<Option<Vec<u8>>>(pool, lengths);
    arrive::<Option<Option<Blob>>>(pool, lengths);
    arrive::<Result<ByteBuf, Vec<u8>>>(pool, lengths);
    arrive::<BTreeMap<u32, Bytes>>(pool, lengths);
    arrive::<Newtype>(pool, lengths);
    arrive::<Transparent>(pool, lengths);
    arrive::<Tuple>(pool, lengths);
    arrive::<Tagged>(pool, lengths);
    arrive::<Untagged>(pool, lengths);
    arrive::<Inside>(pool, lengths);
    arrive::<Flat>(pool, lengths);
    arrive::<Value>(pool, lengths);
    arrive::<Picture>(pool, lengths);
}

tests! {
    fn bytes_of_every_kind_arrive_exactly_around_each_bound() {
        let pool = ProcessPoolExecutor::new(2);
        all_arrive(&pool, &around(&[OUTSIDE, FRAME, 2 * FRAME]));
        assert_eq!(pool.stats().retried(), 0);
    }

    fn bytes_that_are_written_number_by_number_arrive_exactly() {
        let pool = ProcessPoolExecutor::new(2);
        let lengths = around(&[OUTSIDE, FRAME / 2]);
        arrive::<Numbers>(&pool, &lengths);
        arrive::<Box<[u8]>>(&pool, &lengths);
        arrive::<Cow<'static, [u8]>>(&pool, &lengths);
    }

    fn several_megabytes_arrive_exactly() {
        let pool = ProcessPoolExecutor::new(2);
        let lengths = [4 * MEBIBYTE - 1, 4 * MEBIBYTE, 4 * MEBIBYTE + 1];
        arrive::<Blob>(&pool, &lengths);
        arrive::<Bytes>(&pool, &lengths);
        arrive::<Vec<u8>>(&pool, &lengths);
        arrive::<String>(&pool, &lengths);
        arrive::<Untagged>(&pool, &lengths);
        arrive::<Flat>(&pool, &lengths);
        arrive::<Picture>(&pool, &lengths[1..2]);
    }

    fn many_megabytes_arrive_exactly() {
        let pool = ProcessPoolExecutor::new(1);
        let lengths = [64 * MEBIBYTE - 1, 64 * MEBIBYTE + 1];
        arrive::<Blob>(&pool, &lengths);
        arrive::<Bytes>(&pool, &lengths);
        arrive::<Vec<u8>>(&pool, &lengths);
        arrive::<String>(&pool, &lengths);
    }

    fn at_every_length_where_a_frame_gets_too_small_they_arrive_exactly() {
        let pool = ProcessPoolExecutor::new(2);
        let lengths: Vec<usize> = (FRAME - 80..FRAME + 2).collect();
        arrive::<String>(&pool, &lengths);
        let short = |seed, count: usize| -> Vec<ByteBuf> {
            vec![ByteBuf::from(pattern(seed, 998)); count]
        };
        // Many runs that are all too short to lie outside.
        for count in [100, 130, 131, 132, 1_000] {
            let back = pool.submit(give_back::<Vec<ByteBuf>>, short(1, count)).result().unwrap();
            assert!(back == short(1, count));
        }
        // And many that are not.
        let long: Vec<ByteBuf> = (0..300).map(|n| ByteBuf::from(pattern(n, OUTSIDE + n as usize))).collect();
        assert!(pool.submit(give_back::<Vec<ByteBuf>>, long.clone()).result().unwrap() == long);
    }

    fn items_of_a_map_may_be_blobs_of_any_length() {
        let pool = ProcessPoolExecutor::new(2);
        let lengths = around(&[OUTSIDE, FRAME, 2 * FRAME, MEBIBYTE]);
        for chunk in [1, 3, 14] {
            let made = |(&length, seed): (&usize, u64)| (seed, length, Blob::made(seed, length));
            let items: Vec<_> = lengths.iter().zip(3..).map(made).collect();
            let mapping = pool.mapping().chunk_size(chunk).window(20);
            let results = mapping.map(look::<Blob>, items.clone());
            let mut count = 0;
            for (result, (_, length, sent)) in results.into_iter().zip(items) {
                let (is_right, back) = result.unwrap();
                assert!(is_right && back == sent, "{length} bytes in chunks of {chunk}");
                count += 1;
            }
            assert_eq!(count, lengths.len());
        }
    }
}
