//! `for` over the streams of this crate, in blocking code.

use crate::as_completed::{AsCompleted, AsCompletedTimeout};
use crate::error::TaskError;
use crate::map::Map;
use crate::task::Waitable;

/// Iterates over a stream of this crate by blocking; this is what `for` uses.
///
/// ```
/// use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// for future in as_completed((0..3).map(|n| pool.submit(u64::pow, (n, 2)))) {
///     assert!(future.result()? <= 4);
/// }
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct Blocking<S> {
    stream: S,
    /// It has refused to block, and would do so for ever.
    has_ended: bool,
}

impl<S> Blocking<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            has_ended: false,
        }
    }

    #[cfg(feature = "indicatif")]
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the stream, to go on with.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut squares = pool.map(|n: u64| n * n, 1..=3).into_iter();
    /// assert_eq!(squares.next().unwrap()?, 1);
    /// let mut rest = squares.into_inner();
    /// assert_eq!(rest.blocking_next().unwrap()?, 4);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn next_result<T>(
        &mut self,
        next: impl FnOnce(&mut S) -> Option<Result<T, TaskError>>,
    ) -> Option<Result<T, TaskError>> {
        if self.has_ended {
            return None;
        }
        let next = next(&mut self.stream);
        if let Some(Err(error)) = &next {
            self.has_ended = error.is_would_block();
        }
        next
    }
}

impl<W: Waitable> Iterator for Blocking<AsCompleted<W>> {
    type Item = W;

    /// # Panics
    /// In async code, where blocking would stop the runtime.
    #[track_caller]
    fn next(&mut self) -> Option<W> {
        match self.stream.blocking_next() {
            Ok(next) => next,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<W: Waitable> IntoIterator for AsCompleted<W> {
    type Item = W;
    type IntoIter = Blocking<Self>;

    /// Blocks for each item. Panics in async code, where blocking would stop the runtime.
    fn into_iter(self) -> Blocking<Self> {
        Blocking::new(self)
    }
}

impl<W: Waitable> Iterator for Blocking<AsCompletedTimeout<W>> {
    type Item = Result<W, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_result(AsCompletedTimeout::blocking_next)
    }
}

impl<W: Waitable> IntoIterator for AsCompletedTimeout<W> {
    type Item = Result<W, TaskError>;
    type IntoIter = Blocking<Self>;

    /// Blocks for each item. In async code, where blocking would stop the runtime, gives one error.
    fn into_iter(self) -> Blocking<Self> {
        Blocking::new(self)
    }
}

impl<E, I: Iterator, T: Send + 'static> Iterator for Blocking<Map<E, I, T>> {
    type Item = Result<T, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_result(Map::blocking_next)
    }
}

impl<E, I: Iterator, T: Send + 'static> IntoIterator for Map<E, I, T> {
    type Item = Result<T, TaskError>;
    type IntoIter = Blocking<Self>;

    /// Blocks for each item. In async code, where blocking would stop the runtime, gives one error.
    fn into_iter(self) -> Blocking<Self> {
        Blocking::new(self)
    }
}
