//! Worker processes to measure, ours and others, and what a process costs without any pool.

mod ballast;
mod cpython;
mod linux;
mod ours;
mod pool;
mod procspawn;
mod program;

pub(crate) use ballast::Ballast;
pub(crate) use cpython::{CPython, Measurement, PythonPool};
pub(crate) use linux::{Threads, kill, on_cpu, private_resident_bytes, usable_cpus};
pub(crate) use ours::Ours;
pub(crate) use pool::{Pool, worker_pids};
pub(crate) use procspawn::Procspawn;
pub(crate) use program::{Companion, Echo, play_role, socket_of_companion, start_and_wait};

/// How many worker processes a pool has, unless a case says otherwise.
pub(crate) const WORKERS: usize = 2;
