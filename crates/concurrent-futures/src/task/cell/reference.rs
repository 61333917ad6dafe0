//! A counted reference to a cell, and what anyone who has one may do.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::current::with_task;
use super::layout::Header;
use crate::error::{Clock, Rejection, TaskError};
use crate::id::{OwnerId, TaskId};
use crate::panic;
use crate::sync::Ordering;
use crate::task::extras::{Extras, run_callback};
use crate::task::future::AbortOutcome;
use crate::task::outcome::{Outcome, TaskInfo};
use crate::task::owner::{self, Owner};
use crate::task::state::{self, Published, Snapshot, State};
use crate::time::{Alarm, Deadline, schedule};

/// A counted reference to a cell, without a right to job or result.
pub struct CellRef(pub(super) NonNull<Header>);

// SAFETY: what a `CellRef` reaches is atomic, constant, `Send` (job and result, which are dropped or
// run by whoever wins the right to) or guarded by the contract above.
unsafe impl Send for CellRef {}
// SAFETY: as above; no method hands out a reference to job or result.
unsafe impl Sync for CellRef {}

impl CellRef {
    pub(super) fn header(&self) -> &Header {
        // SAFETY: the counted reference keeps the cell alive.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn state(&self) -> &State {
        &self.header().state
    }

    pub(in crate::task) fn snapshot(&self) -> Snapshot {
        self.state().load()
    }

    pub(crate) fn id(&self) -> TaskId {
        self.header().id
    }

    pub(crate) fn owner(&self) -> OwnerId {
        self.header().owner
    }

    pub(crate) fn queued_at(&self) -> u64 {
        self.header().queued_at
    }

    pub(crate) fn is_queued(&self) -> bool {
        self.snapshot().is_queued()
    }

