//! What users carry from where a task is submitted to where it runs.
//!
//! Always: a panic in the user's part is the task's error, which names the context.

use std::any::{Any, type_name};

use super::function::Portable;
use crate::error::TaskError;
use crate::panic::{self, Panic};
use crate::task::Environment;

/// Something of the submitting thread that tasks should find where they run: the id of a request, a locale, a
/// tenant.
///
/// A pool carries the context once it is [registered](crate::ThreadPoolBuilder::context) with its builder, to
/// threads and to [worker processes](crate::ProcessPoolBuilder::context) alike. Several contexts are entered
/// in the order in which they were registered, and left in reverse order.
///
/// In async code, a thread-local does not follow a request from thread to thread. There, `capture` can read a
/// `tokio::task_local!`.
///
/// For a [`map`](crate::Executor::map), the code that pulls the results captures the value when it submits a
/// chunk of items. The value is entered once for all items of the chunk. For tasks of an
/// [`InlineExecutor`](crate::InlineExecutor), the context is there already.
///
/// A panic in `capture`, in `enter` or in the drop of the guard is the task's error, as is a value that
/// cannot be encoded or decoded. In these cases the body has not run, except if the drop panicked.
///
/// ```
/// use concurrent_futures::{Executor, ProcessPoolExecutor, TaskContext, ThreadPoolExecutor};
/// use std::cell::RefCell;
///
/// thread_local! {
///     static REQUEST: RefCell<Option<String>> = const { RefCell::new(None) };
/// }
///
/// fn request() -> Option<String> {
///     REQUEST.with_borrow(Clone::clone)
/// }
///
/// struct RequestId;
///
/// impl TaskContext for RequestId {
///     type Value = String;
///     type Guard = Restore;
///
///     fn capture() -> Option<String> {
///         request()
///     }
///
///     fn enter(value: String) -> Restore {
///         Restore(REQUEST.replace(Some(value)))
///     }
/// }
///
/// struct Restore(Option<String>);
///
/// impl Drop for Restore {
///     fn drop(&mut self) {
///         REQUEST.set(self.0.take());
///     }
/// }
///
/// let threads = ThreadPoolExecutor::builder().context::<RequestId>().build()?;
/// let processes = ProcessPoolExecutor::builder().context::<RequestId>().build()?;
/// REQUEST.set(Some("r-17".to_owned()));
/// assert_eq!(threads.submit(request, ()).result()?.as_deref(), Some("r-17"));
/// assert_eq!(processes.submit(request, ()).result()?.as_deref(), Some("r-17"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TaskContext: 'static {
    /// What travels with the task: it is moved to a thread, or encoded for another process.
    type Value: Portable;
    /// Ends the context when it is dropped, on the thread that entered it, after the task has ended.
    type Guard: 'static;

    /// Returns the current value, on the thread that submits, or `None` if the task should have none. See the
    /// example of [`TaskContext`].
    fn capture() -> Option<Self::Value>;

    /// Sets the value on the calling thread, which runs the body next. See the example of [`TaskContext`].
    fn enter(value: Self::Value) -> Self::Guard;
}

/// A context that was entered.
pub(crate) struct Entered {
    guard: Box<dyn Any>,
    context: &'static str,
}

fn panicked(context: &str, when: &str, panic: Panic) -> TaskError {
    let message = format!("the context `{context}`, {when}: {}", panic.message);
    TaskError::panicked(Panic { message, ..panic })
}

/// # Errors
/// If it panics.
pub(crate) fn capture<C: TaskContext>() -> Result<Option<C::Value>, TaskError> {
    panic::guard(C::capture)
        .map_err(|panic| panicked(type_name::<C>(), "captured", panic).never_run())
}

/// # Errors
/// If it panics.
pub(crate) fn enter<C: TaskContext>(value: C::Value) -> Result<Entered, TaskError> {
    match panic::guard(|| C::enter(value)) {
        Ok(guard) => Ok(Entered {
            guard: Box::new(guard),
            context: type_name::<C>(),
        }),
        Err(panic) => Err(panicked(type_name::<C>(), "entered", panic).never_run()),
    }
}

impl Entered {
    /// # Errors
    /// If the drop of the guard panics.
    pub(crate) fn leave(self) -> Result<(), TaskError> {
        let Self { guard, context } = self;
        panic::guard(|| drop(guard)).map_err(|panic| panicked(context, "left", panic))
    }
}

/// Captures a context for a task of this process.
pub(crate) type Capture = fn() -> Option<Box<dyn Environment>>;

pub(crate) fn capture_here<C: TaskContext>() -> Option<Box<dyn Environment>> {
    match capture::<C>() {
        Ok(None) => None,
        Ok(Some(value)) => Some(Box::new(Captured::<C>(value))),
        Err(error) => Some(Box::new(Failed(error))),
    }
}

struct Captured<C: TaskContext>(C::Value);

impl<C: TaskContext> Environment for Captured<C> {
    fn run(self: Box<Self>, body: &mut dyn FnMut()) -> Result<(), TaskError> {
        let entered = enter::<C>(self.0)?;
        // Caught here, so that the guard is not dropped while this thread unwinds.
        let result = panic::guard(body).map_err(TaskError::panicked);
        let left = entered.leave();
        result.and(left)
    }
}

/// A context that could not be captured: the task fails in its turn.
struct Failed(TaskError);

impl Environment for Failed {
    fn run(self: Box<Self>, _body: &mut dyn FnMut()) -> Result<(), TaskError> {
        Err(self.0)
    }
}
