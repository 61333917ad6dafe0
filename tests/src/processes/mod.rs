//! What is particular to pools of worker processes. What they have in common with other executors is
//! in the modules beside this one, instantiated as `processes`.

mod contexts;
mod deadlock;
mod hand_over;
mod initializer;
mod map;
mod pool;
mod priorities;
mod retries;
mod stats;
mod values;

use concurrent_futures::{Executor as _, ProcessPoolExecutor};

/// The process id of the worker that runs this.
fn pid_of(pool: &ProcessPoolExecutor) -> u32 {
    pool.submit(std::process::id, ())
        .result()
        .expect("the pool works")
}

/// Ends a process as somebody outside of the pool would.
fn kill(pid: u32) {
    let pid = i32::try_from(pid).expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
}
