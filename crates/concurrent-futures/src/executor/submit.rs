//! The trait of all executors.

use std::future::Future;

use super::admission::{Admission, Place};
use super::function::{Fallible, Portable, TaskFn, assert_captures_nothing};
use super::job::{Call, Chunk, Job, TryCall};
use super::options::{Shutdown, TaskOptions};
use super::permit::Permit;
use crate::error::TaskError;
use crate::map::{Map, Mapping};
use crate::task::TaskFuture;

/// Runs functions and returns futures of their results.
///
/// Code that is generic over this trait runs on threads, in worker processes, or wherever an implementation
/// takes it. Only the line that makes the executor differs. That is why functions capture nothing, and why
/// arguments and results are [`Portable`].
///
/// An executor is a handle: clones share one pool. Dropping the last handle is a shutdown without waiting.
///
/// ```
/// use concurrent_futures::{Executor, TaskError, ThreadPoolExecutor};
///
/// async fn squares<E: Executor>(executor: &E) -> Result<u64, TaskError> {
///     let futures: Vec<_> = (1..=3).map(|n| executor.submit(u64::pow, (n, 2))).collect();
///     let mut sum = 0;
///     for future in futures {
///         sum += future.await?;
///     }
///     Ok(sum)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), TaskError> {
/// assert_eq!(squares(&ThreadPoolExecutor::new(4)).await?, 14);
/// # Ok(())
/// # }
/// ```
///
/// # Functions that capture
/// The compiler refuses them when the program is built, since another process could not recreate them:
///
/// ```compile_fail
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// let offset = 7_u32;
/// let future = InlineExecutor::new().submit(move |n: u32| n + offset, 1);
/// ```
///
/// A captured value of size zero passes that check and is recreated as well. So a function must not capture a
/// value that proves something about this process (that a device is initialised, that this is the main
/// thread), even though it has no size. [`submit_fn`](Self::submit_fn) has no such gap.
pub trait Executor: Clone + Send + Sync + 'static {
    /// The maximum number of tasks that run at the same time.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// assert_eq!(ThreadPoolExecutor::new(4).max_workers(), 4);
    /// ```
    fn max_workers(&self) -> usize;

    /// How many tasks the executor takes: see [`Admission`]. For back ends: see the example of [`Job`].
    fn admission(&self) -> &Admission;

    /// Runs a job; the other methods are built on this one. For back ends: see the example of [`Job`].
    ///
    /// If no place was reserved for the task, the executor [admits](Admission::admit) or rejects it.
    fn execute<J: Job>(
        &self,
        job: J,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<J::Output>;

    /// Runs a function pointer; [`submit_fn`](Self::submit_fn) is built on this. For back ends: see the
    /// example of [`Job`].
    fn execute_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T>;

    /// Runs a function on several items one after another, as one task with a result for each item; maps are
    /// built on this. For back ends: see the example of [`Job`].
    ///
    /// If an item fails or panics, the others are not affected. Once the task is asked to stop, the items
    /// that have not begun are cancelled.
    fn execute_chunk<J: Job>(
        &self,
        function: J::Function,
        items: Vec<J::Args>,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<Chunk<J::Output>>;

    /// Stops taking tasks. The future waits until the tasks that were taken are over and the workers are
    /// gone. Dropping the future ends the wait and changes nothing else.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), concurrent_futures::TaskError> {
    /// let pool = ThreadPoolExecutor::new(2);
    /// let future = pool.submit(u64::pow, (2, 10));
    /// pool.shutdown(Shutdown::new()).await?;
    /// assert_eq!(future.await?, 1024);
    /// assert!(pool.submit(u64::pow, (2, 10)).await.unwrap_err().is_rejected());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the future: a [timeout](TaskError::is_timed_out) at the deadline, and a
    /// [deadlock](TaskError::is_deadlock) in a task of this same executor, which would wait for itself.
    fn shutdown(&self, how: Shutdown) -> TaskFuture<()>;

    /// Like [`shutdown`](Self::shutdown), but blocks until the wait is over.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let future = pool.submit(u64::pow, (2, 10));
    /// pool.blocking_shutdown(Shutdown::new())?;
    /// assert!(future.is_done());
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// Those of the future of `shutdown`, and an error in async code, where blocking would stop the runtime.
    /// In that case too, the shutdown has begun.
    fn blocking_shutdown(&self, how: Shutdown) -> Result<(), TaskError> {
        self.shutdown(how).result()
    }

    /// Runs `function` with `args`, and returns a future of its result.
    ///
    /// A tuple is spread over the parameters. Pass one argument as it is, and none as `()`. This never blocks
    /// and never fails by itself: a rejection is an error of the future, even if the queue is full. To wait
    /// for a place, [`reserve`](Self::reserve) one.
    fn submit<F, Args, Marker>(&self, function: F, args: Args) -> TaskFuture<F::Output>
    where
        F: TaskFn<Args, Marker, Output: Portable>,
        Args: Portable,
        Marker: 'static,
    {
        submit(self, &TaskOptions::default(), None, function, args)
    }

    /// Runs a `function` that returns a `Result`, and returns a future of its value. The function's error
    /// becomes the future's, of the kind [`Failed`](crate::ErrorKind::Failed).
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let error = pool.try_submit(|text: String| text.parse::<u8>(), "300".to_owned()).result().unwrap_err();
    /// assert_eq!(error.message().unwrap(), "number too large to fit in target type");
    /// ```
    fn try_submit<F, Args, Marker>(
        &self,
        function: F,
        args: Args,
    ) -> TaskFuture<<F::Output as Fallible>::Value>
    where
        F: TaskFn<Args, Marker, Output: Fallible<Value: Portable>>,
        Args: Portable,
        Marker: 'static,
    {
        try_submit(self, &TaskOptions::default(), None, function, args)
    }

    /// Runs a function pointer, which may come from a table.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let table: [fn(u32) -> u32; 2] = [u32::count_ones, u32::leading_zeros];
    /// let pool = ThreadPoolExecutor::new(2);
    /// assert_eq!(pool.submit_fn(table[1], 1).result()?, 31);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    fn submit_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
    ) -> TaskFuture<T> {
        self.execute_fn(function, argument, None, &TaskOptions::default())
    }

    /// Waits until the executor may take one more task, and returns the right to submit it. This holds back
    /// callers that submit faster than the workers work.
    ///
    /// A waiting caller gets a place before all later ones, including plain submits. An executor without
    /// limits gives a place at once. A task that waits for a place of its own pool has a place itself. On
    /// threads, tasks that are queued there run meanwhile. If tasks that [block](Self::blocking_reserve) for
    /// another place hold all places, one of them gets a [deadlock error](TaskError::is_deadlock).
    ///
    /// ```
    /// use concurrent_futures::{Executor, TaskError, ThreadPoolExecutor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // At any time 2 tasks run and 10 are queued, however many are submitted.
    /// let pool = ThreadPoolExecutor::builder().max_workers(2).queue_limit(10).build()?;
    /// for n in 0..1_000 {
    ///     let permit = pool.reserve().await?;
    ///     permit.submit(u64::wrapping_pow, (n, 3)).detach();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A [rejection](TaskError::is_rejected) if the executor takes no more tasks.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait, and its turn.
    fn reserve(&self) -> impl Future<Output = Result<Permit<Self>, TaskError>> + Send {
        async {
            let place = match self.admission().try_enter() {
                Ok(place) => place,
                Err(_full_or_closed) => self.admission().enter().await?,
            };
            Ok(Permit::new(self, place))
        }
    }

    /// Like [`reserve`](Self::reserve), but does not wait.
    ///
    /// ```
    /// use concurrent_futures::{Executor, Rejection, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(0).build()?;
    /// let permit = pool.try_reserve()?;
    /// let error = pool.try_reserve().unwrap_err();
    /// assert_eq!(error.rejection(), Some(Rejection::QueueFull));
    /// assert_eq!(permit.submit(u64::pow, (2, 10)).result()?, 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A [rejection](TaskError::is_rejected): [`QueueFull`](crate::Rejection::QueueFull), which also applies
    /// while others wait, or the reason why the executor takes no more tasks.
    fn try_reserve(&self) -> Result<Permit<Self>, TaskError> {
        let admission = self.admission();
        let place = admission
            .try_enter()
            .inspect_err(|_| admission.count_refused())?;
        Ok(Permit::new(self, place))
    }

    /// Like [`reserve`](Self::reserve), but blocks while it waits.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// // At any time 2 tasks run and 10 are queued, however many are submitted.
    /// let pool = ThreadPoolExecutor::builder().max_workers(2).queue_limit(10).build()?;
    /// for n in 0..1_000 {
    ///     pool.blocking_reserve()?.submit(u64::wrapping_pow, (n, 3)).detach();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `reserve`; an error if it would have to wait in async code, which would stop the runtime; and
    /// an error in a task whose pool could never have a place again.
    fn blocking_reserve(&self) -> Result<Permit<Self>, TaskError> {
        let place = match self.admission().try_enter() {
            Ok(place) => place,
            Err(_full_or_closed) => self.admission().enter().result()?,
        };
        Ok(Permit::new(self, place))
    }

    /// Runs `function` on each item, a few at a time, and returns the results in the order of the items: see
    /// [`Map`].
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let squares: Result<Vec<u64>, _> = pool.map(|n: u64| n * n, 1..=4).into_iter().collect();
    /// assert_eq!(squares?, [1, 4, 9, 16]);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    fn map<F, I, Marker>(&self, function: F, items: I) -> Map<Self, I::IntoIter, F::Output>
    where
        F: TaskFn<I::Item, Marker, Output: Portable>,
        I: IntoIterator<Item: Portable>,
        Marker: 'static,
    {
        self.mapping().map(function, items)
    }

    /// Like [`map`](Self::map), for a function that returns a `Result`: its error takes the place of the
    /// item's result.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let texts = ["7", "seven"].map(String::from);
    /// let numbers: Vec<_> = pool.try_map(|text: String| text.parse::<u32>(), texts).into_iter().collect();
    /// assert_eq!(*numbers[0].as_ref().unwrap(), 7);
    /// assert!(numbers[1].as_ref().unwrap_err().is_failed());
    /// ```
    fn try_map<F, I, Marker>(
        &self,
        function: F,
        items: I,
    ) -> Map<Self, I::IntoIter, <F::Output as Fallible>::Value>
    where
        F: TaskFn<I::Item, Marker, Output: Fallible<Value: Portable>>,
        I: IntoIterator<Item: Portable>,
        Marker: 'static,
    {
        self.mapping().try_map(function, items)
    }

    /// Returns the methods that submit, with options: see [`TaskOptions`].
    fn with(&self, options: TaskOptions) -> WithOptions<'_, Self> {
        WithOptions {
            executor: self,
            options,
        }
    }

    /// Prepares a `map` with options: see [`Mapping`].
    fn mapping(&self) -> Mapping<'_, Self> {
        Mapping::new(self, TaskOptions::default())
    }
}

