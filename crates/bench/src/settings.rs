//! What the command line says to single cases. Set once, before the first case.

use std::sync::OnceLock;
use std::time::Duration;

/// Settings of single cases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long `idle-wakeups` looks on.
    pub(crate) idle_time: Duration,
    /// How many bytes the parent has in `first-result-big-parent`.
    pub(crate) big_parent: usize,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// To be called once.
pub(crate) fn set(settings: Settings) {
    SETTINGS.set(settings).expect("settings are set once");
}

pub(crate) fn get() -> Settings {
    *SETTINGS.get().expect("settings are set before a case runs")
}
