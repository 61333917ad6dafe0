//! The items of any stream, run on an executor.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::error::TaskError;
use crate::executor::{
    Executor, Fallible, Place, Portable, TaskFn, TaskOptions, submit, try_submit,
};
use crate::map::{InFlight, Turn};
#[cfg(feature = "indicatif")]
use crate::progress::sealed::Tracked;
use crate::task::TaskFuture;

/// Runs the items of a stream on an executor: see [`map_on`](Self::map_on).
pub trait StreamExt: Stream {
    /// Runs `function` on each item, a few at a time, and gives the results in the order of the items.
    ///
    /// At most two items for each worker are in flight: pulled, with their results not yet taken. So a slow
    /// consumer or a busy executor holds back the input. On an executor with limits, each item takes a place,
    /// and waits if there is none. No other item is pulled meanwhile.
    ///
    /// ```
    /// use concurrent_futures::{stream::StreamExt as _, ThreadPoolExecutor};
    /// use futures_util::{stream, TryStreamExt as _};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), concurrent_futures::TaskError> {
    /// let pool = ThreadPoolExecutor::new(2);
    /// let squares = stream::iter(1..=4).map_on(&pool, |n: u64| n * n);
    /// assert_eq!(squares.try_collect::<Vec<_>>().await?, [1, 4, 9, 16]);
    /// # Ok(())
    /// # }
    /// ```
    fn map_on<E, F, Marker>(self, executor: &E, function: F) -> MapOn<Self, F::Output>
    where
        Self: Sized + Stream<Item: Portable>,
        E: Executor,
        F: TaskFn<Self::Item, Marker, Output: Portable>,
        Marker: 'static,
    {
        let submit_on = executor.clone();
        let submit = Box::new(move |item, place| {
            submit(
                &submit_on,
                &TaskOptions::default(),
                Some(place),
                function,
                item,
            )
        });
        MapOn::new(self, submit, executor)
    }

    /// Like [`map_on`](Self::map_on), for a function that returns a `Result`: its error takes the place of
    /// the item's result.
    ///
    /// ```
    /// use concurrent_futures::{stream::StreamExt as _, ThreadPoolExecutor};
    /// use futures_util::{stream, StreamExt as _};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let pool = ThreadPoolExecutor::new(2);
    /// let texts = stream::iter(["7", "seven"].map(String::from));
    /// let numbers = texts.try_map_on(&pool, |text: String| text.parse::<u32>());
    /// let numbers: Vec<_> = numbers.collect().await;
    /// assert_eq!(*numbers[0].as_ref().unwrap(), 7);
    /// assert_eq!(numbers[1].as_ref().unwrap_err().index(), Some(1));
    /// # }
    /// ```
    fn try_map_on<E, F, Marker>(
        self,
        executor: &E,
        function: F,
    ) -> MapOn<Self, <F::Output as Fallible>::Value>
    where
        Self: Sized + Stream<Item: Portable>,
        E: Executor,
        F: TaskFn<Self::Item, Marker, Output: Fallible<Value: Portable>>,
        Marker: 'static,
    {
        let submit_on = executor.clone();
        let submit = Box::new(move |item, place| {
            try_submit(
                &submit_on,
                &TaskOptions::default(),
                Some(place),
                function,
                item,
            )
        });
        MapOn::new(self, submit, executor)
    }
}

impl<S: Stream> StreamExt for S {}

type Submit<A, T> = Box<dyn Fn(A, Place) -> TaskFuture<T> + Send + Sync>;

pin_project! {
    /// The results of a stream's items, made by [`StreamExt::map_on`].
    ///
    /// A failed item leaves the others alone, and its error knows its [`index`](TaskError::index). Dropping
    /// the stream cancels the items that have not started.
    ///
    /// On an executor with limits, this stream waits in turn for places, like any other caller. Once polled,
    /// it keeps its turn, and the place that comes with it, until it is polled again. So poll it again, or
    /// drop it, before you wait for a place of the same executor yourself.
    #[must_use = "streams do nothing unless polled"]
    pub struct MapOn<S: Stream, T> {
        #[pin]
        input: S,
        has_ended: bool,
        submit: Submit<S::Item, T>,
        window: usize,
        pulled: usize,
        turn: Turn,
        pending: Option<S::Item>,
        in_flight: InFlight<usize, T>,
    }
}

impl<S: Stream, T> MapOn<S, T> {
    fn new<E: Executor>(input: S, submit: Submit<S::Item, T>, executor: &E) -> Self {
        Self {
            input,
            has_ended: false,
            submit,
            window: executor.max_workers().saturating_mul(2),
            pulled: 0,
            turn: Turn::new(executor.admission().clone()),
            pending: None,
            in_flight: InFlight::new(true),
        }
    }

    /// Fixes how many items may be in flight: see the example of [`unordered`](Self::unordered).
    ///
    /// # Panics
    /// If `items` is 0.
    pub fn window(mut self, items: usize) -> Self {
        assert!(
            items > 0,
            "a window of 0 items lets nothing run: give at least 1"
        );
        self.window = items;
        self
    }

    /// Gives results as they come.
    ///
    /// ```
    /// use concurrent_futures::{stream::StreamExt as _, ThreadPoolExecutor};
    /// use futures_util::{stream, TryStreamExt as _};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), concurrent_futures::TaskError> {
    /// let pool = ThreadPoolExecutor::new(2);
    /// let squares = stream::iter(1..=4).map_on(&pool, |n: u64| n * n).window(100).unordered();
    /// let mut squares: Vec<u64> = squares.try_collect().await?;
    /// squares.sort();
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the stream was polled before.
    pub fn unordered(mut self) -> Self {
        assert!(
            self.pulled == 0,
            "the order is chosen before the first result"
        );
        self.in_flight = InFlight::new(false);
        self
    }
}

impl<S: Stream, T> Stream for MapOn<S, T> {
    type Item = Result<T, TaskError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        while this.in_flight.len() < *this.window {
            if let Some(item) = this.pending.take() {
                let Poll::Ready(place) = this.turn.poll(context) else {
                    *this.pending = Some(item);
                    break;
                };
                let future = (this.submit)(item, place).cancel_on_drop();
                this.in_flight.push(*this.pulled, future);
                *this.pulled += 1;
                continue;
            }
            if *this.has_ended {
                break;
            }
            match this.input.as_mut().poll_next(context) {
                Poll::Ready(Some(item)) => *this.pending = Some(item),
                Poll::Ready(None) => *this.has_ended = true,
                Poll::Pending => break,
            }
        }
        match this.in_flight.poll_next(context) {
            Poll::Ready(Some((index, result))) => {
                this.turn.give_up();
                Poll::Ready(Some(result.map_err(|error| error.at_index(index))))
            }
            Poll::Ready(None) if !*this.has_ended || this.pending.is_some() => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(feature = "indicatif")]
impl<S: Stream, T> Tracked for MapOn<S, T> {
    fn given(&self) -> usize {
        self.pulled - self.in_flight.len()
    }

    fn left(&self) -> Option<usize> {
        let on_the_way = self.in_flight.len() + usize::from(self.pending.is_some());
        let (least, most) = self.input.size_hint();
        let to_pull = (most == Some(least)).then_some(least)?;
        to_pull.checked_add(on_the_way)
    }
}

impl<S: Stream, T> fmt::Debug for MapOn<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapOn")
            .field("window", &self.window)
            .field("pulled", &self.pulled)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}
