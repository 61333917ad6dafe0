//! The results of a `map`, and what keeps its items flowing.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::vec;

use futures_core::Stream;

use super::in_flight::InFlight;
use super::planner::Planner;
use super::turn::Turn;
use crate::error::{Clock, TaskError};
use crate::executor::{Chunk, Place, TaskOptions};
use crate::panic;
#[cfg(feature = "indicatif")]
use crate::progress::sealed::Tracked;
use crate::task::{TaskFuture, block_until};
use crate::time::{Deadline, Expiry};

/// How many items of a chunk memory is reserved for before they are there: a chunk of fixed size may
/// be larger than the input.
const MOST_RESERVED: usize = 1 << 12;

/// Which items a chunk has.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

/// Submits the items of a chunk.
pub(super) type SubmitChunk<E, A, T> =
    Box<dyn Fn(&E, Vec<A>, Place, &TaskOptions) -> TaskFuture<Chunk<T>> + Send + Sync>;

/// Where chunks go, and how.
pub(super) struct Dispatch<E, A, T> {
    pub(super) executor: E,
    pub(super) options: TaskOptions,
    pub(super) submit: SubmitChunk<E, A, T>,
    /// How many workers the executor has, which may change.
    pub(super) max_workers: fn(&E) -> usize,
}

/// Items that were pulled and wait for a place.
struct Pulled<A> {
    items: Vec<A>,
    /// How the input has panicked after them.
    end: Option<TaskError>,
}

/// The results of [`Executor::map`](crate::Executor::map). This is a [`Stream`]; in blocking code, use `for`
/// over it.
///
/// The map starts at the call with a first window of items. It pulls more items only as results are taken, on
/// the thread that takes them. So the input may be endless, and a slow consumer holds up a fast pool. A map
/// that nobody consumes runs its first window. On an executor with limits, each chunk takes one place. If
/// there is no place, the map goes on when there is one and a result is waited for. When it is polled as a
/// stream, it keeps its turn, and the place that comes with it, until it is polled again. If you give up a
/// wait for [`next`](Self::next), you give up the turn as well.
///
/// A failed item leaves the others alone, and its error knows its [`index`](TaskError::index). If the input
/// panics, the error takes the place of the item that the input would have given, and the input ends.
/// Dropping a map cancels the items that have not started.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), concurrent_futures::TaskError> {
/// let pool = ThreadPoolExecutor::new(2);
/// let mut squares = pool.map(|n: u64| n * n, 1..);
/// while let Some(square) = squares.next().await {
///     if square? > 1_000 {
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// [`next`](Self::next) is cancel safe: a result that was not given stays.
#[must_use = "dropping a map cancels the items that have not started"]
pub struct Map<E, I: Iterator, T> {
    dispatch: Dispatch<E, I::Item, T>,
    /// `None` once it has ended.
    items: Option<I>,
    planner: Planner,
    turn: Turn,
    pending: Option<Pulled<I::Item>>,
    in_flight: InFlight<Span, Chunk<T>>,
    ready: Ready<T>,
    /// Items that were pulled, and results that were given.
    pulled: usize,
    given: usize,
    /// How many results are given before it makes sense to pull more.
    fill_at: usize,
    expiry: Expiry,
    timeout: Option<Duration>,
}

