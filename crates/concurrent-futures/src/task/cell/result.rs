//! The right to the result of a task, and to be told when it is there.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::Arc;

use super::kind::{Outside, Stored};
use super::layout::{Cell, Header, Stage};
use super::reference::CellRef;
use crate::error::TaskError;
use crate::id::OwnerId;
use crate::panic::guarded_drop;
use crate::task::outcome::Outcome;
use crate::task::state::{self, State};
use crate::task::waiter::{Sink, Waiter};

/// The right to the result of a task.
pub(in crate::task) struct ResultRef<T>(CellRef, PhantomData<fn() -> T>);

impl<T: Send + 'static> ResultRef<T> {
    /// A task that is done from the start.
    pub(in crate::task) fn done(result: Result<T, TaskError>) -> Self {
        let state = State::done(Outcome::of(&result));
        let stage = Stage {
            result: ManuallyDrop::new(Stored::Ready(result)),
        };
        Self::of(Cell::<Outside<T>>::allocate(
            state,
            OwnerId::NONE,
            0,
            None,
            stage,
        ))
    }
}

impl<T> ResultRef<T> {
    /// Takes over one of the references with which the cell was made, for the same `T`.
    pub(super) fn of(cell: NonNull<Header>) -> Self {
        Self(CellRef(cell), PhantomData)
    }

    pub(in crate::task) fn cell(&self) -> &CellRef {
        &self.0
    }

    /// The result, once. `None` while there is none.
    ///
    /// # Panics
    /// If it was taken before.
    pub(in crate::task) fn take(&mut self) -> Option<Result<T, TaskError>> {
        if !self.0.snapshot().is_done() {
            return None;
        }
        let header = self.0.header();
        // SAFETY: the task is done, so `taken` is this handle's alone, and the handle is borrowed
        // mutably.
        let taken = header
            .taken
            .with_mut(|taken| unsafe { std::mem::replace(&mut *taken, true) });
        assert!(
            !taken,
            "a TaskFuture was asked again after it had given its result"
        );
        let mut place = MaybeUninit::<Result<T, TaskError>>::uninit();
        // SAFETY: the task is done and the result not taken, so it is there and ours; the cell was
        // made together with this handle, for the same `T`.
        unsafe {
            (header.vtable.take)(self.0.0, NonNull::from(&mut place).cast());
            Some(place.assume_init())
        }
    }

    fn is_taken(&self) -> bool {
        // SAFETY: as in `take`; called only when the task is done.
        self.0.header().taken.with(|taken| unsafe { *taken })
    }

    /// The error, if the task is done and has one that was not taken.
    pub(in crate::task) fn error(&mut self) -> Option<&TaskError> {
        if !self.0.snapshot().is_done() || self.is_taken() {
            return None;
        }
        // SAFETY: the result is there and ours; this handle is borrowed as long as the error is, so
        // that nobody takes it away.
        unsafe { (self.0.header().vtable.error)(self.0.0).map(|error| &*error.as_ptr()) }
    }

    /// Has `waker` woken when the task is done. False if it is done.
    pub(in crate::task) fn wake_when_done(&mut self, waker: &std::task::Waker) -> bool {
        let snapshot = self.0.snapshot();
        if snapshot.is_done() {
            return false;
        }
        if snapshot.has(state::WAITER) {
            // SAFETY: the slot was filled by this handle, the only one that writes it. The one who
            // publishes may read it at the same time, but not change it.
            let same = self.0.header().waiter.with(|slot| unsafe {
                matches!((*slot).assume_init_ref(), Waiter::Waker(old) if old.will_wake(waker))
            });
            if same {
                return true;
            }
            if !self.forget_waiter() {
                return false;
            }
        }
        self.set_waiter(Waiter::Waker(waker.clone()))
    }

    /// Has `sink` told `key` when the task is done. False if it is done.
    pub(in crate::task) fn report_when_done(&mut self, sink: Arc<dyn Sink>, key: u32) -> bool {
        self.forget_waiter() && self.set_waiter(Waiter::Sink(sink, key))
    }

    /// The slot is free. False if the task is done.
    fn set_waiter(&mut self, waiter: Waiter) -> bool {
        // SAFETY: `WAITER` is clear, so the slot is this handle's, and empty.
        self.0.header().waiter.with_mut(|slot| unsafe {
            (*slot).write(waiter);
        });
        let set = self.0.state().set_waiter();
        if !set {
            // SAFETY: the flag was never set, so nobody else has seen what was written.
            unsafe { self.drop_waiter() };
        }
        set
    }

    /// Empties the slot. False if the task is done.
    pub(in crate::task) fn forget_waiter(&mut self) -> bool {
        let snapshot = self.0.snapshot();
        if snapshot.is_done() {
            return false;
        }
        if snapshot.has(state::WAITER) {
            if !self.0.state().unset_waiter() {
                return false;
            }
            // SAFETY: the flag was set and is not any more: the filled slot is ours again.
            unsafe { self.drop_waiter() };
        }
        true
    }

    /// # Safety
    /// The slot is filled, and this handle's.
    unsafe fn drop_waiter(&self) {
        // SAFETY: as the caller vouches.
        let waiter = self
            .0
            .header()
            .waiter
            .with(|slot| unsafe { (*slot).assume_init_read() });
        guarded_drop(waiter);
    }

    pub(in crate::task) fn set_flags(&self, flags: u64) {
        self.0.state().set(flags);
    }

    pub(in crate::task) fn unset_flags(&self, flags: u64) {
        self.0.state().unset(flags);
    }
}

impl<T> Drop for ResultRef<T> {
    fn drop(&mut self) {
        match self.0.state().release_interest() {
            Ok(before) => {
                if before.has(state::WAITER) {
                    // SAFETY: the flag was set and is not any more: the filled slot is ours again.
                    unsafe { self.drop_waiter() };
                }
            }
            Err(_done) => {
                if !self.is_taken() {
                    // SAFETY: the task is done, this handle was there when it became so, and it
                    // has not taken the result.
                    unsafe { (self.0.header().vtable.drop_result)(self.0.0) };
                }
            }
        }
    }
}
