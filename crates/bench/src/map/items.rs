//! What is mapped: items that carry how much work they are.
//!
//! Worker processes run this very program without its `main`, so nothing that was measured at its
//! start reaches them but in the items.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Instant;

use concurrent_futures::Portable;

/// Items of one kind, and the function on them.
pub(super) trait Items: 'static {
    type Item: Portable;

    /// How many a run has.
    const ITEMS: u64;

    /// Makes the item with this number.
    fn item(number: u64) -> Self::Item;

    fn function(item: Self::Item) -> u64;

    /// What the function gives for the item with this number.
    fn expected(number: u64) -> u64;
}

/// How many multiplications take a microsecond on this machine.
static IN_A_MICROSECOND: LazyLock<u64> = LazyLock::new(|| {
    const ROUND: u64 = 1_000_000;
    let fastest = (0..10)
        .map(|_| {
            let start = Instant::now();
            black_box(multiply(black_box(ROUND)));
            start.elapsed()
        })
        .min()
        .expect("there are ten");
    let in_a_microsecond = ROUND as f64 / (fastest.as_secs_f64() * 1e6);
    (in_a_microsecond as u64).max(1)
});

fn microseconds(number: u64) -> u64 {
    number * *IN_A_MICROSECOND
}

/// Keeps a core busy: each multiplication needs the result of the one before.
fn multiply(times: u64) -> u64 {
    (0..times).fold(1, |product, _| {
        black_box(product).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

fn work(times: u64) -> u64 {
    black_box(multiply(times));
    times
}

/// Twenty microseconds each.
pub(super) struct Even;

impl Items for Even {
    type Item = u64;

    const ITEMS: u64 = 5_000;

    fn item(_number: u64) -> u64 {
        microseconds(20)
    }

    fn function(times: u64) -> u64 {
        work(times)
    }

    fn expected(_number: u64) -> u64 {
        microseconds(20)
    }
}

/// Five microseconds, and a hundred times as long for one in a hundred: ten on average.
pub(super) struct Skewed;

impl Items for Skewed {
    type Item = u64;

    const ITEMS: u64 = 10_000;

    /// The long ones are those whose hash says so: they come at irregular distances.
    fn item(number: u64) -> u64 {
        let mut hash = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^= hash >> 31;
        microseconds(if hash.is_multiple_of(100) { 500 } else { 5 })
    }

    fn function(times: u64) -> u64 {
        work(times)
    }

    fn expected(number: u64) -> u64 {
        Self::item(number)
    }
}

/// 1 KiB each, whose bytes are added up.
pub(super) struct Payload;

const BYTES: usize = 1 << 10;

impl Items for Payload {
    type Item = Vec<u8>;

    const ITEMS: u64 = 20_000;

    fn item(number: u64) -> Vec<u8> {
        vec![number as u8; BYTES]
    }

    fn function(bytes: Vec<u8>) -> u64 {
        bytes.into_iter().map(u64::from).sum()
    }

    fn expected(number: u64) -> u64 {
        u64::from(number as u8) * BYTES as u64
    }
}
