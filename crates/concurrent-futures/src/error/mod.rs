//! The one error type of this crate, opaque, with predicates for what a caller can act on.
//!
//! Always: the text of an error is a lowercase fragment without the text of its cause, which is in
//! `source()`; each future has an error of its own; making one allocates once, so that a result of
//! `Result<T, TaskError>` stays small.

mod kind;
mod questions;
mod text;
mod wire;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

pub use kind::{Clock, Direction, ErrorKind, Ran, Rejection, WorkerExit};
pub(crate) use wire::{RemoteError, WireError, chain};

use crate::panic::Panic;

/// The boxed error that any error converts into, and text as well: see [`TaskError::failed`].
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a task gave no value.
///
/// One opaque type serves all executors. Ask its [`kind`](Self::kind) or a predicate, or print it (`{:#}`
/// adds the texts of its [sources](Error::source)). On threads, [`downcast_ref`](Self::downcast_ref) gets the
/// function's own error back.
///
/// ```
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
///     text.parse()
/// }
///
/// let error = InlineExecutor::new().try_submit(parse, "seven".to_owned()).result().unwrap_err();
/// assert!(error.is_failed());
/// assert_eq!(error.to_string(), "the task failed");
/// assert_eq!(format!("{error:#}"), "the task failed: invalid digit found in string");
/// assert_eq!(error.message().unwrap(), "invalid digit found in string");
/// assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
/// ```
#[derive(Clone)]
pub struct TaskError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    what: What,
    ran: Ran,
    index: Option<usize>,
    name: Option<Arc<str>>,
    source: Option<Arc<dyn Error + Send + Sync + 'static>>,
    /// The last that the task has written to stderr, where that is captured.
    stderr: Option<Arc<str>>,
}

#[derive(Clone)]
enum What {
    Failed,
    Panicked(Panic),
    Cancelled,
    Aborted,
    WorkerLost(Box<Loss>),
    TimedOut {
        clock: Clock,
        limit: Option<Duration>,
        /// The body goes on, or may.
        goes_on: bool,
    },
    TooLarge {
        size: u64,
        limit: u64,
    },
    Unfinished {
        left: usize,
        of: usize,
        /// Of those that are finished, by time.
        errors: Vec<TaskError>,
    },
    /// By time.
    AllFailed(Vec<TaskError>),
    Rejected(Rejection),
    Abandoned,
    WouldBlock,
    Codec(Option<Direction>, Cow<'static, str>),
    Deadlock(Cow<'static, str>),
}

/// A worker process that is gone.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) pid: u32,
    pub(crate) exit: WorkerExit,
    /// What the worker left behind to explain it: a panic's text, a stack overflow.
    pub(crate) note: Option<String>,
    /// How often the task was begun, and each time lost.
    pub(crate) attempts: u32,
    /// There is evidence that memory was lacking.
    pub(crate) lacks_memory: bool,
    /// The function of the task, for who gave it no name.
    pub(crate) function: Option<Cow<'static, str>>,
}

impl Loss {
    /// This loss, of a task that was lost before as `previous` says.
    pub(crate) fn next(self, previous: Option<&TaskError>) -> Self {
        let attempts = previous.map_or(0, TaskError::attempts) + 1;
        Self { attempts, ..self }
    }
}

impl TaskError {
    fn new(what: What, ran: Ran) -> Self {
        Self(Box::new(Inner {
            what,
            ran,
            index: None,
            name: None,
            source: None,
            stderr: None,
        }))
    }

    /// Makes the error of a function that returned `error`.
    ///
    /// ```
    /// use concurrent_futures::{Promise, TaskError};
    ///
    /// let (promise, future) = Promise::<u32>::new();
    /// promise.fail(TaskError::failed("the line is dead")).unwrap();
    /// assert_eq!(future.result().unwrap_err().message().unwrap(), "the line is dead");
    /// ```
    #[must_use]
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::new(What::Failed, Ran::Yes).caused_by(error)
    }

    pub(crate) fn panicked(panic: Panic) -> Self {
        Self::new(What::Panicked(panic), Ran::Yes)
    }

