//! Progress bars of `indicatif` over the streams of this crate.
//!
//! A stream knows itself how many results it has given, so a bar counts these and nothing else: not the
//! error of a deadline, and not that of a wait that was refused. A bar is ended once, here or by its owner.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use indicatif::ProgressBar;
use pin_project_lite::pin_project;

use crate::as_completed::{AsCompleted, AsCompletedTimeout};
use crate::error::TaskError;
use crate::map::Map;
use crate::panic::guard;
use crate::stream::{Blocking, Fed, MapOn};
use crate::task::Waitable;
use sealed::Tracked;

pub(crate) mod sealed {
    //! What a bar has to know of a stream: not for use outside of this crate.

    /// A stream that can have a progress bar.
    pub trait Tracked {
        /// How many results it has given.
        fn given(&self) -> usize;

        /// How many results it has still to give, if that is known.
        fn left(&self) -> Option<usize>;
    }
}

pin_project! {
    /// A stream that moves a progress bar, made by [`Map::progress`], [`AsCompleted::progress`] and similar
    /// methods. Needs the feature `indicatif`.
    ///
    /// It remains the stream that it was: a [`Stream`] with `next` and `blocking_next`, and with `for` in
    /// blocking code. Each result that it gives moves the bar by one, failed or not. The error of a deadline
    /// is not a result.
    ///
    /// A bar without a length gets the length of the input, if the input knows it, and
    /// [`push`](Progress::push) makes it longer. A bar with a length keeps it. At the end the bar is
    /// [finished](ProgressBar::finish_using_style), as its [`with_finish`](ProgressBar::with_finish) says. If
    /// results are missing, because the stream was dropped or its time was over, the bar is
    /// [abandoned](ProgressBar::abandon), and shows how far it came.
    ///
    /// A bar is a handle: pass a clone, and keep yours to print above it ([`suspend`](ProgressBar::suspend),
    /// [`println`](ProgressBar::println)). It is drawn when it moves. If tasks take long,
    /// [`enable_steady_tick`](ProgressBar::enable_steady_tick) keeps its clock going. Counting a result takes
    /// about 30 ns, most of which is reading the clock.
    ///
    /// ```
    /// use concurrent_futures::{Executor, TaskError, ThreadPoolExecutor};
    /// use indicatif::ProgressBar;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), TaskError> {
    /// let pool = ThreadPoolExecutor::new(2);
    /// let bar = ProgressBar::no_length();
    /// let mut squares = pool.map(|n: u64| n * n, 1..=100).progress(bar.clone());
    /// while let Some(square) = squares.next().await {
    ///     if square? == 10_000 {
    ///         bar.suspend(|| println!("the last one"));
    ///     }
    /// }
    /// assert_eq!((bar.position(), bar.length()), (100, Some(100)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Like the stream that it was made from: `next` is cancel safe, and a result that was not given is not
    /// counted.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Progress<S> {
        #[pin]
        stream: S,
        count: Count,
    }
}

impl<S: Tracked> Progress<S> {
    fn new(stream: S, bar: ProgressBar) -> Self {
        let left = stream.left();
        let count = Count {
            sets_length: left.is_some() && bar.length().is_none(),
            given: stream.given(),
            left,
            has_ended: false,
            bar,
        };
        match left {
            Some(left) if count.sets_length => {
                let length = count.bar.position().saturating_add(left as u64);
                count.bar.set_length(length);
            }
            // It shows before the first result.
            _ => count.bar.tick(),
        }
        Self { stream, count }
    }

    /// Counts what the stream has just given.
    #[inline]
    fn counted<T>(&mut self, next: Option<T>) -> Option<T> {
        self.count.note(self.stream.given(), next.is_some());
        next
    }
}

impl<E, I: Iterator, T: Send + 'static> Map<E, I, T> {
    /// Shows on `bar` how many results were given: see [`Progress`].
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    /// use indicatif::ProgressBar;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// for square in pool.map(|n: u64| n * n, 1..=100).progress(ProgressBar::no_length()) {
    ///     assert!(square? <= 10_000);
    /// }
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn progress(self, bar: ProgressBar) -> Progress<Self> {
        Progress::new(self, bar)
    }
}

impl<E, I: Iterator, T: Send + 'static> Progress<Map<E, I, T>> {
    /// Like [`Map::next`].
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        let next = self.stream.next().await;
        self.counted(next)
    }

    /// Like [`Map::blocking_next`].
    pub fn blocking_next(&mut self) -> Option<Result<T, TaskError>> {
        match self.stream.blocking_next() {
            Some(Err(refusal)) if refusal.is_would_block() => Some(Err(refusal)),
            next => self.counted(next),
        }
    }
}

impl<W: Waitable> AsCompleted<W> {
    /// Shows on `bar` how many futures were given: see [`Progress`].
    ///
    /// ```
    /// use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
    /// use indicatif::ProgressBar;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let bar = ProgressBar::no_length();
    /// let futures = (1..=3).map(|n| pool.submit(u64::pow, (n, 2)));
    /// let mut done = as_completed(futures).progress(bar.clone());
    /// done.push(pool.submit(u64::pow, (4, 2)));
    /// assert_eq!(bar.length(), Some(4));
    /// for future in done {
    ///     assert!(future.result()? <= 16);
    /// }
    /// assert_eq!(bar.position(), 4);
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    pub fn progress(self, bar: ProgressBar) -> Progress<Self> {
        Progress::new(self, bar)
    }
}

impl<W: Waitable> Progress<AsCompleted<W>> {
    /// Like [`AsCompleted::push`]. Makes the bar longer, if it had no length.
    pub fn push(&mut self, future: W) {
        self.extend([future]);
    }

