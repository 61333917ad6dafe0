//! The behaviour of the library, seen through its public interface: CPython's cases re-expressed,
//! and what must happen when things go wrong. `README.md` beside this folder lists every row.

mod as_completed;
mod cancellation;
mod chaos;
mod context;
mod executor;
mod future;
mod groups;
mod harness;
mod initializer;
mod life;
mod map;
#[cfg(feature = "metrics")]
mod metrics;
mod observation;
mod panics;
mod payload;
mod places;
mod priorities;
mod process_life;
mod process_limits;
mod process_output;
mod process_tracing;
mod processes;
mod progress;
mod promise;
mod runtimes;
mod scopes;
mod shutdown;
mod stream;
mod thread_pool;
mod traits;
mod wait;
mod waiting;
mod wakers;