    /// Nobody has claimed the right to its result.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.snapshot().is_unfinished()
    }

    pub(crate) fn extras(&self) -> Option<&Extras> {
        // Acquire: pairs with the release by which the box was put there.
        let extras = self.header().extras.load(Ordering::Acquire);
        // SAFETY: once there, the box stays until the cell is freed.
        unsafe { extras.as_ref() }
    }

    fn extras_or_new(&self) -> &Extras {
        if let Some(extras) = self.extras() {
            return extras;
        }
        let fresh = Box::into_raw(Box::default());
        // Release: publishes the content of the box. Acquire: reads that of another's.
        match self.header().extras.compare_exchange(
            std::ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            // SAFETY: it is there now, and stays until the cell is freed.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: `fresh` came from a box and went nowhere.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: it is there, and stays until the cell is freed.
                unsafe { &*other }
            }
        }
    }

    pub(crate) fn info(&self) -> TaskInfo<'_> {
        let name = self.extras().and_then(|extras| extras.name.as_deref());
        TaskInfo::new(self.id(), name)
    }

    /// Logs something about the task, in the span that it was submitted in.
    pub(crate) fn in_span(&self, log: impl FnOnce()) {
        panic::contain(|| match self.span() {
            Some(span) => span.in_scope(log),
            None => log(),
        });
    }

    /// The span that the task was submitted in.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.extras().and_then(|extras| extras.span.as_ref())
    }

    pub(super) fn name_error(&self, error: TaskError) -> TaskError {
        match self.extras().and_then(|extras| extras.name.clone()) {
            Some(name) => error.of_task(Some(name)),
            None => error,
        }
    }

    pub(super) fn stop_clock(&self, clock: Clock) {
        if let Some(extras) = self.extras() {
            extras.set_timer(clock, None);
        }
    }

    pub(super) fn stop_clocks(&self) {
        if let Some(extras) = self.extras() {
            extras.set_timer(Clock::Queue, None);
            extras.set_timer(Clock::Run, None);
        }
    }

    /// Takes the task out of the queue, for who makes it final then. A task that may lie with a
    /// worker elsewhere is withdrawn by its owner.
    fn withdraw(&self) -> bool {
        let snapshot = self.snapshot();
        if !snapshot.is_queued() {
            return false;
        }
        match self.remote_owner(snapshot) {
            Some(owner) => owner.withdraw(self),
            None => self.claim_queued(),
        }
    }

    /// The bare claim of a task that nobody will begin: for its owner.
    pub(crate) fn claim_queued(&self) -> bool {
        self.state().claim_queued()
    }

    /// Notes that the task has begun elsewhere.
    pub(crate) fn note_start(&self) {
        // Refused, if it was noted before.
        let _ = self.state().start();
    }

    /// Sees to it that nobody cancels the task any more. False if somebody has claimed it already.
    pub(crate) fn settle(&self) -> bool {
        self.state().start() || self.is_unfinished()
    }

    /// The pool that counts this task.
    fn owner_to_tell(&self) -> Option<Arc<dyn Owner>> {
        match self.is_of_pool() {
            true => None,
            false => owner::find(self.header().owner),
        }
    }

    /// Others than who runs it may make it final.
    pub(in crate::task) fn is_open_to_others(&self) -> bool {
        self.snapshot().has(state::OUTSIDE)
    }

    /// It is not a task but a promise of its pool: of a place while queued, of its end afterwards.
    pub(in crate::task) fn is_of_pool(&self) -> bool {
        self.snapshot().has(state::OF_POOL)
    }

    fn remote_owner(&self, snapshot: Snapshot) -> Option<Arc<dyn Owner>> {
        snapshot
            .has(state::REMOTE)
            .then(|| owner::find(self.header().owner))
            .flatten()
    }

    /// Ends the task where it runs, if that is elsewhere.
    pub(in crate::task) fn end_remotely(&self) -> Option<AbortOutcome> {
        self.remote_owner(self.snapshot())
            .map(|owner| owner.abort(self))
    }

    /// The task has begun and is not over.
    pub(in crate::task) fn is_running(&self) -> bool {
        let snapshot = self.snapshot();
        if snapshot.is_queued() {
            return self
                .remote_owner(snapshot)
                .is_some_and(|owner| owner.has_begun(self));
        }
        !snapshot.is_done()
    }

    /// Asks the body to stop when it likes, wherever it runs.
    pub(in crate::task) fn ask_to_stop(&self) {
        self.request_stop();
        if let Some(owner) = self.remote_owner(self.snapshot()) {
            owner.ask_to_stop(self);
        }
    }

    /// Makes a task final that runs elsewhere.
    pub(super) fn fail_unfinished(&self, error: TaskError) {
        if self.state().claim_unfinished() {
            self.stop_clocks();
            let error = self.name_error(error);
            let outcome = Outcome::of_error(&error);
            self.publish_error(error, outcome);
        }
    }

    /// Asks the body to stop: sets the flag, and cancels the token if somebody has one.
    pub(in crate::task) fn request_stop(&self) {
        if !self.state().set(state::STOP).has(state::TOKEN) {
            return;
        }
        let Some(extras) = self.extras() else {
            return;
        };
        if let Err(panic) = panic::guard(|| extras.token().cancel()) {
            panic::contain(|| {
                tracing::error!(panic.message, panic.location, "a waker panicked");
            });
        }
    }

    pub(in crate::task) fn is_listed(&self) -> bool {
        self.snapshot().has(state::LISTED)
    }

    /// Said by the future, of which there is one.
    pub(in crate::task) fn set_listed(&self, is_listed: bool) {
        if is_listed {
            self.state().set(state::LISTED);
        } else {
            self.state().unset(state::LISTED);
        }
    }

    pub(crate) fn is_stop_requested(&self) -> bool {
        self.snapshot().has(state::STOP)
    }

    pub(in crate::task) fn token(&self) -> CancellationToken {
        let token = self.extras_or_new().token();
        if self.state().set(state::TOKEN).has(state::STOP) {
            token.cancel();
        }
        token.clone()
    }

    pub(in crate::task) fn on_done(&self, callback: Box<dyn FnOnce(TaskId, Outcome) + Send>) {
        if let Some(outcome) = self.snapshot().outcome() {
            run_callback(callback, self.info(), outcome);
            return;
        }
        let extras = self.extras_or_new();
        extras.add_callback(callback);
        if self.state().set(state::CALLBACKS).is_done() {
            let outcome = self.snapshot().outcome();
            extras.run_callbacks(self.id(), outcome.expect("the task is done"));
        }
    }

    /// Makes a task that waits in a queue final. False if it has started, or is final already.
    pub(crate) fn finish_queued(&self, error: impl FnOnce() -> TaskError) -> bool {
        if !self.withdraw() {
            return false;
        }
        with_task(self.id(), |_| {
            // SAFETY: the claim of a queued task gives the right to its job.
            unsafe { (self.header().vtable.discard_job)(self.0) };
            self.stop_clock(Clock::Queue);
            let error = self.name_error(error());
            let outcome = Outcome::of_error(&error);
            if let Some(owner) = self.owner_to_tell() {
                owner.left_queue(self.info(), outcome);
            }
            self.publish_error(error, outcome);
        });
        true
    }

    /// Makes a task that no queue has taken final, without telling its owner.
    pub(crate) fn refuse(&self, error: TaskError) {
        if self.state().claim_queued() {
            with_task(self.id(), |_| {
                // SAFETY: the claim of a queued task gives the right to its job.
                unsafe { (self.header().vtable.discard_job)(self.0) };
                let error = self.name_error(error);
                let outcome = Outcome::of_error(&error);
                self.publish_error(error, outcome);
            });
        }
    }

    /// Makes a running task final while its body goes on, and asks the body to stop.
    pub(in crate::task) fn finish_running(&self, error: impl FnOnce() -> TaskError) -> bool {
        if !self.state().claim_running() {
            return false;
        }
        self.request_stop();
        let error = self.name_error(error());
        let outcome = Outcome::of_error(&error);
        if let Some(owner) = self.owner_to_tell() {
            owner.overtaken(self.info(), outcome);
        }
        self.publish_error(error, outcome);
        true
    }

    /// Starts the clock of the queue for a task that lies in one, if it has such a limit.
    pub(crate) fn start_queue_clock(&self) {
        let Some(limit) = self.extras().and_then(|extras| extras.queue_timeout) else {
            return;
        };
        if let Err(error) = self.start_clock(Clock::Queue, limit) {
            self.finish_queued(|| TaskError::rejected(Rejection::Broken).caused_by(error));
        }
    }

    /// The caller has claimed the task, and the stage is empty.
    pub(super) fn publish_error(&self, error: TaskError, outcome: Outcome) {
        // SAFETY: as said above, which is why only the claims call this.
        unsafe { (self.header().vtable.put_error)(self.0, error) };
        self.clone().publish(outcome);
    }

    /// Gives the result, which is in the stage, to who may have it. Consumes the reference. True if
    /// foreign code was told, or has dropped the result.
    pub(super) fn publish(self, outcome: Outcome) -> bool {
        match self.state().publish(outcome) {
            Published::Quietly => {
                // The reference went with the change of the state.
                std::mem::forget(self);
                false
            }
            Published::Observed(before) => {
                self.tell(before, outcome);
                true
            }
        }
    }

    #[cold]
    fn tell(&self, before: Snapshot, outcome: Outcome) {
        let owner = before
            .has(state::CALLBACKS)
            .then(|| self.remote_owner(before))
            .flatten();
        if let Some(owner) = owner {
            // One thread takes the results of many workers: a callback that blocks must not hold it up.
            let task = self.clone();
            owner.run_callbacks(Box::new(move || task.tell_now(before, outcome)));
        } else {
            self.tell_now(before, outcome);
        }
    }

    fn tell_now(&self, before: Snapshot, outcome: Outcome) {
        if before.has(state::CALLBACKS) {
            if let Some(extras) = self.extras() {
                extras.run_callbacks(self.id(), outcome);
            }
        }
        if before.has(state::WAITER) {
            // SAFETY: `WAITER` was set when the task became final, so the filled slot is ours.
            let waiter = self
                .header()
                .waiter
                .with(|slot| unsafe { (*slot).assume_init_read() });
            waiter.notify(outcome);
        }
        if !before.has(state::INTEREST) {
            // SAFETY: there was no future any more when the task became final, so the result is
            // the publisher's, and nobody else looks at it.
            unsafe { (self.header().vtable.drop_result)(self.0) };
        }
    }

    /// Starts the clock of a time limit; when it is over, the task becomes final.
    ///
    /// # Errors
    /// When the system refuses the thread that serves deadlines.
    pub(super) fn start_clock(&self, clock: Clock, limit: Duration) -> std::io::Result<()> {
        let Some(at) = Deadline::after(limit).instant() else {
            return Ok(());
        };
        let overdue = Overdue {
            cell: self.clone(),
            clock,
            limit,
        };
        let timer = schedule(at, Arc::new(overdue))?;
        self.extras_or_new().set_timer(clock, Some(timer));
        // The clock may have lost its meaning before the timer was put where that stops it.
        let snapshot = self.snapshot();
        if snapshot.is_done() || (clock == Clock::Queue && !snapshot.is_queued()) {
            self.stop_clock(clock);
        }
        Ok(())
    }
}

