//! Tasks that borrow from who submits them, and their futures.
//!
//! Nothing here has to be right for borrows to be sound: see `task/cell/scoped.rs`. A scoped task is a
//! task of the pool without a value, whose closure puts what the body gave into a slot; its future takes
//! it from there.
//!
//! # What does not compile
//!
//! A task that borrows what dies inside of the scope:
//!
//! ```compile_fail,E0373
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! pool.scope(|scope| {
//!     let text = String::from("dies first");
//!     scope.spawn(|| println!("{text}")).detach();
//! });
//! ```
//!
//! A callback that does:
//!
//! ```compile_fail,E0373
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! pool.scope(|scope| {
//!     let text = String::from("dies first");
//!     scope.spawn(|| 1).on_done(|_, _| println!("{text}"));
//! });
//! ```
//!
//! A task that borrows what dies in another task:
//!
//! ```compile_fail,E0373
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! pool.scope(|scope| {
//!     scope.spawn(|| {
//!         let text = String::from("dies first");
//!         scope.spawn(|| println!("{text}")).detach();
//!     }).detach();
//! });
//! ```
//!
//! A future that leaves the scope, as its value or otherwise:
//!
//! ```compile_fail
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! let future = pool.scope(|scope| scope.spawn(|| 1)).unwrap();
//! ```
//!
//! ```compile_fail,E0521
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! let mut futures = Vec::new();
//! pool.scope(|scope| futures.push(scope.spawn(|| 1)));
//! ```
//!
//! The scope itself:
//!
//! ```compile_fail
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! let escaped = pool.scope(|scope| scope).unwrap();
//! ```
//!
//! ```compile_fail,E0521
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! pool.scope(|scope| std::thread::spawn(|| scope.spawn(|| 1).detach()));
//! ```
//!
//! A future's lifetime made shorter, so that a callback could borrow what dies earlier, or longer:
//!
//! ```compile_fail
//! # use concurrent_futures::ScopedFuture;
//! fn shorter<'long: 'short, 'short>(future: ScopedFuture<'long, u8>) -> ScopedFuture<'short, u8> {
//!     future
//! }
//! ```
//!
//! ```compile_fail
//! # use concurrent_futures::ScopedFuture;
//! fn longer<'long: 'short, 'short>(future: ScopedFuture<'short, u8>) -> ScopedFuture<'long, u8> {
//!     future
//! }
//! ```
//!
//! What cannot be sent, into a task and out of it:
//!
//! ```compile_fail,E0277
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! let text = std::rc::Rc::new(String::new());
//! pool.scope(|scope| scope.spawn(|| println!("{text}")).detach());
//! ```
//!
//! ```compile_fail,E0277
//! # let pool = concurrent_futures::ThreadPoolExecutor::new(1);
//! pool.scope(|scope| scope.spawn(|| std::rc::Rc::new(1)).detach());
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::pool::ThreadPoolExecutor;
use crate::error::{Ran, TaskError};
use crate::executor::{TaskOptions, WithOptions};
use crate::id::TaskId;
use crate::panic::guarded_drop;
use crate::sync::{Mutex, lock};
use crate::task::{self, AbortOutcome, Kept, Lent, Outcome, Place, TaskFuture, TaskHandle};

/// A scope whose tasks run on the threads of a pool: see [`ThreadPoolExecutor::scope`].
///
/// ```
/// use concurrent_futures::{Scope, ThreadPoolExecutor};
///
/// /// The sum of a tree's numbers, a task for each branch.
/// fn add_up<'scope>(scope: &'scope Scope<'scope, '_>, tree: &'scope Tree, sum: &'scope AtomicU64) {
///     sum.fetch_add(tree.number, Ordering::Relaxed);
///     for branch in &tree.branches {
///         scope.spawn(move || add_up(scope, branch, sum)).detach();
///     }
/// }
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// # struct Tree { number: u64, branches: Vec<Tree> }
///
/// # let leaf = |number| Tree { number, branches: Vec::new() };
/// # let tree = Tree { number: 1, branches: vec![leaf(2), leaf(3)] };
/// let pool = ThreadPoolExecutor::new(2);
/// let sum = AtomicU64::new(0);
/// pool.scope(|scope| add_up(scope, &tree, &sum))?;
/// assert_eq!(sum.into_inner(), 6);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
pub type Scope<'scope, 'env> = task::Scope<'scope, 'env, ThreadPoolExecutor>;

impl<'scope> Scope<'scope, '_> {
    /// Runs a closure that may borrow whatever lives as long as the scope, including the scope itself. See
    /// the example of [`ThreadPoolExecutor::scope`].
    ///
    /// This never blocks and never fails by itself: a rejection is an error of the future.
    pub fn spawn<T: Send + 'scope>(
        &self,
        body: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedFuture<'scope, T> {
        self.run(body, &TaskOptions::default())
    }

    /// Like [`spawn`](Self::spawn), with options.
    ///
    /// ```
    /// use concurrent_futures::{TaskOptions, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let text = String::from("borrowed");
    /// let options = TaskOptions::new().name("length");
    /// let length = pool.scope(|scope| scope.with(options).spawn(|| text.len()).result())??;
    /// assert_eq!(length, 8);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn with(&self, options: TaskOptions) -> WithOptions<'_, Self> {
        WithOptions {
            executor: self,
            options,
        }
    }

    fn run<T: Send + 'scope>(
        &self,
        body: impl FnOnce() -> T + Send + 'scope,
        options: &TaskOptions,
    ) -> ScopedFuture<'scope, T> {
        let slot = Arc::new(Slot(Mutex::new(None)));
        let kept = self.lender().keep(Arc::clone(&slot));
        let job = self.lender().lend(move |()| {
            let value = body();
            *lock(&slot.0) = Some(value);
        });
        let task = self.submit(job, options);
        kept.is_of(task.cell());
        ScopedFuture {
            task: Some(task),
            slot: kept,
        }
    }

    fn submit(&self, job: Lent<()>, options: &TaskOptions) -> TaskFuture<()> {
        let body = move || {
            job.call(());
            Ok(())
        };
        self.executor().run(body, None, options)
    }
}

impl<'scope> WithOptions<'_, Scope<'scope, '_>> {
    /// Like [`Scope::spawn`](task::Scope::spawn): see the example of [`Scope::with`](task::Scope::with).
    pub fn spawn<T: Send + 'scope>(
        &self,
        body: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedFuture<'scope, T> {
        self.executor.run(body, &self.options)
    }
}

