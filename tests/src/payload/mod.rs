//! Arguments and results that do not fit into the memory which pool and worker always share: they arrive
//! exactly, whatever happens to them on the way, and the memory that they take is bounded.

mod bytes;
mod failures;
mod giant;
mod kept;
mod memory;
mod results;

use concurrent_futures::ProcessPoolExecutor;

use crate::harness::eventually;

/// From this length on, bytes lie outside of the encoded value.
const OUTSIDE: usize = 32 << 10;
/// An encoded value of more bytes does not fit into a frame.
const FRAME: usize = 128 << 10;

const MEBIBYTE: usize = 1 << 20;

/// Bytes that no other seed and no shift gives: blocks of an odd length, each with its number.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    const BLOCK: usize = 4_099;
    let mut block: Vec<u8> = (0..BLOCK as u64)
        .map(|n| (n ^ (n >> 8) ^ seed) as u8)
        .collect();
    let mut bytes = Vec::with_capacity(length + BLOCK);
    let mut number = seed << 32;
    while bytes.len() < length {
        block[..8].copy_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&block);
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// The same as letters.
fn text(seed: u64, length: usize) -> String {
    let mut word = (seed % 1_000_000).to_string();
    word.push_str("-äß-abcdefghijklmnopqrstuvwxyz-");
    let mut text = word.repeat(length / word.len() + 1);
    while !text.is_char_boundary(length) {
        text.insert(0, '.');
    }
    text.truncate(length);
    text
}

/// A pool whose workers are there.
fn warm_pool(workers: usize) -> ProcessPoolExecutor {
    let pool = ProcessPoolExecutor::new(workers);
    pool.warm_up().result().expect("all workers start");
    pool
}

/// Ends a worker as somebody outside of the pool would, and waits until the pool has noticed.
fn kill_worker(pool: &ProcessPoolExecutor, pid: u32) {
    let number = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(number, rustix::process::Signal::KILL).expect("it is there");
    eventually("the pool notices", || {
        pool.worker_stats().iter().all(|worker| worker.pid() != pid)
    });
}
