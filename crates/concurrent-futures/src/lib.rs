//! The executor/future model of Python's `concurrent.futures`, for Rust services on tokio.

mod any;
mod as_completed;
mod context;
mod error;
mod executor;
mod id;
mod map;
mod panic;
pub mod stream;
mod sync;
pub mod task;
mod thread;
mod time;
mod wait;

pub use any::AnyExecutor;
pub use as_completed::{AsCompleted, AsCompletedTimeout, as_completed};
pub use error::{BoxError, Clock, ErrorKind, Ran, Rejection, TaskError};
pub use executor::{
    Chunk, Executor, Fallible, InlineExecutor, Job, Observer, Portable, Run, Shutdown, Stats,
    TaskFn, TaskOptions, Times, WithOptions, WorkerId,
};
pub use id::TaskId;
pub use map::{Map, Mapping};
pub use task::{
    AbortOutcome, Outcome, Promise, SharedTaskFuture, TaskFuture, TaskHandle, TaskInfo, Waitable,
};
pub use thread::{BuildError, InitializerResult, ThreadPoolBuilder, ThreadPoolExecutor};
pub use wait::{Wait, Waited, Waiting, wait};
