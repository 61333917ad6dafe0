//! Where leases get their threads: from the system, or from a tokio runtime's blocking pool.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::lease::Lease;
use super::shared::Shared;
use crate::panic;

/// How long a lease on a shared runtime keeps a thread that others may want.
const SHARED_LINGER: Duration = Duration::from_millis(10);

pub(super) enum Spawner {
    Threads {
        name_prefix: String,
        started: AtomicUsize,
        stack_size: Option<usize>,
        keep_alive: Duration,
    },
    Runtime(Handle),
}

impl Spawner {
    /// How long a lease waits for work before it ends.
    pub(super) fn linger(&self) -> Duration {
        match self {
            Self::Threads { keep_alive, .. } => *keep_alive,
            Self::Runtime(_) => SHARED_LINGER,
        }
    }

    /// Whether others wait for the threads that leases are on.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Runtime(_))
    }

    /// Runs a lease of `pool` on a thread.
    ///
    /// # Errors
    /// What the system says when it refuses a thread; then the place of the lease is still taken.
    pub(super) fn spawn(&self, pool: &Arc<Shared>) -> io::Result<()> {
        let pool = Arc::clone(pool);
        match self {
            Self::Threads {
                name_prefix,
                started,
                stack_size,
                ..
            } => {
                // Relaxed: only the uniqueness of the number matters.
                let number = started.fetch_add(1, Ordering::Relaxed);
                let mut builder =
                    std::thread::Builder::new().name(format!("{name_prefix}-{number}"));
                if let Some(bytes) = stack_size {
                    builder = builder.stack_size(*bytes);
                }
                builder.spawn(move || Lease::new(pool).run()).map(drop)
            }
            Self::Runtime(handle) => {
                // Gives its place back itself, if the runtime drops it.
                let lease = Arc::new(Mutex::new(Some(Lease::new(pool))));
                let blocking = Arc::clone(&lease);
                let run = move || {
                    if let Some(lease) = take(&blocking) {
                        lease.run();
                    }
                };
                // When the system refuses the first thread, tokio panics and keeps what it was
                // given, until another thread may come to it.
                let Err(panic) = panic::guard(|| drop(handle.spawn_blocking(run))) else {
                    return Ok(());
                };
                match take(&lease) {
                    Some(lease) => {
                        lease.forget();
                        Err(io::Error::other(panic.message))
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

fn take(lease: &Mutex<Option<Lease>>) -> Option<Lease> {
    lease.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads { name_prefix, .. } => {
                f.debug_tuple("Threads").field(name_prefix).finish()
            }
            Self::Runtime(handle) => f.debug_tuple("Runtime").field(&handle.id()).finish(),
        }
    }
}
