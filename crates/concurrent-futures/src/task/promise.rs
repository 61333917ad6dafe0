//! The other end of a future: whoever has it gives the result, from wherever it comes.
//!
//! This is the seam for what runs tasks elsewhere: the result may be handed over as bytes, which
//! are decoded by who takes the result.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cell::{Claimable, Stored};
use super::extras::Extras;
use super::future::{TaskFuture, debug_task};
use super::outcome::Outcome;
use crate::error::{Ran, TaskError};
use crate::id::{OwnerId, TaskId};

/// The promise of a result that its [`TaskFuture`] waits for.
///
/// Fulfilling the promise consumes it, so it cannot be fulfilled twice. If you drop it unfulfilled, the
/// future resolves with an [abandoned](TaskError::is_abandoned) error.
///
/// ```
/// use concurrent_futures::Promise;
///
/// let (promise, future) = Promise::new();
/// std::thread::spawn(move || promise.fulfil("from outside"));
/// assert_eq!(future.result()?, "from outside");
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[must_use = "dropping a promise resolves its future with an error"]
pub struct Promise<T: Send + 'static>(Claimable<T>);

impl<T: Send + 'static> Promise<T> {
    /// Makes a promise and its future: see the example of [`Promise`].
    pub fn new() -> (Self, TaskFuture<T>) {
        Self::with_extras(OwnerId::NONE, None)
    }

    /// Makes a promise whose task has a name, for logs and errors.
    ///
    /// ```
    /// use concurrent_futures::{Promise, TaskError};
    ///
    /// let (promise, future) = Promise::<u32>::named("lookup");
    /// assert_eq!(promise.id(), future.id());
    /// drop(promise);
    /// assert_eq!(future.result().unwrap_err().task_name(), Some("lookup"));
    /// ```
    pub fn named(name: impl Into<Arc<str>>) -> (Self, TaskFuture<T>) {
        let mut extras = Box::<Extras>::default();
        extras.name = Some(name.into());
        Self::with_extras(OwnerId::NONE, Some(extras))
    }

    /// The promise of a place among the tasks of a pool.
    pub(crate) fn of_place(pool: OwnerId) -> (Self, TaskFuture<T>) {
        Self::with_extras(pool, None)
    }

    /// The promise of the end of a pool, to be started at once.
    pub(crate) fn of_end(pool: OwnerId) -> (Self, TaskFuture<T>) {
        let mut extras = Box::<Extras>::default();
        extras.name = Some("shutdown of the pool".into());
        Self::with_extras(pool, Some(extras))
    }

    fn with_extras(pool: OwnerId, extras: Option<Box<Extras>>) -> (Self, TaskFuture<T>) {
        let (claimable, result) = Claimable::new(pool, extras);
        (Self(claimable), TaskFuture::of(result))
    }

    /// The id that this promise shares with its future: see the example of [`named`](Self::named).
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.cell().id()
    }

    /// Says that the work has begun. From now on the future cannot be cancelled, only
    /// [asked to stop](TaskFuture::abort). Returns false if it was cancelled before; then there is nothing to
    /// do any more.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// let (promise, future) = Promise::new();
    /// std::thread::spawn(move || {
    ///     if promise.start() {
    ///         let sum = (1..=1_000).take_while(|_| !promise.is_stop_requested()).sum::<u32>();
    ///         promise.fulfil(sum).unwrap();
    ///     }
    /// });
    /// assert_eq!(future.result()?, 500_500);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    #[must_use = "false says that the task was cancelled, and nobody waits for a result"]
    pub fn start(&self) -> bool {
        self.0.start()
    }

    /// Whether the future was cancelled: nobody will take a result. See the example of
    /// [`TaskFuture::cancel_on_drop`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cell().snapshot().outcome() == Some(Outcome::Cancelled)
    }

    /// Whether the future's [`abort`](TaskFuture::abort) was called after the start: see the example of
    /// [`start`](Self::start).
    #[must_use]
    pub fn is_stop_requested(&self) -> bool {
        self.0.cell().is_stop_requested()
    }

    /// Returns a token to await, which the future's [`abort`](TaskFuture::abort) cancels.
    ///
    /// ```
    /// use concurrent_futures::Promise;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), concurrent_futures::TaskError> {
    /// let (promise, future) = Promise::new();
    /// assert!(promise.start());
    /// let answer = tokio::spawn(async move {
    ///     promise.token().cancelled().await;
    ///     promise.fulfil("stopped").unwrap();
    /// });
    /// future.abort();
    /// assert_eq!(future.await?, "stopped");
    /// # answer.await.unwrap();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.cell().token()
    }

    /// Gives the value: see the example of [`Promise`]. This is possible once:
    ///
    /// ```compile_fail,E0382
    /// let (promise, _future) = concurrent_futures::Promise::new();
    /// promise.fulfil(1).unwrap();
    /// promise.fulfil(2).unwrap();
    /// ```
    ///
    /// # Errors
    /// If the future was cancelled, returns the value.
    pub fn fulfil(self, value: T) -> Result<(), T> {
        self.give(Stored::Ready(Ok(value)))
            .map_err(|stored| match stored {
                Stored::Ready(Ok(value)) => value,
                _ => unreachable!("what was given comes back"),
            })
    }

    /// Resolves the future with an error: see the example of [`TaskError::failed`].
    ///
    /// # Errors
    /// If the future was cancelled, returns the error.
    pub fn fail(self, error: TaskError) -> Result<(), TaskError> {
        self.give(Stored::Ready(Err(error)))
            .map_err(|stored| match stored {
                Stored::Ready(Err(error)) => error,
                _ => unreachable!("what was given comes back"),
            })
    }

    /// Gives the value as bytes. `decode` runs on the thread that takes the result. If it panics, the result
    /// is a [codec](TaskError::is_codec) error.
    ///
    /// ```
    /// use concurrent_futures::{Promise, TaskError};
    ///
    /// fn decode(bytes: &[u8]) -> Result<u32, TaskError> {
    ///     let bytes = bytes.try_into().map_err(|error| TaskError::codec("u32", error))?;
    ///     Ok(u32::from_le_bytes(bytes))
    /// }
    ///
    /// let (promise, future) = Promise::new();
    /// promise.fulfil_encoded(vec![1, 1, 0, 0], decode).unwrap();
    /// assert_eq!(future.result()?, 257);
    /// # Ok::<(), TaskError>(())
    /// ```
    ///
    /// # Errors
    /// If the future was cancelled, returns the bytes.
    pub fn fulfil_encoded(
        self,
        bytes: Vec<u8>,
        decode: fn(&[u8]) -> Result<T, TaskError>,
    ) -> Result<(), Vec<u8>> {
        self.give(Stored::Bytes { bytes, decode })
            .map_err(|stored| match stored {
                Stored::Bytes { bytes, .. } => bytes,
                _ => unreachable!("what was given comes back"),
            })
    }

    /// Starts, and fails with the clock [`Wait`](crate::Clock::Wait) when `limit` is over.
    pub(crate) fn expire_after(&self, limit: Duration) {
        self.0.expire_after(limit);
    }

    fn give(self, stored: Stored<T>) -> Result<(), Stored<T>> {
        self.0.fulfil(stored)
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        let snapshot = self.0.cell().snapshot();
        if !snapshot.is_done() {
            let ran = if snapshot.is_queued() {
                Ran::No
            } else {
                Ran::Maybe
            };
            let abandoned = Stored::Ready(Err(TaskError::abandoned(ran)));
            // Refused, if a cancellation comes first; then the future has its error already.
            let _ = self.0.fulfil(abandoned);
        }
    }
}

// A panic can leave nothing half done: whatever a promise does is one step of its cell.
impl<T: Send + 'static> UnwindSafe for Promise<T> {}
impl<T: Send + 'static> RefUnwindSafe for Promise<T> {}

impl<T: Send + 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_task(f, "Promise", self.0.cell())
    }
}
