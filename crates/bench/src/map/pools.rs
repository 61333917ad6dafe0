//! Where the items of the suite `map` run, and the sweep over sizes of chunks.

use std::time::Instant;

use concurrent_futures::ProcessPoolExecutor;
use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor};

use super::items::Items;
use crate::measure::{AUTOMATIC, Subject};

/// How many threads or processes run items.
pub(super) const WORKERS: usize = 2;

/// An executor to measure.
pub(super) trait Pool: 'static {
    type Executor: Executor;

    fn open() -> Self::Executor;
}

/// On threads.
pub(super) struct Threads;

impl Pool for Threads {
    type Executor = ThreadPoolExecutor;

    fn open() -> ThreadPoolExecutor {
        ThreadPoolExecutor::new(WORKERS)
    }
}

/// In worker processes.
pub(super) struct Processes;

impl Pool for Processes {
    type Executor = ProcessPoolExecutor;

    fn open() -> ProcessPoolExecutor {
        ProcessPoolExecutor::new(WORKERS)
    }
}

/// Our choice first, then fixed sizes.
pub(super) fn sweep<P: Pool, W: Items>() -> Vec<Subject> {
    vec![
        Subject::new(AUTOMATIC, W::ITEMS, mapped::<P, W, 0>),
        Subject::new("chunk-1", W::ITEMS, mapped::<P, W, 1>),
        Subject::new("chunk-4", W::ITEMS, mapped::<P, W, 4>),
        Subject::new("chunk-16", W::ITEMS, mapped::<P, W, 16>),
        Subject::new("chunk-64", W::ITEMS, mapped::<P, W, 64>),
        Subject::new("chunk-256", W::ITEMS, mapped::<P, W, 256>),
        Subject::new("chunk-1024", W::ITEMS, mapped::<P, W, 1_024>),
        Subject::new("chunk-4096", W::ITEMS, mapped::<P, W, 4_096>),
    ]
}

/// Nanoseconds for an item, from the call to `map` to the last result, with chunks of `CHUNK` items
/// or, if it is 0, of as many as the map likes.
pub(super) fn mapped<P: Pool, W: Items, const CHUNK: usize>(items: u64) -> f64 {
    let pool = P::open();
    // Workers start with the first items.
    map::<_, W, CHUNK>(&pool, items / 10);
    let start = Instant::now();
    let sum = map::<_, W, CHUNK>(&pool, items);
    let time = start.elapsed();
    assert_eq!(sum, (0..items).map(W::expected).sum::<u64>());
    pool.blocking_shutdown(Shutdown::new())
        .expect("nothing here is async");
    time.as_nanos() as f64 / items as f64
}

fn map<E: Executor, W: Items, const CHUNK: usize>(pool: &E, items: u64) -> u64 {
    let mapping = if CHUNK == 0 {
        pool.mapping()
    } else {
        pool.mapping().chunk_size(CHUNK)
    };
    mapping
        .map(W::function, (0..items).map(W::item))
        .into_iter()
        .map(|result| result.expect("the function returns"))
        .sum()
}