impl CellRef {
    /// The job has left the stage, so that the alarm may fill it.
    pub(super) fn start_run_clock(&self, extras: &Extras) {
        // The queue's clock, if there is one, has nothing left to say.
        extras.set_timer(Clock::Queue, None);
        let Some(limit) = extras.run_timeout else {
            return;
        };
        if let Err(error) = self.start_clock(Clock::Run, limit) {
            panic::contain(|| {
                let task = self.info();
                tracing::error!(task.id = task.id().get(), task.name = task.name(), %error, "no thread for the run timeout");
            });
        }
    }
}

/// A time limit of a task.
struct Overdue {
    cell: CellRef,
    clock: Clock,
    limit: Duration,
}

impl Alarm for Overdue {
    fn ring(&self) {
        let error = || TaskError::timed_out(self.clock, Some(self.limit));
        match self.clock {
            Clock::Queue => self.cell.finish_queued(error),
            Clock::Run | Clock::Wait => self.cell.finish_running(error),
        };
    }
}

impl Clone for CellRef {
    fn clone(&self) -> Self {
        self.state().add_reference();
        Self(self.0)
    }
}

impl Drop for CellRef {
    #[inline]
    fn drop(&mut self) {
        if self.state().drop_reference() {
            // SAFETY: it was the last reference.
            unsafe { (self.header().vtable.free)(self.0) };
        }
    }
}
