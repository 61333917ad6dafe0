//! Noticing that user code has forked this process without starting another program.
//!
//! A copy made by `fork` has the pool's memory but not its threads, its workers or its segments, so a pool remembers
//! the generation in which it was made and does nothing in a later one. Asking costs one load; `getpid` is a system
//! call.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between the first process and this one. It is counted from the first call on.
pub(in crate::process) fn generation() -> u32 {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the function that is registered sets atomics, which is allowed in a forked copy. It fails only
        // without memory, and then copies are not noticed.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    GENERATION.load(Relaxed)
}

/// Runs in the copy, on its only thread, before `fork` returns there.
extern "C" fn count() {
    GENERATION.fetch_add(1, Relaxed);
    crate::id::forked();
}
