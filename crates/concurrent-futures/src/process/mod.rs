//! The pool of processes: the same program started again, memory that is shared with each worker, and
//! two threads that take in results and look after the processes.
//!
//! `parent` is what happens in the process that has the pool, `worker` in the others. Between them lie
//! `ring`, the shared memory; `frame` and `items`, what is written there; and `record` and `call`,
//! which name a function and call it. `sys` is what all of it needs of the system. The models see the
//! rings alone; a system without worker processes sees `elsewhere`.

// Where there are worker processes: Linux on x86-64 and aarch64, and not in models.
macro_rules! with_processes {
    ($($item:item)+) => {
        $(
            #[cfg(all(
                target_os = "linux",
                any(target_arch = "x86_64", target_arch = "aarch64"),
                not(concurrent_futures_loom)
            ))]
            $item
        )+
    };
}

macro_rules! without_processes {
    ($($item:item)+) => {
        $(
            #[cfg(not(all(
                target_os = "linux",
                any(target_arch = "x86_64", target_arch = "aarch64"),
                not(concurrent_futures_loom)
            )))]
            $item
        )+
    };
}

with_processes! {
    mod builder;
    mod call;
    mod clock;
    mod frame;
    #[cfg(any(test, fuzzing))]
    pub mod fuzzing;
    mod items;
    mod parent;
    mod patience;
    mod pool;
    mod record;
    mod ring;
    mod sys;
    pub mod worker;

    pub use builder::ProcessPoolBuilder;
    pub use pool::ProcessPoolExecutor;
}

without_processes! {
    mod elsewhere;
    #[cfg(concurrent_futures_loom)]
    mod ring;

    pub use elsewhere::{ProcessPoolBuilder, ProcessPoolExecutor, worker};
}

mod stats;

pub use stats::{WorkerState, WorkerStats};
