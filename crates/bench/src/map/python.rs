//! CPython's `multiprocessing.Pool.map`, measured by a script where there is a Python 3.

use std::process::Command;

use super::pools::WORKERS;
use crate::measure::Subject;

/// Prints seconds. The function is one that Python has itself, written in C. How large chunks are is
/// left to the pool.
const SCRIPT: &str = "
import multiprocessing, sys, time

def measure(workers, items):
    with multiprocessing.get_context('fork').Pool(workers) as pool:
        pool.map(abs, range(items // 10))
        start = time.perf_counter()
        total = sum(pool.map(abs, range(items)))
        seconds = time.perf_counter() - start
    assert total == items * (items - 1) // 2
    return seconds

print(measure(int(sys.argv[1]), int(sys.argv[2])))
";

/// `None`, and a note to the user, if there is no Python.
pub(super) fn multiprocessing_pool(items: u64) -> Option<Subject> {
    let is_there = Command::new("python3").arg("--version").output();
    if let Err(error) = is_there {
        eprintln!("without the pool of CPython: python3 cannot be started: {error}");
        return None;
    }
    Some(Subject::new("cpython-multiprocessing-pool", items, mapped))
}

fn mapped(items: u64) -> f64 {
    let output = Command::new("python3")
        .args(["-c", SCRIPT, &WORKERS.to_string(), &items.to_string()])
        .output()
        .expect("it could be started before");
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().parse::<f64>() {
        Ok(seconds) if output.status.success() => seconds * 1e9 / items as f64,
        _ => panic!(
            "the script of CPython fails: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