    /// Like [`AsCompleted::len`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.stream.len()
    }

    /// Like [`AsCompleted::is_empty`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stream.is_empty()
    }

    /// Like [`AsCompleted::next`].
    pub async fn next(&mut self) -> Option<W> {
        let next = self.stream.next().await;
        self.counted(next)
    }

    /// Like [`AsCompleted::blocking_next`].
    ///
    /// # Errors
    /// Those of [`AsCompleted::blocking_next`].
    pub fn blocking_next(&mut self) -> Result<Option<W>, TaskError> {
        let next = self.stream.blocking_next()?;
        Ok(self.counted(next))
    }

    /// Like [`AsCompleted::timeout`].
    pub fn timeout(self, limit: Duration) -> Progress<AsCompletedTimeout<W>> {
        Progress {
            stream: self.stream.timeout(limit),
            count: self.count,
        }
    }

    /// Like [`AsCompleted::into_remaining`]. Ends the bar.
    pub fn into_remaining(self) -> Vec<W> {
        self.stream.into_remaining()
    }
}

impl<W: Waitable> Extend<W> for Progress<AsCompleted<W>> {
    fn extend<I: IntoIterator<Item = W>>(&mut self, futures: I) {
        let before = self.stream.len();
        self.stream.extend(futures);
        self.count.grow(self.stream.len() - before);
    }
}

impl<W: Waitable> AsCompletedTimeout<W> {
    /// Shows on `bar` how many futures were given: see [`Progress`].
    pub fn progress(self, bar: ProgressBar) -> Progress<Self> {
        Progress::new(self, bar)
    }
}

impl<W: Waitable> Progress<AsCompletedTimeout<W>> {
    /// Like [`AsCompletedTimeout::push`]. Makes the bar longer, if it had no length.
    pub fn push(&mut self, future: W) {
        self.stream.push(future);
        self.count.grow(1);
    }

    /// Like [`AsCompletedTimeout::next`].
    pub async fn next(&mut self) -> Option<Result<W, TaskError>> {
        let next = self.stream.next().await;
        self.counted(next)
    }

    /// Like [`AsCompletedTimeout::blocking_next`].
    pub fn blocking_next(&mut self) -> Option<Result<W, TaskError>> {
        match self.stream.blocking_next() {
            Some(Err(refusal)) if refusal.is_would_block() => Some(Err(refusal)),
            next => self.counted(next),
        }
    }

    /// Like [`AsCompletedTimeout::into_remaining`]. Ends the bar.
    pub fn into_remaining(self) -> Vec<W> {
        self.stream.into_remaining()
    }
}

impl<S, W: Waitable> Fed<S, W> {
    /// Shows on `bar` how many futures were given: see [`Progress`]. The number of futures to come is
    /// unknown, so the bar gets no length.
    pub fn progress(self, bar: ProgressBar) -> Progress<Self> {
        Progress::new(self, bar)
    }
}

impl<S: Stream, T> MapOn<S, T> {
    /// Shows on `bar` how many results were given: see [`Progress`].
    pub fn progress(self, bar: ProgressBar) -> Progress<Self> {
        Progress::new(self, bar)
    }
}

impl<S: Stream + Tracked> Stream for Progress<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let next = ready!(this.stream.as_mut().poll_next(context));
        this.count.note(this.stream.given(), next.is_some());
        Poll::Ready(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S: Tracked + IntoIterator<IntoIter = Blocking<S>>> IntoIterator for Progress<S>
where
    Blocking<S>: Iterator<Item = S::Item>,
{
    type Item = S::Item;
    type IntoIter = Progress<Blocking<S>>;

    /// Blocks for each item, as the stream would without its bar.
    fn into_iter(self) -> Progress<Blocking<S>> {
        Progress {
            stream: self.stream.into_iter(),
            count: self.count,
        }
    }
}

impl<S: Tracked> Iterator for Progress<Blocking<S>>
where
    Blocking<S>: Iterator,
{
    type Item = <Blocking<S> as Iterator>::Item;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.stream.next();
        self.count
            .note(self.stream.get_ref().given(), next.is_some());
        next
    }
}

/// The bar, and how far it is.
#[derive(Debug)]
struct Count {
    bar: ProgressBar,
    /// Its length is that of the input, and not its owner's.
    sets_length: bool,
    /// How many results the stream had given when it was asked last.
    given: usize,
    left: Option<usize>,
    has_ended: bool,
}

impl Count {
    /// The stream has ended, or has given something, and `given` results in all.
    #[inline]
    fn note(&mut self, given: usize, is_some: bool) {
        let results = given - self.given;
        if results > 0 {
            self.given = given;
            self.left = self.left.map(|left| left.saturating_sub(results));
            self.bar.inc(results as u64);
        }
        if !is_some {
            self.end(self.left.unwrap_or(0) == 0);
        } else if results == 0 {
            // The error of a deadline: the last item.
            self.end(false);
        }
    }

    /// So many results more will come.
    fn grow(&mut self, results: usize) {
        self.left = self.left.map(|left| left + results);
        if self.sets_length {
            self.bar.inc_length(results as u64);
        }
    }

    #[cold]
    fn end(&mut self, is_complete: bool) {
        if std::mem::replace(&mut self.has_ended, true) || self.bar.is_finished() {
            return;
        }
        if is_complete {
            self.bar.finish_using_style();
        } else {
            self.bar.abandon();
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // A bar panics for good once anything has panicked that was printed above it, which may be
        // why this is dropped. The panic hook has told of it.
        let _ = guard(|| self.end(self.left == Some(0)));
    }
}
