//! The executor/future model of Python's `concurrent.futures`, for Rust services on tokio.
//!
//! An [`Executor`] runs functions and returns futures of their results. Await a [`TaskFuture`] beside
//! any tokio task, or block on it in code that is not async:
//!
//! ```
//! use concurrent_futures::{Executor, TaskError, ThreadPoolExecutor};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), TaskError> {
//!     let pool = ThreadPoolExecutor::new(4);
//!     let future = pool.submit(u64::pow, (2, 10));
//!     assert_eq!(future.await?, 1024);
//!     Ok(())
//! }
//! ```
//!
//! For many items there is [`map`](Executor::map), a stream of results in input order that pulls its
//! input as you take results:
//!
//! ```
//! use concurrent_futures::{Executor, TaskError, ThreadPoolExecutor};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), TaskError> {
//! let pool = ThreadPoolExecutor::new(4);
//! let mut lengths = pool.map(|word: String| word.len(), ["as", "many", "as"].map(String::from));
//! while let Some(length) = lengths.next().await {
//!     assert!(length? >= 2);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The functions of an [`Executor`] capture nothing, and their arguments and results are serde types. On
//! threads, [`ThreadPoolExecutor::spawn`] takes closures that capture anything, and tasks of a
//! [`scope`](ThreadPoolExecutor::scope) borrow from the caller.
//!
//! [`wait`] and [`as_completed`] wait for several futures. [`try_join_all`] and [`select_ok`] stop the
//! rest when an error or a value is enough. If something goes wrong, the result is a [`TaskError`]: a
//! function's own error ([`Executor::try_submit`]), a panic, a cancellation, a time limit
//! ([`TaskOptions`]), a rejection, or a lost worker process. A running task can ask [`task::current`]
//! whether it should stop; in a process it can be ended. [`Promise`] is the other end of a future, for
//! results from elsewhere.
//!
//! An executor with a queue limit can hold back callers that submit faster than the workers work, or
//! refuse them at once: it gives [`Permit`]s ([`Executor::reserve`]). [`TaskOptions`] also say which task
//! goes first, and which may run again if its worker process is lost. A [`TaskContext`] is carried from
//! where a task is submitted to where it runs.
//!
//! # Where tasks run
//!
//! | executor | runs tasks | for |
//! |---|---|---|
//! | [`ThreadPoolExecutor`] | on threads | work that blocks or computes |
//! | [`ProcessPoolExecutor`] | in worker processes, on Linux (x86-64, aarch64) | work that may crash, leak or never end |
//! | [`InlineExecutor`] | where they are submitted | tests |
//! | [`AnyExecutor`] | on one of these | a choice at run time |
//!
//! A worker process is this program, started again. It takes over before `main`, so you need not
//! register or call anything ([`worker::init`] is for programs that want no life before `main`).
//! [`codec`] says how arguments and results cross. A crash costs the task that ran:
//!
//! ```
//! use concurrent_futures::{Executor, ProcessPoolExecutor, TaskError};
//!
//! # fn main() -> Result<(), TaskError> {
//! let pool = ProcessPoolExecutor::new(2);
//! let lost = pool.submit(|| -> u32 { std::process::abort() }, ());
//! let value = pool.submit(u64::pow, (2, 10));
//! assert!(lost.result().unwrap_err().is_worker_lost());
//! assert_eq!(value.result()?, 1024);
//! # Ok(())
//! # }
//! ```
//!
//! # Blocking
//!
//! Every blocking wait of this crate first checks whether tokio is polling a future on the calling
//! thread. If so, blocking would stop the runtime, so the wait returns an error that says so. In
//! `spawn_blocking`, in `block_in_place` and on plain threads it blocks. The check does not notice
//! `block_on` of an `unconstrained` future on a multi-threaded runtime.
//!
//! A task may wait for tasks of its own pool, however few workers there are. Tasks that block for each
//! other in a circle get an error: see [`TaskFuture::result`].
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `constructor` (default) | worker processes take over before `main`; without it, `main` must begin with [`worker::init`] |
//! | `indicatif` | progress bars: `Map::progress`, `AsCompleted::progress` |
//! | `metrics` | pools publish counters, gauges and histograms through the [`metrics`](https://docs.rs/metrics) facade: `ThreadPoolBuilder::metrics`, `ProcessPoolBuilder::metrics`, and `publish_metrics` of pools |

// Items of a feature say so on docs.rs. What differs between systems and in models is hidden from users.
#![cfg_attr(
    docsrs,
    feature(doc_cfg),
    doc(auto_cfg(hide(
        concurrent_futures_loom,
        target_os = "linux",
        target_arch = "x86_64",
        target_arch = "aarch64"
    )))
)]
#![cfg_attr(
    any(concurrent_futures_loom, not(target_os = "linux")),
    allow(
        dead_code,
        unused_imports,
        reason = "some of it is for worker processes only"
    )
)]

mod any;
mod as_completed;
mod blob;
pub mod codec;
mod context;
mod cpus;
mod error;
mod executor;
mod group;
mod id;
mod map;
mod panic;
// Worker processes: Linux on x86-64 and aarch64, and not in models, which see their rings alone.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(concurrent_futures_loom)
))]
mod process;
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(concurrent_futures_loom)
)))]
#[path = "process/elsewhere.rs"]
mod process;
#[cfg(feature = "indicatif")]
mod progress;
pub mod stream;
mod sync;
pub mod task;
mod thread;
mod time;
mod wait;

pub use any::AnyExecutor;
pub use as_completed::{AsCompleted, AsCompletedTimeout, as_completed};
pub use blob::Blob;
pub use error::{BoxError, Clock, Direction, ErrorKind, Ran, Rejection, TaskError, WorkerExit};
pub use executor::{
    Admission, BuildError, BuildErrorKind, Chunk, Executor, Fallible, InitializerResult,
    InlineExecutor, Job, Observer, Permit, Place, Portable, Run, Shutdown, Stats, TaskContext,
    TaskFn, TaskOptions, Times, WithOptions, WorkerId,
};
pub use group::{SelectOk, TryJoinAll, select_ok, try_join_all};
pub use id::TaskId;
pub use map::{Map, Mapping};
#[cfg(all(
    any(test, fuzzing),
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(concurrent_futures_loom)
))]
#[doc(hidden)]
pub use process::fuzzing;
pub use process::{ProcessPoolBuilder, ProcessPoolExecutor, WorkerState, WorkerStats, worker};
#[cfg(feature = "indicatif")]
pub use progress::Progress;
pub use task::{
    AbortOutcome, Outcome, Promise, SharedTaskFuture, TaskFuture, TaskHandle, TaskInfo, Waitable,
};
pub use thread::{Scope, ScopedFuture, ThreadPoolBuilder, ThreadPoolExecutor};
pub use wait::{Wait, Waited, Waiting, wait};

#[cfg(doctest)]
mod documents {
    //! The snippets of the documents, compiled and run.

    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/guide.md")]
    struct Guide;

    #[doc = include_str!("../docs/production.md")]
    struct Production;

    #[doc = include_str!("../docs/processes.md")]
    struct Processes;

    // One document, so that a reader has it all in one place: its snippets need both features.
    #[cfg(all(feature = "indicatif", feature = "metrics"))]
    #[doc = include_str!("../docs/observing.md")]
    struct Observing;

    #[doc = include_str!("../docs/python.md")]
    struct Python;
}
