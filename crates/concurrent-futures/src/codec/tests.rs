//! That values arrive exactly, and that nothing else does.

mod dynamic;
mod exact;
mod hostile;
mod limits;
mod shapes;

use std::error::Error;
use std::fmt::Debug;

use proptest::test_runner::Config;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{decode, encode};
use crate::error::TaskError;

/// As many cases as take about a second in a debug build; failures are printed, and kept nowhere.
fn cases(number: u32) -> Config {
    Config {
        cases: number,
        failure_persistence: None,
        ..Config::default()
    }
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).expect("a value that can be encoded");
    bytes
}

/// Sends a value there and back.
#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let bytes = encoded(&value);
    let arrived: T = decode(&bytes)
        .unwrap_or_else(|error| panic!("{value:?} did not arrive: {}", cause(&error)));
    assert_eq!(arrived, value);
}

fn cause(error: &TaskError) -> String {
    error.source().expect("a cause").to_string()
}