impl<E, I: Iterator, T: Send + 'static> Map<E, I, T> {
    pub(super) fn start(
        dispatch: Dispatch<E, I::Item, T>,
        items: I,
        planner: Planner,
        turn: Turn,
        ordered: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let mut map = Self {
            dispatch,
            items: Some(items),
            planner,
            turn,
            pending: None,
            in_flight: InFlight::new(ordered),
            ready: Ready::default(),
            pulled: 0,
            given: 0,
            fill_at: 0,
            expiry: Expiry::new(timeout.map_or(Deadline::NEVER, Deadline::after)),
            timeout,
        };
        map.fill();
        map
    }

    /// Waits for the next result; `None` after the last. See the example of [`Map`].
    ///
    /// # Cancel safety
    /// If you give up the wait, nothing is lost: the result stays.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        let next = Next(self);
        std::future::poll_fn(|context| next.0.poll_result(context)).await
    }

    /// Blocks until the next result is there; `None` after the last.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut squares = pool.map(|n: u64| n * n, 1..=3);
    /// while let Some(square) = squares.blocking_next() {
    ///     assert!(square? <= 9);
    /// }
    /// # Ok::<(), concurrent_futures::TaskError>(())
    /// ```
    ///
    /// # Errors
    /// The error of the item; or [`is_would_block`](TaskError::is_would_block) in async code, where blocking
    /// would stop the runtime. In that case nothing is lost.
    pub fn blocking_next(&mut self) -> Option<Result<T, TaskError>> {
        // Most results come with others of their chunk, and then nothing has to be prepared for a
        // wait.
        if let Some(result) = self.next_ready() {
            return Some(result);
        }
        let deadline = self.expiry.deadline();
        let waits_for = |map: &Self| {
            let place = map.turn.waits_for().filter(|_| map.in_flight.len() == 0);
            place.unwrap_or_else(|| map.in_flight.waits_for())
        };
        match block_until(deadline, self, Self::poll_in_time, waits_for) {
            Ok(Some(next)) => next,
            Ok(None) => Some(Err(self.expire())),
            Err(error) => {
                self.turn.give_up();
                Some(Err(error))
            }
        }
    }

    /// A result that is there.
    #[inline]
    fn next_ready(&mut self) -> Option<Result<T, TaskError>> {
        if self.given >= self.fill_at {
            self.fill();
        }
        let result = self.ready.next()?;
        self.given += 1;
        Some(result)
    }

    /// Pulls items until the window is full, or a chunk has to wait for a place.
    fn fill(&mut self) {
        self.fill_at = usize::MAX;
        if let Some(pulled) = self.pending.take() {
            if !self.submit(pulled) {
                return;
            }
        }
        self.planner
            .set_workers((self.dispatch.max_workers)(&self.dispatch.executor));
        let mut clock = self.now();
        while let Some(items) = &mut self.items {
            // The input is foreign code, also where it says how long it is.
            let left = panic::guard(|| items.size_hint().1).unwrap_or(None);
            let wanted = self.planner.chunk(self.given, left);
            let room = self
                .planner
                .window(self.given)
                .saturating_sub(self.pulled - self.given);
            if room < wanted {
                self.fill_at = self.given + Planner::results_for(wanted - room);
                return;
            }
            let mut chunk = Vec::with_capacity(wanted.min(MOST_RESERVED));
            let pulled = panic::guard(|| chunk.extend(items.by_ref().take(wanted)));
            let len = chunk.len();
            if pulled.is_err() || len < wanted {
                self.items = None;
            }
            let is_submitted = self.submit(Pulled {
                items: chunk,
                end: pulled.err().map(TaskError::panicked),
            });
            if let (Some(start), Some(end)) = (clock, self.now()) {
                self.planner.fed(len, end.saturating_duration_since(start));
                clock = Some(end);
            }
            if !is_submitted {
                return;
            }
        }
    }

    /// The time, if anything is planned by it.
    fn now(&self) -> Option<Instant> {
        self.planner.is_automatic().then(Instant::now)
    }

    /// Submits a chunk, or keeps it if there is no place for it.
    fn submit(&mut self, pulled: Pulled<I::Item>) -> bool {
        let place = if pulled.items.is_empty() {
            Some(Place::uncounted())
        } else {
            self.turn.take()
        };
        match place {
            Some(place) => self.submit_with(place, pulled),
            None => self.pending = Some(pulled),
        }
        self.pending.is_none()
    }

    fn submit_with(&mut self, place: Place, pulled: Pulled<I::Item>) {
        let Pulled { items, end } = pulled;
        if let Some(span) = self.next_span(items.len()) {
            let Dispatch {
                executor,
                options,
                submit,
                ..
            } = &self.dispatch;
            let future = submit(executor, items, place, options);
            self.in_flight.push(span, future);
        }
        let Some(error) = end else {
            return;
        };
        if let Some(span) = self.next_span(1) {
            let error = error.at_index(span.start);
            self.in_flight.push(span, TaskFuture::ready(Err(error)));
        }
    }

    /// The places of the next items that go on their way.
    fn next_span(&mut self, len: usize) -> Option<Span> {
        let start = self.pulled;
        self.pulled += len;
        (len > 0).then_some(Span { start, len })
    }

    fn poll_in_time(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, TaskError>>> {
        loop {
            if let Some(result) = self.next_ready() {
                self.turn.give_up();
                return Poll::Ready(Some(result));
            }
            if let Some(pulled) = self.pending.take() {
                match self.turn.poll(context) {
                    Poll::Ready(place) => {
                        self.submit_with(place, pulled);
                        self.fill();
                        continue;
                    }
                    Poll::Pending => self.pending = Some(pulled),
                }
            }
            let start = self.now();
            match self.in_flight.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) if self.pending.is_some() => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some((span, result))) => {
                    if let Some(start) = start {
                        self.planner.taken(span.len, start.elapsed());
                    }
                    self.unpack(span, result);
                }
            }
        }
    }

    fn unpack(&mut self, span: Span, result: Result<Chunk<T>, TaskError>) {
        let results = match result {
            Ok(chunk) => {
                debug_assert_eq!(chunk.results.len(), span.len);
                self.planner.ran(span.len, chunk.time);
                chunk.results
            }
            // The chunk as a whole was cancelled, rejected or overdue.
            Err(error) => (0..span.len).map(|_| Err(error.clone())).collect(),
        };
        self.ready = Ready {
            results: results.into_iter(),
            index: span.start,
        };
        if self.items.is_some() || self.pending.is_some() {
            // What was measured may allow for more, and there may be a place.
            self.fill_at = self.given;
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
        self.pending = None;
        self.turn.give_up();
        cancel(&mut self.in_flight);
        TaskError::timed_out(Clock::Wait, self.timeout).at_index(self.given)
    }
}

