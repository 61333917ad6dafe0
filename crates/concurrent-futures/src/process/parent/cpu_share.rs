//! What workers are told of how many threads to start, so that `n` workers do not start `n` times as many as there are
//! CPUs.

use std::env;
use std::ffi::OsString;

use super::options::Options;
use crate::cpus;

/// Where common libraries look for the number of their threads. The idea is that of loky, the process pool of joblib,
/// which sets those of them that numerical libraries read.
const VARIABLES: [&str; 5] = [
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
];

/// How many CPUs each of so many workers has to itself.
pub(in crate::process) fn of_each(workers: usize) -> usize {
    (cpus::usable() / workers.max(1)).max(1)
}

/// The variables of the workers that differ from ours.
pub(super) fn environment(options: &Options) -> Vec<(OsString, Option<OsString>)> {
    let share = OsString::from(options.cpus_per_worker.to_string());
    VARIABLES
        .iter()
        .filter(|name| !is_set_by_user(name))
        .map(|name| (OsString::from(name), Some(share.clone())))
        // The last of several counts.
        .chain(options.environment.iter().cloned())
        .collect()
}

/// The user has set the variable in this process. In a worker, what its own pool has said does not count.
fn is_set_by_user(name: &str) -> bool {
    let told = cpus::share().map(|share| OsString::from(share.to_string()));
    env::var_os(name).is_some_and(|value| Some(value) != told)
}