/// The methods of an executor that submit, with options. Made by [`Executor::with`].
///
/// Several tasks may share the same options:
///
/// ```
/// use concurrent_futures::{Executor, TaskOptions, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let limited = pool.with(TaskOptions::new().queue_timeout(Duration::from_secs(60)));
/// let one = limited.submit(u64::pow, (2, 10));
/// let other = limited.try_submit(|text: String| text.parse::<u64>(), "7".to_owned());
/// assert_eq!(one.result()? + other.result()?, 1031);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct WithOptions<'a, E> {
    pub(crate) executor: &'a E,
    pub(crate) options: TaskOptions,
}

impl<'a, E: Executor> WithOptions<'a, E> {
    /// Like [`Executor::submit`]: see the example of [`WithOptions`].
    pub fn submit<F, Args, Marker>(&self, function: F, args: Args) -> TaskFuture<F::Output>
    where
        F: TaskFn<Args, Marker, Output: Portable>,
        Args: Portable,
        Marker: 'static,
    {
        submit(self.executor, &self.options, None, function, args)
    }

    /// Like [`Executor::try_submit`].
    pub fn try_submit<F, Args, Marker>(
        &self,
        function: F,
        args: Args,
    ) -> TaskFuture<<F::Output as Fallible>::Value>
    where
        F: TaskFn<Args, Marker, Output: Fallible<Value: Portable>>,
        Args: Portable,
        Marker: 'static,
    {
        try_submit(self.executor, &self.options, None, function, args)
    }

