//! That no value is so deep that it overflows the stack, in either direction.

use std::collections::BTreeMap;
use std::thread;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::dynamic::Dynamic;
use super::{cause, encoded};
use crate::codec::format::tag;
use crate::codec::{MAX_DEPTH, decode, encode};

/// What std gives a thread, and tokio its workers.
const STACK: usize = 2 << 20;

fn on_a_common_stack(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(body)
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Link(Option<Box<Link>>);

/// Has no value, and may not be looked for without end.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "there is none")]
struct Endless(Box<Endless>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    children: Vec<Node>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum External {
    End,
    Newtype(Box<External>),
    Tuple(u8, Option<u8>),
    Fields {
        number: u64,
        text: String,
        inner: Box<External>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    End,
    More {
        number: u64,
        text: String,
        inner: Box<Internal>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    More { number: u64, inner: Box<Untagged> },
    Pair(u8, Box<Untagged>),
    End(u8),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    number: u64,
    #[serde(flatten)]
    more: Option<Box<FlattenedMore>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FlattenedMore {
    inner: Flattened,
}

/// Whether a value of that many levels arrives; `false` if it was refused.
fn crosses<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(
    value: &T,
) -> bool {
    let mut bytes = Vec::new();
    match encode(value, &mut bytes) {
        Ok(()) => {
            let arrived: T = decode(&bytes).unwrap_or_else(|error| panic!("{}", cause(&error)));
            assert_eq!(arrived, *value);
            true
        }
        Err(error) => {
            assert!(cause(&error).contains("levels"), "{}", cause(&error));
            assert!(bytes.is_empty());
            false
        }
    }
}

/// Nests a value level by level until it is refused, and says how often that went well.
fn deepest<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(
    end: T,
    more: impl Fn(T) -> T,
) -> usize {
    let mut value = end;
    for times in 0.. {
        if !crosses(&value) {
            return times - 1;
        }
        value = more(value);
    }
    unreachable!("a value of any depth crosses")
}

#[test]
fn a_value_as_deep_as_allowed_arrives_on_a_common_stack() {
    on_a_common_stack(|| {
        let links = deepest(Link(None), |link| Link(Some(Box::new(link))));
        // A newtype struct and a `Some` each, and the last newtype struct.
        assert_eq!(links, (MAX_DEPTH - 1) / 2);
        let nodes = deepest(Node { children: vec![] }, |node| Node {
            children: vec![node],
        });
        // A struct and a sequence each.
        assert_eq!(nodes, MAX_DEPTH / 2 - 1);
        let variants = deepest(External::End, |inner| External::Newtype(Box::new(inner)));
        assert_eq!(variants, MAX_DEPTH);
    });
}

#[test]
fn so_does_a_deep_value_that_serde_buffers_or_that_has_many_fields() {
    let text = || "text".to_owned();
    on_a_common_stack(move || {
        let fields = deepest(External::End, |inner| External::Fields {
            number: 1,
            text: text(),
            inner: Box::new(inner),
        });
        // The variant and its fields.
        assert_eq!(fields, MAX_DEPTH / 2);
        let internal = deepest(Internal::End, |inner| Internal::More {
            number: 1,
            text: text(),
            inner: Box::new(inner),
        });
        assert_eq!(internal, MAX_DEPTH - 1);
        let untagged = deepest(Untagged::End(1), |inner| Untagged::More {
            number: 1,
            inner: Box::new(inner),
        });
        assert_eq!(untagged, MAX_DEPTH);
        let flattened = deepest(
            Flattened {
                number: 1,
                more: None,
            },
            |inner| Flattened {
                number: 1,
                more: Some(Box::new(FlattenedMore { inner })),
            },
        );
        assert_eq!(flattened, MAX_DEPTH - 1);
        let dynamic = deepest(Dynamic::Unit, |inner| {
            Dynamic::Map(vec![(inner, Dynamic::None)])
        });
        assert_eq!(dynamic, MAX_DEPTH);
        let json = deepest(serde_json::Value::Null, |inner| serde_json::json!([inner]));
        assert_eq!(json, MAX_DEPTH);
    });
}

#[test]
fn a_value_of_100_000_levels_is_not_encoded() {
    on_a_common_stack(|| {
        let mut links = Link(None);
        for _ in 0..100_000 {
            links = Link(Some(Box::new(links)));
        }
        assert!(!crosses(&links));
        // Its own drop would overflow the stack.
        while let Some(next) = links.0 {
            links = *next;
        }
    });
}

#[test]
fn bytes_of_a_million_levels_are_not_decoded() {
    fn refused<T: for<'de> Deserialize<'de>>(bytes: &[u8]) {
        match decode::<T>(bytes) {
            Ok(_) => panic!("a value of a million levels"),
            Err(error) => assert!(error.is_codec()),
        }
    }
    on_a_common_stack(|| {
        let level: [&[u8]; 4] = [
            &[tag::SOME],
            &[tag::SEQUENCE, 1],
            &[tag::MAP, 1, tag::STRING, 1, b'a'],
            &[
                tag::MAP,
                1,
                tag::STRING,
                8,
                b'c',
                b'h',
                b'i',
                b'l',
                b'd',
                b'r',
                b'e',
                b'n',
                tag::SEQUENCE,
                1,
            ],
        ];
        for level in level {
            let mut bytes = level.repeat(1_000_000);
            bytes.push(tag::UNIT);
            refused::<Dynamic>(&bytes);
            refused::<serde_json::Value>(&bytes);
            refused::<Link>(&bytes);
            refused::<Node>(&bytes);
            refused::<External>(&bytes);
            refused::<Internal>(&bytes);
            refused::<Untagged>(&bytes);
            refused::<Flattened>(&bytes);
            // To go past them takes no stack.
            decode::<IgnoredAny>(&bytes).expect("one whole value");
        }
    });
}

#[test]
fn levels_that_take_no_bytes_are_counted_too() {
    on_a_common_stack(|| {
        let error = decode::<Link>(&encoded(&1_u8)).expect_err("a number is not a link");
        assert!(cause(&error).contains("levels"), "{}", cause(&error));
        let error = decode::<Endless>(&encoded(&1_u8)).expect_err("no number is deep enough");
        assert!(cause(&error).contains("levels"), "{}", cause(&error));
    });
}

#[test]
fn levels_beside_each_other_do_not_add_up() {
    let siblings = 2 * MAX_DEPTH;
    let fields = || External::Fields {
        number: 1,
        text: "text".to_owned(),
        inner: Box::new(External::Newtype(Box::new(External::Tuple(1, Some(2))))),
    };
    assert!(crosses(
        &(0..siblings).map(|_| fields()).collect::<Vec<_>>()
    ));
    assert!(crosses(
        &(0..siblings)
            .map(|_| Link(Some(Box::new(Link(None)))))
            .collect::<Vec<_>>()
    ));
    let map: BTreeMap<usize, (u8, serde_json::Value)> = (0..siblings)
        .map(|key| (key, (1, serde_json::json!({"a": [1]}))))
        .collect();
    assert!(crosses(&map));
}
