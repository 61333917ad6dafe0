//! The way into a worker for programs that want no life before `main`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::sys;

static WAS_CALLED: AtomicBool = AtomicBool::new(false);

/// Becomes a worker, if this process was started as one, and returns at once otherwise.
///
/// Not needed by default: a worker takes over before `main`. Programs that want no life before `main`
/// switch the feature `constructor` off and call this first thing in `main`. A pool of processes can
/// only be built after that, since its workers would run `main` a second time otherwise.
///
/// ```
/// concurrent_futures::worker::init();
/// ```
pub fn init() {
    sys::enter_if_worker();
    WAS_CALLED.store(true, Ordering::Relaxed);
}

/// Workers of this program will find their way.
pub(in crate::process) fn can_begin() -> bool {
    cfg!(feature = "constructor") || WAS_CALLED.load(Ordering::Relaxed)
}
