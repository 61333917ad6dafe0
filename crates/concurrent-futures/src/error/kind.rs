//! What sorts of errors there are, as plain values that a caller can match on.

use std::fmt;

/// What sort of error a [`TaskError`](super::TaskError) is.
///
/// ```
/// use concurrent_futures::{ErrorKind, TaskError};
///
/// /// The status that a web service answers with.
/// fn status(error: &TaskError) -> u16 {
///     match error.kind() {
///         ErrorKind::Rejected | ErrorKind::TimedOut => 503,
///         _ => 500,
///     }
/// }
///
/// assert_eq!(status(&TaskError::cancelled()), 500);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The function returned an error.
    Failed,
    /// The function panicked.
    Panicked,
    /// The task was cancelled before it started.
    Cancelled,
    /// The task was stopped while it ran: its worker process was ended.
    Aborted,
    /// The worker process that ran the task is gone: [`TaskError::worker_exit`](super::TaskError::worker_exit) says how it ended.
    WorkerLost,
    /// An argument or a result is larger than the executor carries.
    TooLarge,
    /// A time limit passed: [`TaskError::clock`](super::TaskError::clock) says which.
    TimedOut,
    /// The executor did not take the task: [`TaskError::rejection`](super::TaskError::rejection) says why.
    Rejected,
    /// The side that had promised the result went away without giving one.
    Abandoned,
    /// A blocking wait was tried where tokio polls futures, and would have stopped them.
    WouldBlock,
    /// An argument or a result could not be encoded or decoded.
    Codec,
    /// The wait could never have ended: see [`TaskError::is_deadlock`](super::TaskError::is_deadlock).
    Deadlock,
    /// One value of several tasks was wanted, but there was none:
    /// [`TaskError::errors`](super::TaskError::errors) says why.
    AllFailed,
}

/// Which time limit passed: see [`TaskError::clock`](super::TaskError::clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// The time between submit and start.
    Queue,
    /// The time since the start.
    Run,
    /// The time that somebody was willing to wait; the task goes on.
    Wait,
}

/// Why an executor did not take a task: see [`TaskError::rejection`](super::TaskError::rejection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// The executor was shut down.
    ShutDown,
    /// The executor cannot run anything any more; the cause is the error's source.
    Broken,
    /// The executor has reached its limit of tasks, or of bytes of their arguments. Tasks whose place was
    /// reserved first are never refused for this reason.
    QueueFull,
    /// The executor could not start a worker, several times in a row; the cause is the error's source.
    /// Starting is tried again for what is submitted later.
    NoWorker,
}

/// Whether the body of a task has run, to decide whether to try again: see
/// [`TaskError::ran`](super::TaskError::ran).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ran {
    /// It has not run, and never will.
    No,
    /// It may have begun, and on threads it may still be running.
    Maybe,
    /// It ran to its end.
    Yes,
}

/// What could not be carried, and where: see [`TaskError::direction`](super::TaskError::direction).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// The arguments, in the process that submitted them.
    EncodeArguments,
    /// The arguments, in the worker.
    DecodeArguments,
    /// The result, in the worker.
    EncodeResult,
    /// The result, in the process that submitted the task.
    DecodeResult,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EncodeArguments => "arguments that cannot be encoded",
            Self::DecodeArguments => "arguments that the worker cannot decode",
            Self::EncodeResult => "a result that the worker cannot encode",
            Self::DecodeResult => "a result that cannot be decoded",
        })
    }
}

/// How a worker process ended: see [`TaskError::worker_exit`](super::TaskError::worker_exit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerExit {
    /// It exited with this code, which is never taken as success.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Unknown, because something else has collected its status: SIGCHLD is ignored, or there was a foreign
    /// `wait`.
    Unknown,
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was ended by signal {signal} ({name})"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::Unknown => f.write_str("ended with an unknown status"),
        }
    }
}

/// The names of the signals that end workers in practice; the numbers are those of Linux.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}
