//! The executor/future model of Python's `concurrent.futures`, for Rust services on tokio.
//!
//! An [`Executor`] runs functions and gives futures of their results. A [`TaskFuture`] is awaited
//! beside any tokio task, or blocked on in code that is not async:
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
//! Many items are a [`map`](Executor::map), a stream of results in input order that pulls its input
//! as results are taken:
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
//! Several futures are waited for with [`wait`] and [`as_completed`]; [`try_join_all`] and
//! [`select_ok`] stop the rest when an error or a value is enough. What can go wrong is a
//! [`TaskError`]: a function's own error ([`Executor::try_submit`]), a panic, a cancellation, a time
//! limit ([`TaskOptions`]), a rejection, a worker process that was lost. A running task sees with
//! [`task::current`] that it should stop; in a process it can be ended. [`Promise`] is the other end of
//! a future, for results from elsewhere.
//!
//! Who submits faster than the workers work can be held back, or refused at once: an executor with a
//! limit gives [`Permit`]s ([`Executor::reserve`]). [`TaskOptions`] also say which task goes first, and
//! which may be run again when its worker process is lost. A [`TaskContext`] is carried from where a task
//! is submitted to where it runs. Tasks of a [`scope`](ThreadPoolExecutor::scope) borrow from the caller.
//!
//! # Where tasks run
//!
//! | executor | runs tasks | for |
//! |---|---|---|
//! | [`ThreadPoolExecutor`] | on threads | work that blocks or computes |
//! | [`ProcessPoolExecutor`] | in worker processes, on Linux (x86-64, aarch64) | work that may crash, leak or not end |
//! | [`InlineExecutor`] | where they are submitted | tests |
//! | [`AnyExecutor`] | on one of these | a choice at run time |
//!
//! A worker process is this program, started again; it takes over before `main`, so nothing has to be
//! registered or called ([`worker::init`] is for programs that want no life before `main`). Arguments
//! and results cross as [`codec`] says. A crash costs the task that ran:
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
//! Every blocking wait of this crate first sees whether tokio is polling a future on the calling
//! thread. If so, it would stop the runtime, and is an error that says so; in `spawn_blocking`, in
//! `block_in_place` and on plain threads it blocks. What is not noticed is `block_on` of an
//! `unconstrained` future on a multi-threaded runtime.
//!
//! A task may wait for tasks of its own pool, however few workers there are, and tasks that block for
//! each other in a circle get an error: see [`TaskFuture::result`].
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `constructor` (default) | worker processes begin before `main`; without it, `main` begins with [`worker::init`] |
//! | `indicatif` | progress bars: `Map::progress`, `AsCompleted::progress` |
//! | `metrics` | pools publish counters, gauges and histograms through the facade [`metrics`](https://docs.rs/metrics): `ThreadPoolBuilder::metrics`, `ProcessPoolBuilder::metrics`, and `publish_metrics` of pools |

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
pub use task::{
    AbortOutcome, Outcome, Promise, SharedTaskFuture, TaskFuture, TaskHandle, TaskInfo, Waitable,
};
pub use thread::{Scope, ScopedFuture, ThreadPoolBuilder, ThreadPoolExecutor};
pub use wait::{Wait, Waited, Waiting, wait};

#[cfg(doctest)]
mod documents {
    //! The snippets of the documents, compiled and run.

    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/guide.md")]
    struct Guide;

    #[doc = include_str!("../../../docs/python.md")]
    struct Python;
}
