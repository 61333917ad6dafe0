//! A `map` with options.

use std::fmt;
use std::time::Duration;

use super::planner::Planner;
use super::results::{Dispatch, Map, SubmitChunk};
use super::turn::Turn;
use crate::executor::{
    Call, Executor, Fallible, Portable, TaskFn, TaskOptions, TryCall, assert_captures_nothing,
};

/// Options for a `map`, made by [`Executor::mapping`].
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let mut squares: Vec<u64> = pool
///     .mapping()
///     .window(100)
///     .chunk_size(10)
///     .unordered()
///     .map(|n: u64| n * n, 0..1_000)
///     .into_iter()
///     .collect::<Result<_, _>>()?;
/// squares.sort();
/// assert_eq!(squares[999], 998_001);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[must_use]
pub struct Mapping<'a, E> {
    executor: &'a E,
    options: TaskOptions,
    window: Option<usize>,
    chunk_size: Option<usize>,
    ordered: bool,
    timeout: Option<Duration>,
}

impl<'a, E: Executor> Mapping<'a, E> {
    pub(crate) fn new(executor: &'a E, options: TaskOptions) -> Self {
        Self {
            executor,
            options,
            window: None,
            chunk_size: None,
            ordered: true,
            timeout: None,
        }
    }

    /// Fixes how many items may be in flight: pulled, with their results not yet taken. Otherwise this is two
    /// items for each worker, and up to about 10 ms of work for each worker once the items' times are known.
    /// See the example of [`Mapping`].
    ///
    /// # Panics
    /// If `items` is 0.
    pub fn window(mut self, items: usize) -> Self {
        assert!(
            items > 0,
            "a window of 0 items lets nothing run: give at least 1"
        );
        self.window = Some(items);
        self
    }

    /// Fixes how many items make one task. The results are the same for any number. See the example of
    /// [`Mapping`].
    ///
    /// Otherwise the map finds the size while it runs. Chunks begin with one item and grow to about half a
    /// millisecond of work, but at most to half of a worker's share of the window. They shrink towards the
    /// end of an input that knows its length. With a [run timeout](TaskOptions::run_timeout), each item is a
    /// task of its own.
    ///
    /// # Panics
    /// If `items` is 0.
    pub fn chunk_size(mut self, items: usize) -> Self {
        assert!(
            items > 0,
            "a chunk of 0 items does nothing: give at least 1"
        );
        self.chunk_size = Some(items);
        self
    }

    /// Gives results as they come. The error of a failed item has the item's index. See the example of
    /// [`Mapping`].
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// Ends the map with an error when `limit`, counted from the call to `map`, has passed. Results that are
    /// there in time are given first, and items that have not started never run.
    ///
    /// ```
    /// use concurrent_futures::{Clock, Executor, ProcessPoolExecutor};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1);
    /// let limited = pool.mapping().timeout(Duration::from_millis(10));
    /// let mut slow = limited.map(std::thread::sleep, [Duration::from_secs(60); 3]);
    /// let error = slow.blocking_next().unwrap().unwrap_err();
    /// assert_eq!(error.clock(), Some(Clock::Wait));
    /// assert!(slow.blocking_next().is_none());
    /// # pool.kill_workers();
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Like [`Executor::map`].
    pub fn map<F, I, Marker>(self, function: F, items: I) -> Map<E, I::IntoIter, F::Output>
    where
        F: TaskFn<I::Item, Marker, Output: Portable>,
        I: IntoIterator<Item: Portable>,
        Marker: 'static,
    {
        assert_captures_nothing::<F>();
        let submit = Box::new(move |executor: &E, items, place, options: &TaskOptions| {
            executor.execute_chunk::<Call<F, I::Item, Marker>>(
                function,
                items,
                Some(place),
                options,
            )
        });
        self.start(submit, items.into_iter())
    }

    /// Like [`Executor::try_map`].
    pub fn try_map<F, I, Marker>(
        self,
        function: F,
        items: I,
    ) -> Map<E, I::IntoIter, <F::Output as Fallible>::Value>
    where
        F: TaskFn<I::Item, Marker, Output: Fallible<Value: Portable>>,
        I: IntoIterator<Item: Portable>,
        Marker: 'static,
    {
        assert_captures_nothing::<F>();
        let submit = Box::new(move |executor: &E, items, place, options: &TaskOptions| {
            executor.execute_chunk::<TryCall<F, I::Item, Marker>>(
                function,
                items,
                Some(place),
                options,
            )
        });
        self.start(submit, items.into_iter())
    }

    fn start<I: Iterator, T: Send + 'static>(
        self,
        submit: SubmitChunk<E, I::Item, T>,
        items: I,
    ) -> Map<E, I, T> {
        let chunk = if self.options.has_run_timeout() {
            Some(1)
        } else {
            self.chunk_size
        };
        let planner = Planner::new(self.executor.max_workers(), self.window, chunk);
        let dispatch = Dispatch {
            executor: self.executor.clone(),
            options: self.options,
            submit,
            max_workers: E::max_workers,
        };
        let turn = Turn::new(self.executor.admission().clone());
        Map::start(dispatch, items, planner, turn, self.ordered, self.timeout)
    }
}

impl<E> fmt::Debug for Mapping<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("window", &self.window)
            .field("chunk_size", &self.chunk_size)
            .field("ordered", &self.ordered)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
