//! Where leases get their threads: from the system, or from a tokio runtime's blocking pool.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::lease::Work;
use crate::panic;

/// How long a lease on a shared runtime keeps a thread that others may want.
const SHARED_LINGER: Duration = Duration::from_millis(10);

/// As std's for the threads that it starts.
pub(super) const DEFAULT_STACK: usize = 2 << 20;

pub(super) enum Spawner {
    Threads {
        name_prefix: String,
        started: AtomicUsize,
        stack_bytes: usize,
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

    /// How much stack a worker's thread has, as far as that is known: how large those of a shared
    /// runtime are cannot be asked.
    pub(super) fn stack_bytes(&self, is_extra: bool) -> usize {
        match self {
            Self::Threads { stack_bytes, .. } => *stack_bytes,
            Self::Runtime(_) if is_extra => DEFAULT_STACK,
            Self::Runtime(_) => 0,
        }
    }

    /// Does `work` on a thread.
    ///
    /// # Errors
    /// What the system says when it refuses a thread, with the work.
    pub(super) fn spawn(&self, work: Work) -> Result<(), (Work, io::Error)> {
        let is_extra = matches!(work, Work::Extra(_));
        // Whoever takes it first: the thread, or this function when there is none.
        let place = Arc::new(Mutex::new(Some(work)));
        let there = Arc::clone(&place);
        let run = move || {
            if let Some(work) = take(&there) {
                work.run();
            }
        };
        let spawned = match self {
            Self::Threads {
                name_prefix,
                started,
                stack_bytes,
                ..
            } => {
                // Relaxed: only the uniqueness of the number matters.
                let number = started.fetch_add(1, Ordering::Relaxed);
                spawn_thread(format!("{name_prefix}-{number}"), *stack_bytes, run)
            }
            // Those that a runtime has may all wait for this one.
            Self::Runtime(_) if is_extra => spawn_thread("pool-extra".into(), DEFAULT_STACK, run),
            // When the system refuses the first thread, tokio panics and keeps what it was given,
            // until another thread may come to it. When the runtime shuts down, it drops that.
            Self::Runtime(handle) => panic::guard(|| drop(handle.spawn_blocking(run)))
                .map_err(|panic| io::Error::other(panic.message)),
        };
        match spawned {
            Ok(()) => Ok(()),
            Err(error) => take(&place).map_or(Ok(()), |work| Err((work, error))),
        }
    }
}

fn spawn_thread(name: String, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name).stack_size(stack);
    thread.spawn(run).map(drop)
}

fn take(place: &Mutex<Option<Work>>) -> Option<Work> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
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
