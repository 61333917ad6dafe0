//! The results of a `map`, and what keeps its items flowing.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::in_flight::InFlight;
use super::window::Window;
use crate::error::{Clock, TaskError};
use crate::executor::{Chunk, TaskOptions};
use crate::panic;
use crate::task::{TaskFuture, block_until};
use crate::time::{Deadline, Expiry};

/// Which items a chunk has.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

/// Submits the items of a chunk.
pub(super) type SubmitChunk<E, A, T> =
    Box<dyn Fn(&E, Vec<A>, &TaskOptions) -> TaskFuture<Chunk<T>> + Send + Sync>;

/// Where chunks go, and how.
pub(super) struct Dispatch<E, A, T> {
    pub(super) executor: E,
    pub(super) options: TaskOptions,
    pub(super) submit: SubmitChunk<E, A, T>,
}

/// The results of [`Executor::map`](crate::Executor::map): a [`Stream`], or `for` over it in
/// blocking code.
///
/// It starts at the call with a first window of items, and pulls more only as results are taken, on
/// the thread that takes them. So the input may be endless, and a slow consumer holds up a fast
/// pool. A map that nobody consumes runs its first window.
///
/// A failed item leaves the others alone; its error knows its [`index`](TaskError::index). A panic
/// of the input is an error in the place of the item that it would have given, and ends the input.
/// Dropping a map cancels the items that have not started.
///
/// # Cancel safety
/// [`next`](Self::next) is cancel safe: a result that is not given stays.
#[must_use = "dropping a map cancels the items that have not started"]
pub struct Map<E, I: Iterator, T> {
    dispatch: Dispatch<E, I::Item, T>,
    /// `None` once it has ended.
    items: Option<I>,
    window: Window,
    in_flight: InFlight<Span, Chunk<T>>,
    /// Results that are there, the next one first.
    ready: VecDeque<Result<T, TaskError>>,
    /// Items that were pulled, and results that were given.
    pulled: usize,
    given: usize,
    expiry: Expiry,
    timeout: Option<Duration>,
}

impl<E, I: Iterator, T: Send + 'static> Map<E, I, T> {
    pub(super) fn start(
        dispatch: Dispatch<E, I::Item, T>,
        items: I,
        window: Window,
        ordered: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let mut map = Self {
            dispatch,
            items: Some(items),
            window,
            in_flight: InFlight::new(ordered),
            ready: VecDeque::new(),
            pulled: 0,
            given: 0,
            expiry: Expiry::new(timeout.map_or(Deadline::NEVER, Deadline::after)),
            timeout,
        };
        map.fill();
        map
    }

    /// The next result; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        std::future::poll_fn(|context| self.poll_result(context)).await
    }

    /// Blocks until the next result is there. In async code, where blocking would stop the runtime,
    /// gives an error; nothing is lost by that.
    pub fn blocking_next(&mut self) -> Option<Result<T, TaskError>> {
        let deadline = self.expiry.deadline();
        match block_until(deadline, |context| self.poll_in_time(context)) {
            Ok(Some(next)) => next,
            Ok(None) => Some(Err(self.expire())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Pulls items until the window is full.
    fn fill(&mut self) {
        while let Some(items) = &mut self.items {
            let room = self.window.items().saturating_sub(self.pulled - self.given);
            let wanted = self.window.chunk();
            if room < wanted {
                return;
            }
            let mut chunk = Vec::with_capacity(wanted.min(1_024));
            // The input is foreign code.
            let pulled = panic::guard(|| chunk.extend(items.by_ref().take(wanted)));
            let has_ended = pulled.is_err() || chunk.len() < wanted;
            self.submit(chunk);
            if has_ended {
                self.items = None;
            }
            if let Err(panic) = pulled {
                let error = TaskError::panicked(panic).at_index(self.pulled);
                let span = Span {
                    start: self.pulled,
                    len: 1,
                };
                self.pulled += 1;
                self.in_flight.push(span, TaskFuture::ready(Err(error)));
            }
        }
    }

    fn submit(&mut self, items: Vec<I::Item>) {
        let span = Span {
            start: self.pulled,
            len: items.len(),
        };
        if span.len > 0 {
            self.pulled += span.len;
            let Dispatch {
                executor,
                options,
                submit,
            } = &self.dispatch;
            self.in_flight.push(span, submit(executor, items, options));
        }
    }

    fn poll_in_time(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, TaskError>>> {
        loop {
            self.fill();
            if let Some(result) = self.ready.pop_front() {
                self.given += 1;
                self.window.consumed();
                return Poll::Ready(Some(result));
            }
            match self.in_flight.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some((span, result))) => self.unpack(span, result),
            }
        }
    }

    fn unpack(&mut self, span: Span, result: Result<Chunk<T>, TaskError>) {
        let indices = span.start..span.start + span.len;
        match result {
            Ok(chunk) => {
                debug_assert_eq!(chunk.results.len(), span.len);
                self.window.measured(span.len, chunk.time);
                let results = indices.zip(chunk.results);
                self.ready.extend(
                    results.map(|(index, result)| result.map_err(|error| error.at_index(index))),
                );
            }
            // The chunk as a whole was cancelled, rejected or overdue.
            Err(error) => self
                .ready
                .extend(indices.map(|index| Err(error.clone().at_index(index)))),
        }
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, TaskError>>> {
        if let Poll::Ready(next) = self.poll_in_time(context) {
            return Poll::Ready(next);
        }
        match self.expiry.poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(self.expire()))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The deadline has passed: this error is the last.
    fn expire(&mut self) -> TaskError {
        self.items = None;
        cancel(&mut self.in_flight);
        TaskError::timed_out(Clock::Wait, self.timeout).at_index(self.given)
    }
}

/// The items lie on the heap once pulled, and the input is never pinned.
impl<E, I: Iterator, T> Unpin for Map<E, I, T> {}

impl<E, I: Iterator, T: Send + 'static> Stream for Map<E, I, T> {
    type Item = Result<T, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_result(context)
    }
}

impl<E, I: Iterator, T> Drop for Map<E, I, T> {
    fn drop(&mut self) {
        cancel(&mut self.in_flight);
    }
}

/// Sees to it that items which have not begun never do.
fn cancel<T>(in_flight: &mut InFlight<Span, Chunk<T>>) {
    // The last first: so that no worker takes up what is cancelled next.
    for (span, future) in in_flight.take_all().into_iter().rev() {
        if !future.cancel() && span.len > 1 {
            // It has begun; asked to stop, it does so before its next item.
            future.abort();
        }
    }
}

impl<E, I: Iterator, T> fmt::Debug for Map<E, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("pulled", &self.pulled)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}
