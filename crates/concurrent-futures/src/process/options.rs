//! What a pool of processes was built with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::record::Name;
use crate::executor::Observer;

/// Validated options.
pub(super) struct Options {
    pub(super) max_workers: usize,
    pub(super) name: Arc<str>,
    /// The call, and its encoded argument.
    pub(super) initializer: Option<(Name, Vec<u8>)>,
    pub(super) max_tasks_per_worker: Option<usize>,
    pub(super) environment: Vec<(OsString, Option<OsString>)>,
    pub(super) current_dir: Option<PathBuf>,
    pub(super) start_timeout: Duration,
    pub(super) kill_grace: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_payload: u64,
    pub(super) observer: Option<Arc<dyn Observer>>,
}
