//! `as_completed` over futures that come from a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::as_completed::AsCompleted;
#[cfg(feature = "indicatif")]
use crate::progress::sealed::Tracked;
use crate::task::Waitable;

pin_project! {
    /// Futures in the order in which their tasks finish, while more futures come in from a stream. Made by
    /// [`AsCompleted::fed_by`].
    #[must_use = "streams do nothing unless polled"]
    pub struct Fed<S, W: Waitable> {
        #[pin]
        input: S,
        has_ended: bool,
        set: AsCompleted<W>,
    }
}

impl<W: Waitable> AsCompleted<W> {
    /// Takes in futures from `input` as they come, until it ends. The resulting stream ends when the input
    /// has ended and all tasks are over.
    ///
    /// The stream takes in everything that the input has ready at once, so the bound of a channel does not
    /// hold back its sender any more.
    ///
    /// ```
    /// use concurrent_futures::stream::StreamExt as _;
    /// use concurrent_futures::{AsCompleted, Executor, InlineExecutor};
    /// use futures_util::StreamExt as _;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let executor = InlineExecutor::new();
    /// let input = futures_util::stream::iter(0..3).map(move |n: u64| executor.submit(u64::pow, (n, 2)));
    /// let done = AsCompleted::new().fed_by(input);
    /// let squares: Vec<_> = done.map(|future| future.result().unwrap()).collect().await;
    /// assert_eq!(squares, [0, 1, 4]);
    /// # }
    /// ```
    pub fn fed_by<S: Stream<Item = W>>(self, input: S) -> Fed<S, W> {
        Fed {
            input,
            has_ended: false,
            set: self,
        }
    }
}

impl<S: Stream<Item = W>, W: Waitable> Stream for Fed<S, W> {
    type Item = W;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<W>> {
        let mut this = self.project();
        while !*this.has_ended {
            match this.input.as_mut().poll_next(context) {
                Poll::Ready(Some(future)) => this.set.push(future),
                Poll::Ready(None) => *this.has_ended = true,
                Poll::Pending => break,
            }
        }
        match this.set.poll_finished(context) {
            Poll::Ready(None) if !*this.has_ended => Poll::Pending,
            next => next,
        }
    }
}

#[cfg(feature = "indicatif")]
impl<S, W: Waitable> Tracked for Fed<S, W> {
    fn given(&self) -> usize {
        self.set.given()
    }

    fn left(&self) -> Option<usize> {
        None
    }
}

impl<S, W: Waitable> fmt::Debug for Fed<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fed")
            .field("set", &self.set)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}