    /// Like [`Executor::submit_fn`].
    pub fn submit_fn<A: Portable, T: Portable>(
        &self,
        function: fn(A) -> T,
        argument: A,
    ) -> TaskFuture<T> {
        self.executor
            .execute_fn(function, argument, None, &self.options)
    }

    /// Like [`Executor::map`], with these options for each item.
    pub fn map<F, I, Marker>(&self, function: F, items: I) -> Map<E, I::IntoIter, F::Output>
    where
        F: TaskFn<I::Item, Marker, Output: Portable>,
        I: IntoIterator<Item: Portable>,
        Marker: 'static,
    {
        self.clone().mapping().map(function, items)
    }

    /// Like [`Executor::try_map`], with these options for each item.
    pub fn try_map<F, I, Marker>(
        &self,
        function: F,
        items: I,
    ) -> Map<E, I::IntoIter, <F::Output as Fallible>::Value>
    where
        F: TaskFn<I::Item, Marker, Output: Fallible<Value: Portable>>,
        I: IntoIterator<Item: Portable>,
        Marker: 'static,
    {
        self.clone().mapping().try_map(function, items)
    }

    /// Prepares a `map` with these options for each item, and more of its own: see [`Mapping`].
    ///
    /// ```
    /// use concurrent_futures::{Executor, TaskOptions, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let named = TaskOptions::new().name("square");
    /// let squares = pool.with(named).mapping().unordered().map(|n: u64| n * n, 1..=4);
    /// assert_eq!(squares.into_iter().sum::<Result<u64, _>>()?, 30);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn mapping(self) -> Mapping<'a, E> {
        Mapping::new(self.executor, self.options)
    }
}

pub(crate) fn submit<E, F, Args, Marker>(
    executor: &E,
    options: &TaskOptions,
    place: Option<Place>,
    function: F,
    args: Args,
) -> TaskFuture<F::Output>
where
    E: Executor,
    F: TaskFn<Args, Marker, Output: Portable>,
    Args: Portable,
    Marker: 'static,
{
    assert_captures_nothing::<F>();
    executor.execute(Call::new(function, args), place, options)
}

pub(crate) fn try_submit<E, F, Args, Marker>(
    executor: &E,
    options: &TaskOptions,
    place: Option<Place>,
    function: F,
    args: Args,
) -> TaskFuture<<F::Output as Fallible>::Value>
where
    E: Executor,
    F: TaskFn<Args, Marker, Output: Fallible<Value: Portable>>,
    Args: Portable,
    Marker: 'static,
{
    assert_captures_nothing::<F>();
    executor.execute(TryCall(Call::new(function, args)), place, options)
}