    /// Makes the error of a task that was cancelled before it started: see the example of [`ErrorKind`].
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(What::Cancelled, Ran::No)
    }

    pub(crate) fn timed_out(clock: Clock, limit: Option<Duration>) -> Self {
        let ran = match clock {
            Clock::Queue => Ran::No,
            Clock::Run | Clock::Wait => Ran::Maybe,
        };
        let what = What::TimedOut {
            clock,
            limit,
            goes_on: clock != Clock::Queue,
        };
        Self::new(what, ran)
    }

    /// The error of what took too long, and was ended for it.
    pub(crate) fn overdue(clock: Clock, limit: Duration) -> Self {
        let what = What::TimedOut {
            clock,
            limit: Some(limit),
            goes_on: false,
        };
        Self::new(what, Ran::Maybe)
    }

    /// The error of a task whose running time was over, and whose worker was ended for it.
    pub(crate) fn overrun(limit: Duration) -> Self {
        Self::overdue(Clock::Run, limit)
    }

    pub(crate) fn aborted() -> Self {
        Self::new(What::Aborted, Ran::Maybe)
    }

    pub(crate) fn worker_lost(loss: Loss) -> Self {
        Self::new(What::WorkerLost(Box::new(loss)), Ran::Maybe)
    }

    /// The body has not begun.
    pub(crate) fn never_run(mut self) -> Self {
        self.0.ran = Ran::No;
        self
    }

    pub(crate) fn too_large(size: u64, limit: u64, ran: Ran) -> Self {
        Self::new(What::TooLarge { size, limit }, ran)
    }

    pub(crate) fn unfinished(left: usize, of: usize) -> Self {
        let errors = Vec::new();
        Self::new(What::Unfinished { left, of, errors }, Ran::Maybe)
    }

    /// Adds the errors of those that are finished, to an error made by [`unfinished`](Self::unfinished).
    pub(crate) fn beside(mut self, finished: Vec<Self>) -> Self {
        if let What::Unfinished { errors, .. } = &mut self.0.what {
            *errors = finished;
        }
        self
    }

    /// The error of a group of which one value would have been enough.
    pub(crate) fn all_failed(errors: Vec<Self>) -> Self {
        let ran = match errors.iter().all(|error| error.ran() == Ran::No) {
            true => Ran::No,
            false => Ran::Maybe,
        };
        Self::new(What::AllFailed(errors), ran)
    }

    /// Makes the error of a task that an executor does not take, for back ends: see the example of
    /// [`caused_by`](Self::caused_by).
    #[must_use]
    pub fn rejected(why: Rejection) -> Self {
        Self::new(What::Rejected(why), Ran::No)
    }

    pub(crate) fn abandoned(ran: Ran) -> Self {
        Self::new(What::Abandoned, ran)
    }

    /// The error of a task of another process, of which this one is a fork.
    pub(crate) fn copied() -> Self {
        Self::abandoned(Ran::Maybe)
            .caused_by("this process is a fork of the one that submitted the task")
    }

    pub(crate) fn would_block() -> Self {
        Self::new(What::WouldBlock, Ran::Maybe)
    }

    /// Makes the error of a value of the type `type_name` that could not be encoded or decoded, for back
    /// ends.
    ///
    /// ```
    /// use concurrent_futures::{Direction, TaskError};
    ///
    /// let error = TaskError::codec("u32", "4 bytes are wanted, and there are 3").going(Direction::DecodeResult);
    /// assert!(error.is_codec());
    /// assert_eq!(error.direction(), Some(Direction::DecodeResult));
    /// ```
    #[must_use]
    pub fn codec(type_name: impl Into<Cow<'static, str>>, error: impl Into<BoxError>) -> Self {
        Self::new(What::Codec(None, type_name.into()), Ran::Maybe).caused_by(error)
    }

    /// Says which way the value was going, for an error made by [`codec`](Self::codec); the example is there.
    #[must_use]
    pub fn going(mut self, way: Direction) -> Self {
        if let What::Codec(direction, _) = &mut self.0.what {
            *direction = Some(way);
            self.0.ran = match way {
                Direction::EncodeArguments | Direction::DecodeArguments => Ran::No,
                Direction::EncodeResult | Direction::DecodeResult => Ran::Yes,
            };
        }
        self
    }

    pub(crate) fn deadlock(cycle: impl Into<Cow<'static, str>>) -> Self {
        Self::new(What::Deadlock(cycle.into()), Ran::Maybe)
    }

    /// This error as the cause of another one: `text` says what failed, and what it was takes the place
    /// of "the task".
    pub(crate) fn into_cause(self, what: &str) -> BoxError {
        let (text, source) = match self.0.what {
            What::Failed => (format!("{what} failed"), self.0.source),
            What::Panicked(panic) => {
                let place = panic.location.map(|place| format!(" (at {place})"));
                let place = place.unwrap_or_default();
                (format!("{what} panicked: {}{place}", panic.message), None)
            }
            _ => return self.into(),
        };
        Box::new(Cause { text, source })
    }

    /// Adds the cause, which becomes the [`source`](Error::source).
    ///
    /// ```
    /// use concurrent_futures::{Rejection, TaskError};
    /// use std::error::Error;
    ///
    /// let error = TaskError::rejected(Rejection::Broken).caused_by("the model could not be loaded");
    /// assert_eq!(error.source().unwrap().to_string(), "the model could not be loaded");
    /// ```
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<BoxError>) -> Self {
        self.0.source = Some(Arc::from(error.into()));
        self
    }

    pub(crate) fn at_index(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    pub(crate) fn of_task(mut self, name: Option<Arc<str>>) -> Self {
        self.0.name = name;
        self
    }

    pub(crate) fn with_stderr(mut self, tail: Option<String>) -> Self {
        if let Some(tail) = tail {
            self.0.stderr = Some(tail.into());
        }
        self
    }
}

/// What failed on the way to a task.
#[derive(Debug)]
struct Cause {
    text: String,
    source: Option<Arc<dyn Error + Send + Sync + 'static>>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

// An error is only read, and its source was made before it could be seen.
impl UnwindSafe for TaskError {}
impl RefUnwindSafe for TaskError {}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TaskError");
        debug
            .field("kind", &self.kind())
            .field("text", &format_args!("{self}"))
            .field("ran", &self.0.ran);
        if let Some(index) = self.0.index {
            debug.field("index", &index);
        }
        if let What::WorkerLost(loss) = &self.0.what {
            debug
                .field("worker", &loss.pid)
                .field("exit", &loss.exit)
                .field("attempts", &loss.attempts);
        }
        if let Some(tail) = &self.0.stderr {
            debug.field("stderr_tail", tail);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.errors().last() {
            Some(last) => Some(last),
            None => self.0.source.as_deref().map(|error| error as _),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_a_number_takes_two_words() {
        assert_eq!(size_of::<Result<u64, TaskError>>(), 16);
    }

    #[test]
    fn the_text_of_the_cause_is_not_repeated() {
        let error = TaskError::failed("no such bucket").at_index(3);
        assert_eq!(error.to_string(), "item 3 failed");
        assert_eq!(
            error.source().expect("a cause").to_string(),
            "no such bucket"
        );
    }
}
