//! How a task ended, in one word, and which task it was: what callbacks and observers are told.

use std::fmt;

use crate::error::{ErrorKind, TaskError};
use crate::id::TaskId;

/// How a task ended, without its value: see [`TaskFuture::outcome`](super::TaskFuture::outcome).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Outcome {
    /// It gave a value.
    Succeeded = 0,
    /// Its function returned an error.
    Failed = 1,
    /// Its function panicked.
    Panicked = 2,
    /// It was cancelled before it started.
    Cancelled = 3,
    /// Its limit for the time in the queue or for the running time passed.
    TimedOut = 4,
    /// The executor did not take it.
    Rejected = 5,
    /// The side that had promised the result went away.
    Abandoned = 6,
    /// Anything else: [`TaskError::kind`] says what.
    Other = 7,
    /// Its worker process is gone.
    WorkerLost = 8,
    /// It was stopped while it ran.
    Aborted = 9,
}

impl Outcome {
    pub(crate) const COUNT: usize = 10;

    pub(crate) fn of<T>(result: &Result<T, TaskError>) -> Self {
        match result {
            Ok(_) => Self::Succeeded,
            Err(error) => Self::of_error(error),
        }
    }

    #[cold]
    pub(crate) fn of_error(error: &TaskError) -> Self {
        match error.kind() {
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Panicked => Self::Panicked,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::Rejected => Self::Rejected,
            ErrorKind::Abandoned => Self::Abandoned,
            ErrorKind::WorkerLost => Self::WorkerLost,
            ErrorKind::Aborted => Self::Aborted,
            ErrorKind::WouldBlock
            | ErrorKind::Codec
            | ErrorKind::TooLarge
            | ErrorKind::Deadlock
            | ErrorKind::AllFailed => Self::Other,
        }
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Succeeded,
            1 => Self::Failed,
            2 => Self::Panicked,
            3 => Self::Cancelled,
            4 => Self::TimedOut,
            5 => Self::Rejected,
            6 => Self::Abandoned,
            8 => Self::WorkerLost,
            9 => Self::Aborted,
            _ => Self::Other,
        }
    }

    /// Whether this is an error in the sense of "first error": anything but a value, or a cancellation or an
    /// abort, which somebody asked for.
    ///
    /// ```
    /// use concurrent_futures::Outcome;
    ///
    /// assert!(Outcome::Panicked.is_error());
    /// assert!(!Outcome::Succeeded.is_error() && !Outcome::Cancelled.is_error());
    /// ```
    #[must_use]
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Succeeded | Self::Cancelled | Self::Aborted)
    }
}

/// Identifies the task that something happened to: see the example of
/// [`Observer::queued`](crate::Observer::queued).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TaskInfo<'a> {
    id: TaskId,
    name: Option<&'a str>,
}

impl<'a> TaskInfo<'a> {
    pub(crate) fn new(id: TaskId, name: Option<&'a str>) -> Self {
        Self { id, name }
    }

    /// The task's id: see the example of [`Observer::queued`](crate::Observer::queued).
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The name that the task was given when it was submitted: see the example of
    /// [`Observer::queued`](crate::Observer::queued).
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        self.name
    }
}

impl fmt::Debug for TaskInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskInfo")
            .field("id", &self.id.get())
            .field("name", &self.name)
            .finish()
    }
}
