//! The way into a worker for programs that want no life before `main`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::sys;

static WAS_CALLED: AtomicBool = AtomicBool::new(false);

/// Becomes a worker, if this process was started as one, and returns at once otherwise.
///
/// By default this is not needed, since a worker takes over before `main`. Programs that want no code to run
/// before `main` switch off the feature `constructor` and call this first thing in `main`. A process pool can
/// only be built after that, since its workers would otherwise run `main` a second time.
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
