//! What [`wait`](crate::wait) and [`as_completed`](crate::as_completed) take: futures, and futures
//! with something of the caller's own beside them.

use std::sync::Arc;

use super::cell::CellRef;
use super::future::{AbortOutcome, TaskFuture};
use super::outcome::Outcome;
use super::shared::SharedTaskFuture;
use super::waiter::Sink;
use sealed::Waits;

/// A task's future, or a pair of a key of your own and such a future.
///
/// What you give comes back when its task is done, so a key says which one it was: see the example of
/// [`as_completed`](crate::as_completed).
///
/// This trait is sealed: it is implemented for [`TaskFuture`], `&mut TaskFuture`,
/// [`SharedTaskFuture`] and pairs `(key, future)` of them.
pub trait Waitable: Waits {}

impl<W: Waits> Waitable for W {}

pub(crate) mod sealed {
    //! How the futures are waited for: not for use outside of this crate.

    use super::{AbortOutcome, Arc, CellRef, Outcome, Sink};

    /// The part of [`Waitable`](super::Waitable) that is this crate's own.
    pub trait Waits {
        /// How the task ended, if it has.
        fn outcome(&self) -> Option<Outcome>;

        /// The task.
        fn cell(&self) -> &CellRef;

        /// Has `sink` told `key` when the task is done. False if it is done, or was when asked
        /// before.
        fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool;

        /// Takes back what was asked for.
        fn forget_waiter(&mut self);

        /// As [`TaskFuture::cancel`](crate::TaskFuture::cancel).
        fn cancel(&self) -> bool;

        /// As [`TaskFuture::abort`](crate::TaskFuture::abort).
        fn abort(&self) -> AbortOutcome;
    }
}

impl<T> Waits for TaskFuture<T> {
    fn outcome(&self) -> Option<Outcome> {
        Self::outcome(self)
    }

    fn cell(&self) -> &CellRef {
        Self::cell(self)
    }

    fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool {
        self.result_ref().report_when_done(sink, key)
    }

    fn forget_waiter(&mut self) {
        self.result_ref().forget_waiter();
    }

    fn cancel(&self) -> bool {
        Self::cancel(self)
    }

    fn abort(&self) -> AbortOutcome {
        Self::abort(self)
    }
}

impl<T> Waits for SharedTaskFuture<T> {
    fn outcome(&self) -> Option<Outcome> {
        Self::outcome(self)
    }

    fn cell(&self) -> &CellRef {
        Self::cell(self)
    }

    fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool {
        Self::report_when_done(self, sink, key)
    }

    fn forget_waiter(&mut self) {
        Self::forget_waiter(self);
    }

    fn cancel(&self) -> bool {
        Self::cancel(self)
    }

    fn abort(&self) -> AbortOutcome {
        Self::abort(self)
    }
}

impl<W: Waits> Waits for &mut W {
    fn outcome(&self) -> Option<Outcome> {
        W::outcome(self)
    }

    fn cell(&self) -> &CellRef {
        W::cell(self)
    }

    fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool {
        W::report_when_done(self, sink, key)
    }

    fn forget_waiter(&mut self) {
        W::forget_waiter(self);
    }

    fn cancel(&self) -> bool {
        W::cancel(self)
    }

    fn abort(&self) -> AbortOutcome {
        W::abort(self)
    }
}

impl<K, W: Waits> Waits for (K, W) {
    fn outcome(&self) -> Option<Outcome> {
        self.1.outcome()
    }

    fn cell(&self) -> &CellRef {
        self.1.cell()
    }

    fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool {
        self.1.report_when_done(sink, key)
    }

    fn forget_waiter(&mut self) {
        self.1.forget_waiter();
    }

    fn cancel(&self) -> bool {
        self.1.cancel()
    }

    fn abort(&self) -> AbortOutcome {
        self.1.abort()
    }
}
