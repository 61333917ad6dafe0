//! Waits inside a pool, for work of the same pool or of another one.

mod corners;
mod refused_threads;
mod rules;

use std::time::Duration;

use concurrent_futures::{TaskFuture, ThreadPoolExecutor};

/// A time limit that is never reached.
const LONG: Duration = Duration::from_secs(50);

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// A task that waits for a task, and so on; how many there were.
fn depth_by(
    pool: &ThreadPoolExecutor,
    depth: usize,
    take: fn(TaskFuture<usize>) -> usize,
) -> usize {
    if depth == 0 {
        return 0;
    }
    let inner = pool.clone();
    1 + take(pool.spawn(move || depth_by(&inner, depth - 1, take)))
}
