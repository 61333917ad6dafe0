//! What runs tasks: the trait, what can be submitted, and with which options.

mod admission;
mod building;
mod function;
mod inline;
mod job;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(all(test, concurrent_futures_loom))]
mod models;
mod observer;
mod options;
mod permit;
mod ranked;
mod stats;
mod submit;
mod task_context;

pub use admission::{Admission, Place};
pub use building::{BuildError, BuildErrorKind, InitializerResult};
pub use function::{Fallible, Portable, TaskFn};
pub use inline::InlineExecutor;
pub use job::{Chunk, Job};
pub use observer::{Observer, Run, WorkerId};
pub use options::{Shutdown, TaskOptions};
pub use permit::Permit;
pub use stats::{Stats, Times};
pub use submit::{Executor, WithOptions};
pub use task_context::TaskContext;

pub(crate) use function::assert_captures_nothing;
pub(crate) use job::{Call, TryCall, run_chunk};
#[cfg(feature = "metrics")]
pub(crate) use metrics::{Kind, Metrics, Snapshot};
pub(crate) use observer::Observers;
pub(crate) use ranked::{Ranked, Taken};
pub(crate) use stats::{GROUPING_POWER, MAX_VALUE_POWER};
pub(crate) use submit::{submit, try_submit};
pub(crate) use task_context::{Capture, Entered, capture, capture_here, enter};
