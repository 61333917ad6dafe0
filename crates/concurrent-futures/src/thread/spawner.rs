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

/// What is taken for the stack of a thread of a shared runtime: how large it is cannot be asked, and
/// tokio's default is 2 MiB.
const SHARED_STACK: usize = 256 << 10;

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

    /// How much stack a thread has at least.
    pub(super) fn stack_bytes(&self) -> usize {
        match self {
            Self::Threads { stack_bytes, .. } => *stack_bytes,
            Self::Runtime(_) => SHARED_STACK,
        }
    }

    /// Does `work` on a thread.
    ///
    /// # Errors
    /// What the system says when it refuses a thread, with the work.
    pub(super) fn spawn(&self, work: Work) -> Result<(), (Work, io::Error)> {
        // Whoever takes it first: the thread, or this function when there is none.
        let place = Arc::new(Mutex::new(Some(work)));
        let there = Arc::clone(&place);
        let run = move || {
            if let Some(work) = take(&there) {
                work.run();
            }
        };
        let error = match self {
            Self::Threads {
                name_prefix,
                started,
                stack_bytes,
                ..
            } => {
                // Relaxed: only the uniqueness of the number matters.
                let number = started.fetch_add(1, Ordering::Relaxed);
                let spawned = std::thread::Builder::new()
                    .name(format!("{name_prefix}-{number}"))
                    .stack_size(*stack_bytes)
                    .spawn(run);
                match spawned {
                    Ok(_detached) => return Ok(()),
                    Err(error) => error,
                }
            }
            // When the system refuses the first thread, tokio panics and keeps what it was given,
            // until another thread may come to it. When the runtime shuts down, it drops that.
            Self::Runtime(handle) => match panic::guard(|| drop(handle.spawn_blocking(run))) {
                Ok(()) => return Ok(()),
                Err(panic) => io::Error::other(panic.message),
            },
        };
        match take(&place) {
            Some(work) => Err((work, error)),
            None => Ok(()),
        }
    }
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
