//! What a caller asks of an error: its kind, and all that is known about it.

use std::borrow::Cow;
use std::error::Error;

use super::{Clock, Direction, ErrorKind, Ran, Rejection, TaskError, What, WorkerExit};

impl TaskError {
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

    /// Whether the function returned an error: see the example of [`TaskError`].
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.kind() == ErrorKind::Failed
    }

    /// Whether the function panicked: see [`location`](Self::location).
    #[must_use]
    pub fn is_panicked(&self) -> bool {
        self.kind() == ErrorKind::Panicked
    }

    /// Whether the task was cancelled before it started: see
    /// [`TaskFuture::cancel`](crate::TaskFuture::cancel).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }

    /// Whether the task was stopped while it ran, by ending its worker process: see
    /// [`TaskFuture::abort`](crate::TaskFuture::abort).
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.kind() == ErrorKind::Aborted
    }

    /// Whether the worker process that ran the task is gone: see [`worker_exit`](Self::worker_exit).
    #[must_use]
    pub fn is_worker_lost(&self) -> bool {
        self.kind() == ErrorKind::WorkerLost
    }

    /// Whether an argument or a result is larger than the executor carries: see
    /// [`max_payload`](crate::ProcessPoolBuilder::max_payload).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind() == ErrorKind::TooLarge
    }

    /// Whether a time limit passed: see [`clock`](Self::clock).
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// Whether the executor did not take the task: see [`rejection`](Self::rejection).
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.kind() == ErrorKind::Rejected
    }

    /// Whether the side that had promised the result went away without giving one.
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

    /// Whether a blocking wait was tried in async code.
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

    /// Whether an argument or a result could not be encoded or decoded: see [`direction`](Self::direction).
    #[must_use]
    pub fn is_codec(&self) -> bool {
        self.kind() == ErrorKind::Codec
    }

    /// Whether the wait could never have ended: tasks wait for each other in a circle, which the text names,
    /// or for a place while they hold all places of their pool.
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

    /// Whether no task of a [`select_ok`](crate::select_ok) gave a value.
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

    /// What could not be carried, and where, if this is an error about a value.
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

    /// Whether the worker process that the task was lost with has probably ended for lack of memory. The
    /// error's text gives the evidence:
    ///
    /// - the system had refused it memory, as far as it could still see this when it died;
    /// - it aborted without a panic, in a pool with a
    ///   [`memory_limit`](crate::ProcessPoolBuilder::memory_limit);
    /// - something other than the pool killed it, and the kernel's out-of-memory killer has been at work in
    ///   its control group.
    ///
    /// This is evidence, not proof. Returns false if there is none. The first of these links has an example.
    #[must_use]
    pub fn is_out_of_memory_likely(&self) -> bool {
        matches!(&self.0.what, What::WorkerLost(loss) if loss.lacks_memory)
    }

    /// How many workers the task has cost, if it was lost with its worker: 1 for an ordinary loss, and more
    /// for a task that was [tried again](crate::TaskOptions::retries). Returns 0 for other errors, and for a
    /// task that never began.
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

    /// The text of the panic or of the function's own error, or the explanation that a lost worker left. See
    /// the example of [`TaskError`].
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
    /// `None` for other errors, or if the panic hook was replaced after the first pool was made.
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

    /// The end of what the task had written to stderr, if its pool
    /// [captures output](crate::ProcessPoolBuilder::capture_output) and the task had written anything. This
    /// is at most 20 lines and 4 KiB; bytes that are not UTF-8 are replaced.
    ///
    /// Errors of all kinds have it if the task ran. For items of a map, those that were lost with their
    /// worker have it, including what the items of the same chunk had written. It appears in the `Debug`
    /// output, but not in the text of the error, which is one line; the log has those lines already.
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
    /// Returns an empty slice for other errors.
    #[must_use]
    pub fn errors(&self) -> &[TaskError] {
        match &self.0.what {
            What::AllFailed(errors) | What::Unfinished { errors, .. } => errors,
            _ => &[],
        }
    }

    /// The position of the item in the input of a `map`, or of the future in the input of a group, from 0:
    /// see the example of [`try_join_all`](crate::try_join_all).
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

    /// The function's own error, if the task ran in this process. See the example of [`TaskError`].
    ///
    /// The portable contract is the text of the error and of its sources. If you want typed errors on every
    /// executor, submit a function that returns a `Result` with `submit`.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0
            .source
            .as_deref()
            .and_then(|error| error.downcast_ref())
    }
}
