//! The right to make a result that comes from elsewhere: a promise's, and that of a pool whose
//! workers are other processes.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

use super::kind::{AnyDecoder, Decoder, Outside, Stored};
use super::layout::{Cell, Stage};
use super::reference::CellRef;
use super::result::ResultRef;
use crate::error::{Clock, Ran, Rejection, TaskError};
use crate::id::OwnerId;
use crate::task::extras::Extras;
use crate::task::outcome::Outcome;
use crate::task::payload::Encoded;
use crate::task::state::{self, State};

/// The right of a promise to make the result.
pub(in crate::task) struct Claimable<T>(CellRef, PhantomData<fn(T)>);

impl<T: Send + 'static> Claimable<T> {
    /// A task whose result comes from elsewhere: the right to make it, and the right to have it. If it
    /// comes from a pool, those who wait for it wait for that pool.
    pub(in crate::task) fn new(pool: OwnerId, extras: Option<Box<Extras>>) -> (Self, ResultRef<T>) {
        let stage = Stage {
            job: ManuallyDrop::new(()),
        };
        let of_pool = if pool == OwnerId::NONE {
            0
        } else {
            state::OF_POOL
        };
        let state = State::queued(2, state::OUTSIDE | of_pool);
        let cell = Cell::<Outside<T>>::allocate(state, pool, 0, extras, stage);
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
        if !self.start() {
            return;
        }
        if let Err(error) = self.0.start_clock(Clock::Wait, limit) {
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
        self.0.stop_clocks();
        let stored = match stored {
            Stored::Ready(Err(error)) => Stored::Ready(Err(self.0.name_error(error))),
            stored => stored,
        };
        let outcome = match &stored {
            Stored::Ready(result) => Outcome::of(result),
            Stored::Encoded { .. } | Stored::Bytes { .. } => Outcome::Succeeded,
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

/// The right to make the result of a task that runs in another process, without knowing its type.
/// Dropped unused, it gives the task up.
pub(crate) struct Remote {
    cell: CellRef,
    decoder: AnyDecoder,
}

impl Remote {
    /// A task of `owner`, which is asked before the task is cancelled, and told to stop it.
    pub(in crate::task) fn new<T: Send + 'static>(
        decode: Decoder<T>,
        owner: OwnerId,
        queued_at: u64,
        extras: Option<Box<Extras>>,
    ) -> (Self, ResultRef<T>) {
        let stage = Stage {
            job: ManuallyDrop::new(()),
        };
        let state = State::queued(2, state::OUTSIDE | state::REMOTE);
        let cell = Cell::<Outside<T>>::allocate(state, owner, queued_at, extras, stage);
        let remote = Self {
            cell: CellRef(cell),
            decoder: AnyDecoder::of(decode),
        };
        (remote, ResultRef::of(cell))
    }

    pub(crate) fn cell(&self) -> &CellRef {
        &self.cell
    }

    /// Gives the value as bytes, which are decoded by who takes the result. Does nothing if the
    /// task is final already.
    pub(crate) fn fulfil(self, value: Encoded) {
        if self.cell.state().claim_unfinished() {
            self.cell.stop_clocks();
            // SAFETY: the job is `()`, so the stage is empty, and the claim gives the right to fill
            // it; the decoder was made for the type of the cell, in `new`.
            unsafe { (self.cell.header().vtable.put_encoded)(self.cell.0, value, self.decoder) };
            self.cell.clone().publish(Outcome::Succeeded);
        }
    }

    /// Resolves the task with an error. Does nothing if it is final already.
    pub(crate) fn fail(self, error: TaskError) {
        self.cell.fail_unfinished(error);
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let snapshot = self.cell.snapshot();
        if !snapshot.is_done() {
            let ran = if snapshot.is_queued() {
                Ran::No
            } else {
                Ran::Maybe
            };
            self.cell.fail_unfinished(TaskError::abandoned(ran));
        }
    }
}