/// The result of a task of a [`Scope`]. It is like [`TaskFuture`], but its values and callbacks may borrow.
///
/// If you drop it, the task goes on. The scope still waits for the task, and drops its result as soon as it
/// is there.
///
/// ```
/// use concurrent_futures::{ScopedFuture, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(1);
/// let text = String::from("borrowed");
/// let first: Option<&str> = pool.scope(|scope| {
///     let mut future: ScopedFuture<'_, &str> = scope.spawn(|| &text[..1]);
///     while !future.is_done() {}
///     future.try_result()
/// })?.transpose()?;
/// assert_eq!(first, Some("b"));
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// # Cancel safety
/// Awaiting `&mut future` is cancel safe: if you give up the wait, nothing is lost.
///
/// # Panics
/// If you ask again for a result that was already taken.
#[must_use = "dropping the future lets the task go on unobserved: say so with `detach`"]
pub struct ScopedFuture<'scope, T: Send> {
    /// Gone only while this is dropped.
    task: Option<TaskFuture<()>>,
    slot: Kept<'scope, Slot<T>>,
}

impl<'scope, T: Send> ScopedFuture<'scope, T> {
    /// The task's id: see [`TaskId`].
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task().id()
    }

    /// Whether the future has a result: see the example of [`ScopedFuture`]. The task's body may still run,
    /// if its running time was over before.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.task().is_done()
    }

    /// Blocks until there is a result, and returns it.
    ///
    /// # Errors
    /// Those of [`TaskFuture::result`].
    ///
    /// # Panics
    /// If the result was already taken.
    pub fn result(mut self) -> Result<T, TaskError> {
        // It stays, for the scope to wait for it, if this wait is an error.
        self.task_mut().take_result().and_then(|()| self.take())
    }

    /// Like [`TaskFuture::result_timeout`].
    ///
    /// # Errors
    /// Those of [`TaskFuture::result_timeout`].
    ///
    /// # Panics
    /// If the result was already taken.
    pub fn result_timeout(&mut self, limit: Duration) -> Result<T, TaskError> {
        let result = self.task_mut().result_timeout(limit);
        result.and_then(|()| self.take())
    }

    /// Returns the result, if there is one. Never blocks. See the example of [`ScopedFuture`].
    ///
    /// # Panics
    /// If the result was already taken.
    pub fn try_result(&mut self) -> Option<Result<T, TaskError>> {
        let result = self.task_mut().try_result()?;
        Some(result.and_then(|()| self.take()))
    }

    /// Like [`TaskFuture::cancel`]: this call drops the closure.
    pub fn cancel(&self) -> bool {
        self.task().cancel()
    }

    /// Cancels the task if it has not started, and otherwise asks it to stop: see
    /// [`task::current`](crate::task::current).
    pub fn abort(&self) -> AbortOutcome {
        self.task().abort()
    }

    /// Calls `callback`, which may borrow, when there is a result: see [`TaskFuture::on_done`]. The
    /// scope waits for it.
    pub fn on_done(&self, callback: impl FnOnce(TaskId, Outcome) + Send + 'scope) {
        let callback = self
            .slot
            .lender()
            .lend(move |(id, outcome)| callback(id, outcome));
        self.task()
            .on_done(move |id, outcome| callback.call((id, outcome)));
    }

    /// Lets the task go on unobserved: see the example of [`ThreadPoolExecutor::scope`].
    pub fn detach(self) {}

    /// Returns a handle that can stop the task but not take its result, and may outlive the scope: see the
    /// example of [`TaskHandle`].
    #[must_use]
    pub fn handle(&self) -> TaskHandle {
        self.task().handle()
    }

    fn task(&self) -> &TaskFuture<()> {
        self.task.as_ref().expect("it is gone only at the end")
    }

    fn task_mut(&mut self) -> &mut TaskFuture<()> {
        self.task.as_mut().expect("it is gone only at the end")
    }

    /// The value of a task that has succeeded and whose result was not taken before. It is not there any
    /// more where the scope ends, and this is called by the drop of another value that was leaked.
    fn take(&self) -> Result<T, TaskError> {
        let value = lock(&self.slot.place().0).take();
        value.ok_or_else(|| TaskError::abandoned(Ran::Yes))
    }
}

impl<T: Send> Future for ScopedFuture<'_, T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(self.task_mut()).poll(context));
        Poll::Ready(result.and_then(|()| self.take()))
    }
}

impl<T: Send> Drop for ScopedFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.slot.lender().detach(task);
        }
    }
}

impl<T: Send> fmt::Debug for ScopedFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedFuture").field(self.task()).finish()
    }
}

/// Where a body puts its value. When its future is gone, the body drops it with the slot.
struct Slot<T>(Mutex<Option<T>>);

impl<T: Send> Place for Slot<T> {
    fn vacate(&self) {
        let value = lock(&self.0).take();
        guarded_drop(value);
    }
}
