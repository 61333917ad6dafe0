//! What an error says: a lowercase fragment, with the values in it and without the text of its cause, unless that is
//! asked for.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::kind::{Clock, Ran, Rejection};
use super::{TaskError, What};

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        if f.alternate() {
            let mut next = self.source();
            while let Some(cause) = next {
                write!(f, ": {cause}")?;
                next = cause.source();
            }
        }
        Ok(())
    }
}

impl TaskError {
    /// What happened, without its causes.
    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        match &inner.what {
            What::Unfinished { left, of, .. } => {
                return write!(f, "{left} (of {of}) futures unfinished");
            }
            What::AllFailed(errors) => {
                return write!(f, "none of {} futures succeeded", errors.len());
            }
            What::WouldBlock => {
                return f.write_str(
                    "blocking wait in async code, which would stop this runtime thread: \
                     use .await (of a stream, next().await), or wait in spawn_blocking or block_in_place",
                );
            }
            _ => {}
        }
        let name = match (&inner.name, &inner.what) {
            (None, What::WorkerLost(loss)) => loss.function.as_deref(),
            (name, _) => name.as_deref(),
        };
        match (inner.index, name) {
            (Some(index), Some(name)) => write!(f, "item {index} of the task `{name}` ")?,
            (Some(index), None) => write!(f, "item {index} ")?,
            (None, Some(name)) => write!(f, "the task `{name}` ")?,
            (None, None) => f.write_str("the task ")?,
        }
        match &inner.what {
            What::Failed => f.write_str("failed"),
            What::Panicked(panic) => {
                write!(f, "panicked: {}", panic.message)?;
                match &panic.location {
                    Some(location) => write!(f, " (at {location})"),
                    None => Ok(()),
                }
            }
            What::Cancelled => f.write_str("was cancelled"),
            What::Aborted => f.write_str("was stopped while it ran"),
            What::WorkerLost(loss) => {
                if loss.attempts > 1 {
                    let workers = loss.attempts;
                    write!(
                        f,
                        "has cost {workers} workers and is not tried again, at last "
                    )?;
                } else {
                    f.write_str("lost its worker: ")?;
                }
                write!(f, "process {} {}", loss.pid, loss.exit)?;
                match &loss.note {
                    Some(note) => write!(f, " ({note})"),
                    None => Ok(()),
                }
            }
            What::TooLarge { size, limit } => write!(
                f,
                "has {} of {size} bytes, and at most {limit} are carried: raise max_payload, or pass \
                 a reference such as a path",
                match inner.ran {
                    Ran::No => "an argument",
                    Ran::Maybe | Ran::Yes => "a result",
                }
            ),
            What::TimedOut {
                clock,
                limit,
                goes_on,
            } => overdue(f, *clock, *limit, *goes_on),
            What::Rejected(Rejection::ShutDown) => {
                f.write_str("was not taken: the executor is shut down")
            }
            What::Rejected(Rejection::Broken) => f.write_str("was not run: the executor is broken"),
            What::Rejected(Rejection::QueueFull) => f.write_str(
                "was not taken: the queue is full: wait for a place with reserve, or raise queue_limit \
                 or queue_bytes",
            ),
            What::Rejected(Rejection::NoWorker) => {
                f.write_str("was not run: no worker could be started, several times in a row")
            }
            What::Abandoned => f.write_str("was given up by whoever had promised its result"),
            What::Codec(Some(direction), type_name) => {
                write!(f, "has {direction} (of type `{type_name}`)")
            }
            What::Codec(None, type_name) => {
                write!(
                    f,
                    "has a value that cannot be carried (of type `{type_name}`)"
                )
            }
            What::Deadlock(cycle) => write!(f, "waits for itself: {cycle}"),
            What::Unfinished { .. } | What::AllFailed(_) | What::WouldBlock => Ok(()),
        }
    }
}

fn overdue(
    f: &mut fmt::Formatter<'_>,
    clock: Clock,
    limit: Option<Duration>,
    goes_on: bool,
) -> fmt::Result {
    f.write_str(match clock {
        Clock::Queue => "did not start",
        Clock::Run => "did not finish",
        Clock::Wait => "had no result",
    })?;
    within(f, limit)?;
    f.write_str(match (clock, goes_on) {
        (Clock::Queue, _) => "",
        (Clock::Run, true) => " of its start and may still be running",
        (Clock::Run, false) => " of its start, and was stopped",
        (Clock::Wait, true) => " and goes on",
        (Clock::Wait, false) => ", and what ran was stopped",
    })
}

fn within(f: &mut fmt::Formatter<'_>, limit: Option<Duration>) -> fmt::Result {
    match limit {
        Some(limit) => write!(f, " within {limit:?}"),
        None => f.write_str(" in time"),
    }
}
