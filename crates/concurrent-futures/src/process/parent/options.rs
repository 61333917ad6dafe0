//! What a pool of processes was built with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::executor::Observers;
use crate::process::carried::Capture;
use crate::process::record::Name;
use crate::process::sys::Limits;

/// Validated options.
pub(in crate::process) struct Options {
    /// The only one that changes: under the pool's lock.
    pub(in crate::process) max_workers: AtomicUsize,
    pub(in crate::process) name: Arc<str>,
    /// The call, and its encoded argument.
    pub(in crate::process) initializer: Option<(Name, Vec<u8>)>,
    pub(in crate::process) max_tasks_per_worker: Option<usize>,
    pub(in crate::process) environment: Vec<(OsString, Option<OsString>)>,
    pub(in crate::process) current_dir: Option<PathBuf>,
    pub(in crate::process) start_timeout: Duration,
    pub(in crate::process) kill_grace: Duration,
    pub(in crate::process) idle_timeout: Duration,
    pub(in crate::process) max_payload: u64,
    pub(in crate::process) queue_limit: Option<usize>,
    pub(in crate::process) queue_bytes: Option<u64>,
    pub(in crate::process) observers: Observers,
    pub(in crate::process) contexts: Vec<Capture>,
    /// As the initializer.
    pub(in crate::process) finalizer: Option<(Name, Vec<u8>)>,
    pub(in crate::process) capture_output: bool,
    pub(in crate::process) stopped_timeout: Duration,
    pub(in crate::process) limits: Limits,
    /// In bytes.
    pub(in crate::process) max_memory_per_worker: Option<u64>,
    pub(in crate::process) cpus_per_worker: usize,
}

impl Options {
    /// How many workers there may be now.
    pub(in crate::process) fn max_workers(&self) -> usize {
        // Relaxed: who needs more than a number has the lock.
        self.max_workers.load(Ordering::Relaxed)
    }
}
