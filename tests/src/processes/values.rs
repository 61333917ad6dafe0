//! Values of every shape arrive in a worker, and come back, exactly as they were.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use concurrent_futures::{Executor, Portable, ProcessPoolExecutor};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::tests;

/// In the order of a worker: what it received, as text, and the value on its way back.
fn look<T: Portable + Debug>(value: T) -> (String, T) {
    (format!("{value:?}"), value)
}

/// All of them arrive there, and come back, as they were. The worker says what it got, since a loss on
/// the way there could be made good on the way back.
fn arrive<T: Portable + Debug + Clone>(pool: &ProcessPoolExecutor, values: Vec<T>) {
    let results = pool.map(look::<T>, values.clone());
    let mut count = 0;
    for (result, sent) in results.into_iter().zip(&values) {
        let (received, returned) = result.unwrap_or_else(|error| panic!("{sent:?}: {error:?}"));
        assert_eq!(received, format!("{sent:?}"), "in the worker");
        assert_eq!(format!("{returned:?}"), format!("{sent:?}"), "back here");
        count += 1;
    }
    assert_eq!(count, values.len());
}

/// So many values of a strategy, the same in every run.
fn generated<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    let one = |_| strategy.new_tree(&mut runner).expect("a value").current();
    (0..count).map(one).collect()
}

/// Every kind of field and variant, in each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Number(i64),
    Wide(i128),
    Natural(u128),
    Float(f64),
    Text(String),
    Letter(char),
    Flag(bool),
    Perhaps(Option<Option<Box<Tree>>>),
    Nothing(()),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Pair(Box<Tree>, Box<Tree>),
    Named {
        left: Box<Tree>,
        right: Option<Box<Tree>>,
        note: Option<()>,
    },
    Keyed(BTreeMap<i32, Tree>),
    Texts(BTreeMap<String, Tree>),
    Outcome(Result<Box<Tree>, String>),
    Json(Value),
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Leaf),
        any::<i64>().prop_map(Tree::Number),
        any::<i128>().prop_map(Tree::Wide),
        any::<u128>().prop_map(Tree::Natural),
        any::<u64>().prop_map(|bits| Tree::Float(f64::from_bits(bits))),
        ".{0,8}".prop_map(Tree::Text),
        any::<char>().prop_map(Tree::Letter),
        any::<bool>().prop_map(Tree::Flag),
        Just(Tree::Perhaps(None)),
        Just(Tree::Perhaps(Some(None))),
        Just(Tree::Nothing(())),
        vec(any::<u8>(), 0..16).prop_map(Tree::Bytes),
        json_values().prop_map(Tree::Json),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed
                .clone()
                .prop_map(|tree| Tree::Perhaps(Some(Some(tree)))),
            vec(inner.clone(), 0..4).prop_map(Tree::List),
            (boxed.clone(), boxed.clone()).prop_map(|(left, right)| Tree::Pair(left, right)),
            (
                boxed.clone(),
                proptest::option::of(boxed.clone()),
                any::<bool>()
            )
                .prop_map(|(left, right, note)| Tree::Named {
                    left,
                    right,
                    note: note.then_some(())
                }),
            btree_map(any::<i32>(), inner.clone(), 0..4).prop_map(Tree::Keyed),
            btree_map(".{0,4}", inner, 0..4).prop_map(Tree::Texts),
            proptest::result::maybe_ok(boxed, ".{0,4}").prop_map(Tree::Outcome),
        ]
    })
}

