//! The right to run a task, before and after it has begun.

use std::mem::ManuallyDrop;

use super::kind::Local;
use super::layout::{Cell, Stage};
use super::reference::CellRef;
use super::result::ResultRef;
use crate::error::{Ran, TaskError};
use crate::id::OwnerId;
use crate::task::extras::Extras;
use crate::task::outcome::{Outcome, TaskInfo};
use crate::task::state::{self, State};

/// What a task that ran reports to its worker, before anybody can see the result.
pub(crate) trait Recorder {
    /// The task is about to become final.
    fn finished(&mut self, task: TaskInfo<'_>, outcome: Outcome);

    /// Foreign code has run since then: callbacks, wakers, or the drop of the result.
    fn told(&mut self);

    /// Somebody else has made the task final while its body ran.
    fn overtaken(&mut self);
}

/// The right to run a task, which lies in some queue. Dropped unused, it gives the task up.
pub(crate) struct Runnable(CellRef);

impl Runnable {
    /// A task that runs in this process: the right to run it, and the right to its result.
    pub(in crate::task) fn new<F, T>(
        job: F,
        owner: OwnerId,
        queued_at: u64,
        extras: Option<Box<Extras>>,
    ) -> (Self, ResultRef<T>)
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        let timed = extras
            .as_ref()
            .is_some_and(|extras| extras.run_timeout.is_some());
        let state = State::queued(2, if timed { state::OUTSIDE } else { 0 });
        let stage = Stage {
            job: ManuallyDrop::new(job),
        };
        let cell = Cell::<Local<F, T>>::allocate(state, owner, queued_at, extras, stage);
        (Self(CellRef(cell)), ResultRef::of(cell))
    }

    pub(crate) fn cell(&self) -> &CellRef {
        &self.0
    }

    /// Begins the task, unless it is final already.
    pub(crate) fn start(self) -> Option<Started> {
        if self.0.state().start() {
            // Given up only from here on, where dropping it would no longer find it queued.
            let this = ManuallyDrop::new(self);
            // SAFETY: `this` is not used again, so the reference is moved and not doubled.
            Some(Started(unsafe { std::ptr::read(&this.0) }))
        } else {
            None
        }
    }
}

impl CellRef {
    /// Begins a task that runs in this process and lies in a queue, where its [`Runnable`] stays.
    pub(crate) fn begin(&self) -> Option<Started> {
        let is_there = self.is_queued() && !self.is_of_pool();
        (is_there && self.state().start()).then(|| Started(self.clone()))
    }
}

impl Drop for Runnable {
    fn drop(&mut self) {
        if self.0.is_queued() {
            self.0.finish_queued(|| TaskError::abandoned(Ran::No));
        }
    }
}

/// A task that has begun, and whose body is called next.
#[must_use]
pub(crate) struct Started(CellRef);

impl Started {
    pub(crate) fn cell(&self) -> &CellRef {
        &self.0
    }

    /// Calls the body on this thread and makes the result final.
    #[inline]
    pub(crate) fn run(self, recorder: &mut dyn Recorder) {
        let cell = ManuallyDrop::new(self);
        let header = cell.0.0;
        // SAFETY: `Started` exists because `start` was won; its reference is handed on, once.
        unsafe { (header.as_ref().vtable.run)(header, recorder) };
    }
}

impl Drop for Started {
    /// Not reached by [`Self::run`]: somebody's panic has come between.
    fn drop(&mut self) {
        // SAFETY: `start` was won and the job not taken, so both job and result are this handle's.
        unsafe { (self.0.header().vtable.discard_job)(self.0.0) };
        let error = self.0.name_error(TaskError::abandoned(Ran::No));
        self.0.publish_error(error, Outcome::Abandoned);
    }
}