/// A wait for the next result. Given up, it gives up the map's turn.
struct Next<'a, E, I: Iterator, T>(&'a mut Map<E, I, T>);

impl<E, I: Iterator, T> Drop for Next<'_, E, I, T> {
    fn drop(&mut self) {
        self.0.turn.give_up();
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

#[cfg(feature = "indicatif")]
impl<E, I: Iterator, T> Tracked for Map<E, I, T> {
    fn given(&self) -> usize {
        self.given
    }

    fn left(&self) -> Option<usize> {
        let to_pull = self.items.as_ref().map_or(Some(0), |items| {
            let (least, most) = panic::guard(|| items.size_hint()).ok()?;
            (most == Some(least)).then_some(least)
        })?;
        let pending = self.pending.as_ref().map_or(0, |pulled| {
            pulled.items.len() + usize::from(pulled.end.is_some())
        });
        to_pull.checked_add(self.pulled - self.given + pending)
    }
}

impl<E, I: Iterator, T> Drop for Map<E, I, T> {
    fn drop(&mut self) {
        cancel(&mut self.in_flight);
    }
}

/// A chunk's results that were not given yet.
struct Ready<T> {
    results: vec::IntoIter<Result<T, TaskError>>,
    /// Which item the next one is of.
    index: usize,
}

impl<T> Default for Ready<T> {
    fn default() -> Self {
        Self {
            results: Vec::new().into_iter(),
            index: 0,
        }
    }
}

impl<T> Iterator for Ready<T> {
    type Item = Result<T, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Result<T, TaskError>> {
        let result = self.results.next()?;
        let index = self.index;
        self.index += 1;
        Some(result.map_err(|error| error.at_index(index)))
    }
}

/// Sees to it that items which have not begun never do.
fn cancel<T>(in_flight: &mut InFlight<Span, Chunk<T>>) {
    // The last first: so that no worker takes up what is cancelled next.
    for (span, future) in in_flight.take_all().into_iter().rev() {
        if !future.cancel() && span.len > 1 {
            // It has begun; asked to stop, it does so before its next item.
            future.ask_to_stop();
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
