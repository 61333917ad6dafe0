//! A place that was reserved for one task.

use std::fmt;

use super::admission::Place;
use super::function::{Fallible, Portable, TaskFn};
use super::options::TaskOptions;
use super::submit::{Executor, submit, try_submit};
use crate::task::TaskFuture;

/// The right to submit one task that is not refused for want of a place. Made by [`Executor::reserve`],
/// [`try_reserve`](Executor::try_reserve) and [`blocking_reserve`](Executor::blocking_reserve).
///
/// A permit is owned, so you can send it to where the task is submitted. Submitting consumes it, and the task
/// keeps the place until it is over. Dropping the permit gives the place back. A permit keeps the executor as
/// a handle does, but does not hinder a shutdown: what is submitted afterwards is rejected.
///
/// ```
/// use concurrent_futures::{Executor, Rejection, ThreadPoolExecutor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(0).build()?;
/// let permit = pool.reserve().await?;
///
/// // Somebody has the only place.
/// let error = pool.submit(u64::pow, (2, 10)).await.unwrap_err();
/// assert_eq!(error.rejection(), Some(Rejection::QueueFull));
///
/// assert_eq!(permit.submit(u64::pow, (2, 10)).await?, 1024);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a permit gives its place back"]
pub struct Permit<E> {
    pub(crate) executor: E,
    pub(crate) options: TaskOptions,
    pub(crate) place: Place,
}

impl<E: Executor> Permit<E> {
    pub(super) fn new(executor: &E, place: Place) -> Self {
        Self {
            executor: executor.clone(),
            options: TaskOptions::default(),
            place,
        }
    }

    /// Sets options for the task.
    ///
    /// ```
    /// use concurrent_futures::{Executor, TaskOptions, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(0).build()?;
    /// let permit = pool.blocking_reserve()?.with(TaskOptions::new().name("power"));
    /// assert_eq!(permit.submit(u64::pow, (2, 10)).result()?, 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(mut self, options: TaskOptions) -> Self {
        self.options = options;
        self
    }

    /// Like [`Executor::submit`]: see the example of [`Permit`].
    pub fn submit<F, Args, Marker>(self, function: F, args: Args) -> TaskFuture<F::Output>
    where
        F: TaskFn<Args, Marker, Output: Portable>,
        Args: Portable,
        Marker: 'static,
    {
        let place = Some(self.place);
        submit(&self.executor, &self.options, place, function, args)
    }

    /// Like [`Executor::try_submit`].
    pub fn try_submit<F, Args, Marker>(
        self,
        function: F,
        args: Args,
    ) -> TaskFuture<<F::Output as Fallible>::Value>
    where
        F: TaskFn<Args, Marker, Output: Fallible<Value: Portable>>,
        Args: Portable,
        Marker: 'static,
    {
        let place = Some(self.place);
        try_submit(&self.executor, &self.options, place, function, args)
    }

    /// Like [`Executor::submit_fn`].
    pub fn submit_fn<A: Portable, T: Portable>(
        self,
        function: fn(A) -> T,
        argument: A,
    ) -> TaskFuture<T> {
        let place = Some(self.place);
        self.executor
            .execute_fn(function, argument, place, &self.options)
    }
}

impl<E> fmt::Debug for Permit<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
