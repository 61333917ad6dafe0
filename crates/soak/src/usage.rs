//! What this process uses, and whether that grows.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Memory may differ by this much from batch to batch, in bytes: it is given back in large pieces.
const MEMORY_VARIES: u64 = 24 << 20;
const FILES_VARY: u64 = 8;
const THREADS_VARY: u64 = 4;

/// What the process uses while nothing runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Memory of its own, in bytes.
    memory: u64,
    files: u64,
    threads: u64,
}

impl Usage {
    pub(crate) fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            value
                .and_then(|value| value.parse().ok())
                .with_context(|| format!("/proc/self/status has no {name}"))
        };
        Ok(Self {
            memory: field("RssAnon:")? << 10,
            files: fs::read_dir("/proc/self/fd")?.count() as u64,
            threads: field("Threads:")?,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7.1} MiB {:>4} descriptors {:>3} threads",
            self.memory as f64 / f64::from(1 << 20),
            self.files,
            self.threads
        )
    }
}

/// What it is, how much of it is used, and by how much that varies.
type Part = (&'static str, fn(Usage) -> u64, u64);

/// Fails if the least of the last third is more than the most of the second: what only varies has been as
/// low as before, and what grows has not. The first third is for what everything needs once.
pub(crate) fn check(samples: &[(Duration, Usage)]) -> Result<()> {
    let end = samples.last().map_or(Duration::ZERO, |sample| sample.0);
    let third = |number: u32| {
        samples
            .iter()
            .filter(move |(time, _)| *time >= end * number / 3 && *time <= end * (number + 1) / 3)
            .map(|(_, usage)| *usage)
    };
    let parts: [Part; 3] = [
        ("bytes of memory", |usage| usage.memory, MEMORY_VARIES),
        ("descriptors", |usage| usage.files, FILES_VARY),
        ("threads", |usage| usage.threads, THREADS_VARY),
    ];
    for (what, part, varies) in parts {
        let before = third(1).map(part).max();
        let after = third(2).map(part).min();
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        ensure!(
            after <= before + varies,
            "it grows: {before} {what} at most, and then {after} at least"
        );
        println!("{what}: at most {before}, and then at least {after}");
    }
    Ok(())
}
