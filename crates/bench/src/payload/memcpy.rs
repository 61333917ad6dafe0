//! What a copy costs within one thread.

use std::hint::black_box;
use std::time::Instant;

use super::tasks::{gigabytes, pattern};

/// Gigabytes a second from memory to other memory, all of which was touched before.
pub(super) fn copy(length: usize, tasks: u64) -> f64 {
    let source = pattern(length);
    let mut into = source.to_vec();
    let start = Instant::now();
    for _ in 0..tasks {
        black_box(&mut into).copy_from_slice(black_box(&source));
    }
    gigabytes(length, tasks, start.elapsed())
}
