//! The one error type of this crate, opaque, with predicates for what a caller can act on.
//!
//! Always: the text of an error is a lowercase fragment without the text of its cause, which is in
//! `source()`; each future has an error of its own; making one allocates once, so that a result of
//! `Result<T, TaskError>` stays small.

mod kind;
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
/// One opaque type for all executors: ask [`kind`](Self::kind) or a predicate, print it with its
/// [`source`](Error::source) chain, or get the function's own error back with
/// [`downcast_ref`](Self::downcast_ref) (on threads).
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

    /// The error of a function that returned `error`.
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

    /// The error of a task that was cancelled before it started: see the example of [`ErrorKind`].
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

    /// The error of a task that an executor does not take, for back ends: see the example of
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

    /// The error of a value of the type `type_name` that could not be encoded or decoded, for back ends.
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

    /// Says which way the value was going, of an error made by [`codec`](Self::codec), where there is an
    /// example.
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

    /// Adds the cause, which then is the [`source`](Error::source).
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

    /// What sort of error this is: see the example of [`ErrorKind`].
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.0.what {
            What::Failed => ErrorKind::Failed,
            What::Panicked(_) => ErrorKind::Panicked,
            What::Cancelled => ErrorKind::Cancelled,
            What::Aborted => ErrorKind::Aborted,
            What::WorkerLost(_) => ErrorKind::WorkerLost,
            What::TooLarge { .. } => ErrorKind::TooLarge,
            What::TimedOut { .. } | What::Unfinished { .. } => ErrorKind::TimedOut,
            What::Rejected(_) => ErrorKind::Rejected,
            What::Abandoned => ErrorKind::Abandoned,
            What::WouldBlock => ErrorKind::WouldBlock,
            What::Codec(..) => ErrorKind::Codec,
            What::Deadlock(_) => ErrorKind::Deadlock,
            What::AllFailed(_) => ErrorKind::AllFailed,
        }
    }

    /// The function returned an error: see the example of [`TaskError`].
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.kind() == ErrorKind::Failed
    }

    /// The function panicked: see [`location`](Self::location).
    #[must_use]
    pub fn is_panicked(&self) -> bool {
        self.kind() == ErrorKind::Panicked
    }

    /// The task was cancelled before it started: see [`TaskFuture::cancel`](crate::TaskFuture::cancel).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }

    /// The task was stopped while it ran, and its worker process was ended for that: see
    /// [`TaskFuture::abort`](crate::TaskFuture::abort).
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.kind() == ErrorKind::Aborted
    }

    /// The worker process that ran the task is gone: see [`worker_exit`](Self::worker_exit).
    #[must_use]
    pub fn is_worker_lost(&self) -> bool {
        self.kind() == ErrorKind::WorkerLost
    }

    /// An argument or a result is larger than the executor carries: see
    /// [`max_payload`](crate::ProcessPoolBuilder::max_payload).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind() == ErrorKind::TooLarge
    }

    /// A time limit passed: see [`clock`](Self::clock).
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// The executor did not take the task: see [`rejection`](Self::rejection).
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.kind() == ErrorKind::Rejected
    }

    /// Whoever had promised the result went away without giving one.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, future) = Promise::<u32>::new();
    /// drop(promise);
    /// assert!(future.result().unwrap_err().is_abandoned());
    /// ```
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.kind() == ErrorKind::Abandoned
    }

    /// A blocking wait was tried in async code.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (_promise, future) = Promise::<u32>::new();
    /// assert!(future.result().unwrap_err().is_would_block());
    /// # }
    /// ```
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        self.kind() == ErrorKind::WouldBlock
    }

    /// An argument or a result could not be encoded or decoded: see [`direction`](Self::direction).
    #[must_use]
    pub fn is_codec(&self) -> bool {
        self.kind() == ErrorKind::Codec
    }

    /// The wait could never have ended: tasks wait for each other in a circle, which the text names, or
    /// for a place while they have all places of their pool.
    ///
    /// ```
    /// use concurrent_futures::{TaskFuture, ThreadPoolExecutor};
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (give, itself) = channel::<TaskFuture<()>>();
    /// let (tell, told) = channel();
    /// let task = pool.spawn(move || tell.send(itself.recv().unwrap().result()).unwrap());
    /// give.send(task).unwrap();
    /// assert!(told.recv().unwrap().unwrap_err().is_deadlock());
    /// ```
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        self.kind() == ErrorKind::Deadlock
    }

    /// No task of a [`select_ok`](crate::select_ok) gave a value.
    #[must_use]
    pub fn is_all_failed(&self) -> bool {
        self.kind() == ErrorKind::AllFailed
    }

    /// Which time limit passed, if one did.
    ///
    /// ```
    /// use concurrent_futures::{Clock, Promise};
    /// use std::time::Duration;
    ///
    /// let (_promise, mut future) = Promise::<u32>::new();
    /// let error = future.result_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// // It was the wait that took too long, and the task may still give its result.
    /// assert_eq!(error.clock(), Some(Clock::Wait));
    /// ```
    #[must_use]
    pub fn clock(&self) -> Option<Clock> {
        match self.0.what {
            What::TimedOut { clock, .. } => Some(clock),
            What::Unfinished { .. } => Some(Clock::Wait),
            _ => None,
        }
    }

    /// Why the executor did not take the task, if that is what happened.
    ///
    /// ```
    /// use concurrent_futures::{Executor, InlineExecutor, Rejection, Shutdown};
    ///
    /// let executor = InlineExecutor::new();
    /// executor.blocking_shutdown(Shutdown::new())?;
    /// let error = executor.submit(u64::pow, (2, 10)).result().unwrap_err();
    /// assert!(error.is_rejected());
    /// assert_eq!(error.rejection(), Some(Rejection::ShutDown));
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        match self.0.what {
            What::Rejected(why) => Some(why),
            _ => None,
        }
    }

    /// What could not be carried, and where, of an error about a value.
    ///
    /// ```
    /// use concurrent_futures::{Direction, Executor, ProcessPoolExecutor};
    /// use std::ffi::OsString;
    /// use std::os::unix::ffi::OsStringExt;
    /// use std::path::PathBuf;
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// // serde can write paths of UTF-8 only.
    /// let path = PathBuf::from(OsString::from_vec(vec![0xff]));
    /// let error = pool.submit(|path: PathBuf| path.exists(), path).result().unwrap_err();
    /// assert!(error.is_codec());
    /// assert_eq!(error.direction(), Some(Direction::EncodeArguments));
    /// ```
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        match self.0.what {
            What::Codec(direction, _) => direction,
            _ => None,
        }
    }

    /// How the worker process ended, if the task was lost with it.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, WorkerExit};
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let error = pool.submit(|| -> u32 { std::process::exit(3) }, ()).result().unwrap_err();
    /// assert!(error.is_worker_lost());
    /// assert_eq!(error.worker_exit(), Some(WorkerExit::Code(3)));
    /// assert!(error.worker_pid().is_some());
    /// ```
    #[must_use]
    pub fn worker_exit(&self) -> Option<WorkerExit> {
        match &self.0.what {
            What::WorkerLost(loss) => Some(loss.exit),
            _ => None,
        }
    }

    /// The process id of the worker that the task was lost with. See the example of
    /// [`worker_exit`](Self::worker_exit).
    #[must_use]
    pub fn worker_pid(&self) -> Option<u32> {
        match &self.0.what {
            What::WorkerLost(loss) => Some(loss.pid),
            _ => None,
        }
    }

    /// The worker process that the task was lost with has probably ended for lack of memory. The error's text
    /// says what speaks for that:
    ///
    /// - the system had refused it memory, as far as it could still see that when it died;
    /// - it aborted without a panic, in a pool with a
    ///   [`memory_limit`](crate::ProcessPoolBuilder::memory_limit);
    /// - it was killed by somebody else than the pool, and the kernel's out-of-memory killer has been at work in
    ///   its control group.
    ///
    /// All this is evidence and no proof. False where there is none. An example is at the first of these links.
    #[must_use]
    pub fn is_out_of_memory_likely(&self) -> bool {
        matches!(&self.0.what, What::WorkerLost(loss) if loss.lacks_memory)
    }

    /// How many workers the task has cost, if it was lost with its worker: 1 for an ordinary loss, more
    /// for a task that was [tried again](crate::TaskOptions::retries). 0 for other errors, and for a task
    /// that never began.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor, TaskOptions};
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let twice = pool.with(TaskOptions::new().retries(1));
    /// let error = twice.submit(|| -> u32 { std::process::exit(3) }, ()).result().unwrap_err();
    /// assert!(error.is_worker_lost());
    /// assert_eq!(error.attempts(), 2);
    /// ```
    #[must_use]
    pub fn attempts(&self) -> u32 {
        match &self.0.what {
            What::WorkerLost(loss) => loss.attempts,
            _ => 0,
        }
    }

    /// Whether the body of the task has run.
    ///
    /// ```
    /// use concurrent_futures::{Promise, Ran, TaskError};
    ///
    /// /// Whether to try again what must not be done twice.
    /// fn is_safe_to_repeat(error: &TaskError) -> bool {
    ///     error.ran() == Ran::No
    /// }
    ///
    /// let (_promise, future) = Promise::<u32>::new();
    /// future.cancel();
    /// assert!(is_safe_to_repeat(&future.result().unwrap_err()));
    /// ```
    #[must_use]
    pub fn ran(&self) -> Ran {
        self.0.ran
    }

    /// What the panic or the function's own error said; what a lost worker left as explanation. See the
    /// example of [`TaskError`].
    #[must_use]
    pub fn message(&self) -> Option<Cow<'_, str>> {
        match &self.0.what {
            What::WorkerLost(loss) => loss.note.as_deref().map(Cow::Borrowed),
            What::Panicked(panic) => Some(Cow::Borrowed(&panic.message)),
            What::Failed => self
                .0
                .source
                .as_ref()
                .map(|error| Cow::Owned(error.to_string())),
            _ => None,
        }
    }

    /// Where the panic happened, as `file:line:column`.
    ///
    /// `None` for other errors, and where somebody replaced the panic hook after the first pool was
    /// made.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let error = pool.submit(|| -> u32 { panic!("no luck") }, ()).result().unwrap_err();
    /// assert!(error.is_panicked());
    /// assert_eq!(error.message().unwrap(), "no luck");
    /// assert!(error.location().unwrap().contains(".rs:"));
    /// ```
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        match &self.0.what {
            What::Panicked(panic) => panic.location.as_deref(),
            _ => None,
        }
    }

    /// The last that the task had written to stderr, if its pool
    /// [captures output](crate::ProcessPoolBuilder::capture_output) and it had written anything: at most 20
    /// lines and 4 KiB, with bytes that are no UTF-8 replaced.
    ///
    /// Errors of whatever kind have it if the task ran, and of the items of a map those that were lost
    /// with their worker, with what the items of the same chunk had written. It is in the `Debug` output,
    /// and not in the text of the error, which is one line; the log has those lines already.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ProcessPoolExecutor};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).capture_output(true).build()?;
    /// let task = || -> u8 {
    ///     eprintln!("the image has 0 columns");
    ///     std::process::abort()
    /// };
    /// let error = pool.submit(task, ()).result().unwrap_err();
    /// assert!(error.is_worker_lost());
    /// assert_eq!(error.stderr_tail(), Some("the image has 0 columns"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stderr_tail(&self) -> Option<&str> {
        self.0.stderr.as_deref()
    }

    /// The errors of the tasks that had failed when a [`select_ok`](crate::select_ok) ended without a
    /// value, in the order in which they failed. The last of them is the [`source`](Error::source).
    ///
    /// Empty for other errors.
    #[must_use]
    pub fn errors(&self) -> &[TaskError] {
        match &self.0.what {
            What::AllFailed(errors) | What::Unfinished { errors, .. } => errors,
            _ => &[],
        }
    }

    /// The position of the item in the input of a `map`, or of the future in that of a group, from 0: see
    /// the example of [`try_join_all`](crate::try_join_all).
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// The name that the task was given when it was submitted.
    ///
    /// ```
    /// use concurrent_futures::{Executor, InlineExecutor, TaskOptions};
    ///
    /// let named = TaskOptions::new().name("parse");
    /// let future = InlineExecutor::new().with(named).submit(|| -> u32 { panic!("no luck") }, ());
    /// assert_eq!(future.result().unwrap_err().task_name(), Some("parse"));
    /// ```
    #[must_use]
    pub fn task_name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The function's own error, where the task ran in this process. See the example of [`TaskError`].
    ///
    /// The portable contract is the text of the error and of its sources; who wants typed errors on
    /// every executor submits a function that returns a `Result` with `submit`.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0
            .source
            .as_deref()
            .and_then(|error| error.downcast_ref())
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
