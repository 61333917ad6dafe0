//! The right of a promise to make a result.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::kind::{Outside, Stored};
use super::layout::{Cell, Stage};
use super::reference::CellRef;
use super::result::ResultRef;
use crate::error::{Clock, Rejection, TaskError};
use crate::id::OwnerId;
use crate::task::extras::Extras;
use crate::task::outcome::Outcome;
use crate::task::state::{self, State};

/// The right of a promise to make the result.
pub(in crate::task) struct Claimable<T>(CellRef, PhantomData<fn(T)>);

impl<T: Send + 'static> Claimable<T> {
    /// A task whose result comes from elsewhere: the right to make it, and the right to have it.
    pub(in crate::task) fn new(extras: Option<Box<Extras>>) -> (Self, ResultRef<T>) {
        let stage = Stage {
            job: ManuallyDrop::new(()),
        };
        let state = State::queued(2, state::OUTSIDE);
        let cell = Cell::<Outside<T>>::allocate(state, OwnerId::NONE, 0, extras, stage);
        (Self(CellRef(cell), PhantomData), ResultRef::of(cell))
    }

    pub(in crate::task) fn cell(&self) -> &CellRef {
        &self.0
    }

    /// Marks the task as running, so that it can no longer be cancelled.
    pub(in crate::task) fn start(&self) -> bool {
        self.0.state().start()
    }

    /// Starts, and becomes final by itself when `limit` is over.
    pub(in crate::task) fn expire_after(&self, limit: Duration) {
        if self.start()
            && let Err(error) = self.0.start_clock(Clock::Wait, limit)
        {
            let error = TaskError::rejected(Rejection::Broken).caused_by(error);
            // Refused if it is final already, which is as good.
            let _ = self.fulfil(Stored::Ready(Err(error)));
        }
    }

    /// Makes the result final; gives it back if somebody else has made one.
    pub(in crate::task) fn fulfil(&self, stored: Stored<T>) -> Result<(), Stored<T>> {
        if !self.0.state().claim_unfinished() {
            return Err(stored);
        }
        self.0.stop_clock(Clock::Wait);
        let stored = match stored {
            Stored::Ready(Err(error)) => Stored::Ready(Err(self.0.name_error(error))),
            stored => stored,
        };
        let outcome = match &stored {
            Stored::Ready(result) => Outcome::of(result),
            Stored::Encoded { .. } => Outcome::Succeeded,
        };
        // SAFETY: the cell of a `Claimable<T>` is a `Cell<Outside<T>>`; its job is `()`, so the
        // stage is empty, and the claim gives the right to fill it.
        unsafe {
            Cell::<Outside<T>>::with_stage(self.0.0, |stage| {
                (*stage).result = ManuallyDrop::new(stored);
            });
        }
        self.0.clone().publish(outcome);
        Ok(())
    }
}
