//! The cases `trivial…`: a million items that are next to no work, so that what is measured is what
//! an item costs beside it.

use std::hint::black_box;
use std::time::Instant;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::items::Items;
use super::pools::Processes;
use super::pools::{Threads, WORKERS, mapped};
use super::python;
use crate::measure::{OURS, Subject};

/// Items that are numbers and stay what they are.
struct Trivial;

impl Items for Trivial {
    type Item = u64;

    const ITEMS: u64 = 1_000_000;

    fn item(number: u64) -> u64 {
        number
    }

    fn function(number: u64) -> u64 {
        black_box(number)
    }

    fn expected(number: u64) -> u64 {
        number
    }
}

pub(super) fn on_threads() -> Vec<Subject> {
    vec![
        Subject::new(OURS, Trivial::ITEMS, mapped::<Threads, Trivial, 0>),
        Subject::new("rayon-par-iter", Trivial::ITEMS, rayon),
    ]
}

pub(super) fn on_processes() -> Vec<Subject> {
    let mut subjects = vec![Subject::new(
        OURS,
        Trivial::ITEMS,
        mapped::<Processes, Trivial, 0>,
    )];
    subjects.extend(python::multiprocessing_pool(Trivial::ITEMS));
    subjects
}

/// A parallel iterator on a pool of its own, collected in order.
fn rayon(items: u64) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(WORKERS)
        .build()
        .expect("there are threads");
    let map = |items: u64| -> u64 {
        let collect = || -> Vec<u64> {
            let items = (0..items).into_par_iter();
            items.map(Trivial::function).collect()
        };
        pool.install(collect).into_iter().sum()
    };
    map(items / 10);
    let start = Instant::now();
    let sum = map(items);
    let time = start.elapsed();
    assert_eq!(sum, (0..items).map(Trivial::expected).sum::<u64>());
    time.as_nanos() as f64 / items as f64
}