/// Fields that are left out, or spread over their parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sparse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    second: Vec<u8>,
    third: u8,
    #[serde(flatten)]
    nested: Nested,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Nested {
    #[serde(rename = "inner-name")]
    inner: Option<String>,
    kind: Untagged,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    List(Vec<Untagged>),
    Struct { x: f64, y: Option<u8> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Empty,
    Full {
        text: String,
        more: Vec<Option<Tagged>>,
    },
    Flat(Nested),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    New(Option<Option<u8>>),
    Tuple(u8, String),
    Struct { a: (), b: Option<()> },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Key {
    Unit,
    Pair(u8, Option<String>),
}

tests! {
    fn generated_trees_arrive_exactly() {
        let pool = ProcessPoolExecutor::new(2);
        arrive(&pool, generated(&trees(), 400));
    }

    fn generated_json_arrives_exactly() {
        let pool = ProcessPoolExecutor::new(2);
        arrive(&pool, generated(&json_values(), 300));
        arrive(&pool, vec![json!({"a": [1, -1, 1.5, null, {"b": {}}], "": [[]]}), json!(u64::MAX)]);
    }

    fn floats_keep_every_bit() {
        let pool = ProcessPoolExecutor::new(1);
        let mut bits: Vec<u64> = generated(&any::<u64>(), 200);
        let special = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE];
        bits.extend(special.map(f64::to_bits));
        bits.extend([0x7ff0_0000_0000_0001, 0xfff8_dead_beef_0001, 1]);
        let floats = bits.iter().map(|bits| f64::from_bits(*bits));
        let there = pool.map(|float: f64| (float.to_bits(), float), floats);
        for (result, bits) in there.into_iter().zip(&bits) {
            let (received, returned) = result.unwrap();
            assert_eq!((received, returned.to_bits()), (*bits, *bits));
        }
        let single = f32::from_bits(0x7fa0_0001);
        let received = pool.submit(|float: f32| (float.to_bits(), float), single).result().unwrap();
        assert_eq!((received.0, received.1.to_bits()), (0x7fa0_0001, 0x7fa0_0001));
    }

    fn nested_options_keep_their_depth() {
        type Deep = Option<Option<Option<u8>>>;
        let pool = ProcessPoolExecutor::new(1);
        let deep: [Deep; 4] = [None, Some(None), Some(Some(None)), Some(Some(Some(7)))];
        arrive(&pool, deep.to_vec());
        arrive::<Option<()>>(&pool, vec![None, Some(())]);
        arrive::<Option<Option<()>>>(&pool, vec![None, Some(None), Some(Some(()))]);
        arrive::<Vec<Option<Option<String>>>>(&pool, vec![vec![None, Some(None), Some(Some(String::new()))]]);
        arrive::<Option<Value>>(&pool, vec![None, Some(Value::Null), Some(json!([null]))]);
    }

    fn the_widest_numbers_arrive() {
        let pool = ProcessPoolExecutor::new(1);
        arrive(&pool, vec![0, 1, u128::from(u64::MAX) + 1, u128::MAX]);
        arrive(&pool, vec![i128::MIN, -1, 0, i128::MAX]);
        arrive(&pool, vec![(i64::MIN, u64::MAX, i8::MIN, u8::MAX)]);
        arrive(&pool, vec![NonZeroU16::MIN, NonZeroU16::MAX]);
        arrive(&pool, vec!['\0', 'ß', char::MAX]);
    }

    fn enums_with_every_sort_of_tag_arrive() {
        let pool = ProcessPoolExecutor::new(1);
        let untagged = vec![
            Untagged::Number(-5),
            Untagged::Text("x".to_owned()),
            Untagged::List(vec![Untagged::Number(1), Untagged::List(Vec::new())]),
            Untagged::Struct { x: 1.5, y: None },
            Untagged::Struct { x: -0.0, y: Some(3) },
        ];
        arrive(&pool, untagged.clone());
        let nested = |kind| Nested { inner: Some("i".to_owned()), kind };
        let full = |more| Tagged::Full { text: "t".to_owned(), more };
        arrive(
            &pool,
            vec![
                Tagged::Empty,
                full(vec![None, Some(Tagged::Empty), Some(full(Vec::new()))]),
                Tagged::Flat(nested(Untagged::Number(1))),
            ],
        );
        arrive(
            &pool,
            vec![
                Adjacent::Unit,
                Adjacent::New(None),
                Adjacent::New(Some(None)),
                Adjacent::New(Some(Some(1))),
                Adjacent::Tuple(1, "x".to_owned()),
                Adjacent::Struct { a: (), b: Some(()) },
                Adjacent::Struct { a: (), b: None },
            ],
        );
        let sparse = untagged.into_iter().enumerate().map(|(n, kind)| Sparse {
            first: (n % 2 == 0).then_some(1),
            second: vec![2; n % 3],
            third: 3,
            nested: nested(kind),
            rest: (0..n).map(|n| (format!("key {n}"), json!({ "n": n }))).collect(),
        });
        arrive(&pool, sparse.collect());
    }

    fn maps_with_keys_of_every_sort_arrive() {
        let pool = ProcessPoolExecutor::new(1);
        arrive(&pool, vec![BTreeMap::from([(Key::Unit, 1), (Key::Pair(1, None), 2), (Key::Pair(1, Some("x".into())), 3)])]);
        arrive(&pool, vec![BTreeMap::from([((1_u8, 'x'), "pair"), ((2, 'y'), "other")].map(|(k, v)| (k, v.to_owned())))]);
        arrive(&pool, vec![BTreeMap::from([(None, 1), (Some(None), 2), (Some(Some(true)), 3)])]);
        arrive(&pool, vec![BTreeMap::from([(vec![1_u8, 2], ()), (vec![], ())])]);
        arrive(&pool, vec![HashMap::from([(i128::MIN, "one entry, so its order is known".to_owned())])]);
    }

    fn the_types_of_std_arrive() {
        let pool = ProcessPoolExecutor::new(1);
        arrive(&pool, vec![Duration::MAX, Duration::ZERO, Duration::from_nanos(1)]);
        arrive(&pool, vec![SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890)]);
        arrive(&pool, vec![PathBuf::from("/a/b"), PathBuf::new()]);
        arrive::<IpAddr>(&pool, vec!["1.2.3.4".parse().unwrap(), "::1".parse().unwrap()]);
        arrive(&pool, vec![VecDeque::from([1, 2]), VecDeque::new()]);
        arrive(&pool, vec![BTreeSet::from(["b".to_owned(), "a".to_owned()])]);
        arrive(&pool, vec![Ok::<u8, String>(1), Err("e".to_owned())]);
        arrive(&pool, vec![[[1_u8; 3]; 2]]);
        arrive::<Cow<'static, str>>(&pool, vec![Cow::Borrowed("x")]);
        arrive(&pool, vec![(), ()]);
        arrive(&pool, vec![Box::new(std::num::Wrapping(7_u8))]);
        arrive(&pool, vec![std::cmp::Reverse(7_u8)]);
        arrive(&pool, vec![1..5_u8, 5..5]);
    }

    fn values_of_every_size_arrive() {
        let pool = ProcessPoolExecutor::new(2);
        // Around each bound between a frame, a ring and a file of its own.
        let sizes: Vec<usize> = (0..24).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]).collect();
        let texts: Vec<String> = sizes.iter().map(|size| "xyz".chars().cycle().take(*size).collect()).collect();
        let futures: Vec<_> =
            texts.iter().map(|text| pool.submit(|text: String| (text.len(), text), text.clone())).collect();
        for (future, text) in futures.into_iter().zip(&texts) {
            let (length, returned) = future.result().unwrap();
            assert!(length == text.len() && returned == *text, "{} bytes", text.len());
        }
    }

    fn a_value_that_is_nested_too_deeply_is_an_error_and_no_stack_overflow() {
        let pool = ProcessPoolExecutor::new(1);
        let deep = |depth: usize| {
            (0..depth).fold(Tree::Leaf, |tree, _| Tree::Perhaps(Some(Some(Box::new(tree)))))
        };
        let worker = pool.submit(std::process::id, ()).result().unwrap();
        let depth = |mut tree: &Tree| {
            let mut depth = 0;
            while let Tree::Perhaps(Some(Some(inner))) = tree {
                (tree, depth) = (inner, depth + 1);
            }
            depth
        };
        let forty = pool.submit(|tree: Tree| tree, deep(40)).result().unwrap();
        assert_eq!(depth(&forty), 40);
        let error = pool.submit(|tree: Tree| drop(tree), deep(5_000)).result().unwrap_err();
        assert!(error.is_codec(), "{error:?}");
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), worker);
    }
}
