//! The case `memory`: what a task takes that waits for a worker, its place in the queue included. And how
//! much memory this process has.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::thread;

use crate::threads::{Flavor, Pool, WORKERS, in_runtime};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, with a count of the bytes that were asked for and are not given back.
///
/// It counts only while it is told to: otherwise it costs a load that is always in the cache and a
/// branch that is always foreseen, which the timings of the other cases do not show.
struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);

fn count(bytes: usize, sign: i64) {
    if IS_COUNTING.load(Ordering::Relaxed) {
        let bytes = i64::try_from(bytes).expect("no layout is larger than half the memory");
        LIVE.fetch_add(sign * bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it is; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(new_size, 1);
        // SAFETY: the caller keeps to the contract, which is the same, and `pointer` came from here.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps to the contract, which is the same, and `pointer` came from here.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Closed while somebody holds it for writing.
static GATE: RwLock<()> = RwLock::new(());
static AT_GATE: AtomicU64 = AtomicU64::new(0);

fn pass_gate(number: u64) -> u64 {
    AT_GATE.fetch_add(1, Ordering::Relaxed);
    let _open = GATE.read().unwrap_or_else(PoisonError::into_inner);
    number
}

/// Bytes for a task that waits while all workers are busy. The futures themselves are not counted,
/// but all that they point to is.
pub(crate) fn pending<P: Pool>(tasks: u64) -> f64 {
    in_runtime::<P>(Flavor::CurrentThread, async |pool: &P| {
        let capacity = usize::try_from(tasks).expect("few enough for memory");
        let mut futures = Vec::with_capacity(capacity + WORKERS);
        AT_GATE.store(0, Ordering::Relaxed);
        let gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
        futures.extend((0..WORKERS as u64).map(|number| pool.submit(pass_gate, number)));
        // Whatever the workers need for themselves is there when both are at the gate.
        while AT_GATE.load(Ordering::Relaxed) < WORKERS as u64 {
            thread::yield_now();
        }
        LIVE.store(0, Ordering::Relaxed);
        IS_COUNTING.store(true, Ordering::Relaxed);
        futures.extend((0..tasks).map(|number| pool.submit(pass_gate, number)));
        IS_COUNTING.store(false, Ordering::Relaxed);
        drop(gate);
        for future in futures {
            P::value(future.await);
        }
        LIVE.load(Ordering::Relaxed) as f64 / tasks as f64
    })
}

/// Bytes of this process that are in memory.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.expect("the system says how much is resident") << 10
}
