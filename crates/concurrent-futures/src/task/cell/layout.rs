//! The memory of a cell, and the table of functions that know its types.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

use super::current::with_task;
use super::kind::{AnyDecoder, Kind};
use super::reference::CellRef;
use super::runnable::Recorder;
use crate::error::{Clock, TaskError};
use crate::id::{OwnerId, TaskId};
use crate::panic::{self, guarded_drop};
use crate::sync::{AtomicPtr, Ordering, UnsafeCell};
use crate::task::extras::Extras;
use crate::task::outcome::Outcome;
use crate::task::payload::Encoded;
use crate::task::state::{self, State};
use crate::task::waiter::Waiter;

/// What is the same for all tasks. The cell of a task begins with it.
pub(super) struct Header {
    pub(super) state: State,
    pub(super) vtable: &'static VTable,
    pub(super) id: TaskId,
    /// Nanoseconds since the pool's start, or 0 where the time in the queue is not measured.
    pub(super) queued_at: u64,
    pub(super) extras: AtomicPtr<Extras>,
    pub(super) waiter: UnsafeCell<MaybeUninit<Waiter>>,
    pub(super) owner: OwnerId,
    /// The result has left the stage. Only the `ResultRef` looks at it.
    pub(super) taken: UnsafeCell<bool>,
}

#[repr(C)]
pub(super) struct Cell<K: Kind> {
    header: Header,
    stage: UnsafeCell<Stage<K>>,
}

pub(super) union Stage<K: Kind> {
    pub(super) job: ManuallyDrop<K::Job>,
    pub(super) result: ManuallyDrop<K::Stored>,
}

pub(super) struct VTable {
    pub(super) run: unsafe fn(NonNull<Header>, &mut dyn Recorder),
    pub(super) discard_job: unsafe fn(NonNull<Header>),
    pub(super) put_error: unsafe fn(NonNull<Header>, TaskError),
    pub(super) put_encoded: unsafe fn(NonNull<Header>, Encoded, AnyDecoder),
    pub(super) drop_result: unsafe fn(NonNull<Header>),
    /// Moves a `Result<Output, TaskError>` to the place pointed to.
    pub(super) take: unsafe fn(NonNull<Header>, NonNull<()>),
    pub(super) error: unsafe fn(NonNull<Header>) -> Option<NonNull<TaskError>>,
    pub(super) free: unsafe fn(NonNull<Header>),
}

impl<K: Kind> Cell<K> {
    const VTABLE: VTable = VTable {
        run: Self::run,
        discard_job: Self::discard_job,
        put_error: Self::put_error,
        put_encoded: Self::put_encoded,
        drop_result: Self::drop_result,
        take: Self::take,
        error: Self::error,
        free: Self::free,
    };

    pub(super) fn allocate(
        state: State,
        owner: OwnerId,
        queued_at: u64,
        extras: Option<Box<Extras>>,
        stage: Stage<K>,
    ) -> NonNull<Header> {
        let cell = Box::new(Self {
            header: Header {
                state,
                vtable: const { &Self::VTABLE },
                id: TaskId::next(),
                queued_at,
                extras: AtomicPtr::new(extras.map_or(std::ptr::null_mut(), Box::into_raw)),
                waiter: UnsafeCell::new(MaybeUninit::uninit()),
                owner,
                taken: UnsafeCell::new(false),
            },
            stage: UnsafeCell::new(stage),
        });
        NonNull::from(Box::leak(cell)).cast()
    }

    /// # Safety
    /// `header` is that of a live `Cell<K>`, and the caller has the right to the stage.
    pub(super) unsafe fn with_stage<R>(
        header: NonNull<Header>,
        f: impl FnOnce(*mut Stage<K>) -> R,
    ) -> R {
        // SAFETY: the cell begins with its header (`repr(C)`) and was allocated as a whole, and the
        // pointer was made from the whole cell; the caller vouches for the type and for the right.
        unsafe { header.cast::<Self>().as_ref() }.stage.with_mut(f)
    }

    /// # Safety
    /// The caller has won `start`, and holds a reference that this call takes over.
    unsafe fn run(header: NonNull<Header>, recorder: &mut dyn Recorder) {
        // SAFETY: the one who won `start` owns the job, which is read once, here.
        let job =
            unsafe { Self::with_stage(header, |stage| ManuallyDrop::take(&mut (*stage).job)) };
        let cell = CellRef(header);
        // Only now that the job has left the stage may somebody else fill it.
        if let Some(extras) = cell.extras() {
            cell.start_run_clock(extras);
        }
        with_task(cell.id(), |frame| {
            let body = || match cell.extras() {
                None => K::run(job),
                Some(extras) => extras.surround(|| K::run(job)),
            };
            // SAFETY: `cell` is a reference, and is given back only below.
            let result = match unsafe { frame.run(header, || panic::guard(body)) } {
                Ok(result) => result,
                Err(panic) => Err(TaskError::panicked(panic)),
            };
            let result = result.map_err(|error| cell.name_error(error));
            if cell.state().load().has(state::OUTSIDE) {
                if !cell.state().claim_running() {
                    guarded_drop(result);
                    recorder.overtaken();
                    return;
                }
                cell.stop_clock(Clock::Run);
            }
            let outcome = Outcome::of(&result);
            recorder.finished(cell.info(), outcome);
            // SAFETY: the stage is empty while RUNNING, and the right to fill it was won above, or is
            // the runner's alone (no `OUTSIDE`).
            unsafe {
                Self::with_stage(header, |stage| {
                    (*stage).result = ManuallyDrop::new(K::store(result));
                });
            }
            if cell.publish(outcome) {
                recorder.told();
            }
        });
    }

    /// # Safety
    /// The caller has claimed the task out of the queue.
    unsafe fn discard_job(header: NonNull<Header>) {
        // SAFETY: the one who claimed a queued task owns its job, which is read once, here.
        let job =
            unsafe { Self::with_stage(header, |stage| ManuallyDrop::take(&mut (*stage).job)) };
        guarded_drop(job);
    }

    /// # Safety
    /// The caller has claimed the task; the stage is empty.
    unsafe fn put_error(header: NonNull<Header>, error: TaskError) {
        // SAFETY: the claimant fills the stage, once.
        unsafe {
            Self::with_stage(header, |stage| {
                (*stage).result = ManuallyDrop::new(K::store(Err(error)));
            });
        }
    }

    /// # Safety
    /// As [`Self::put_error`]; the decoder was made for `K::Output`.
    unsafe fn put_encoded(header: NonNull<Header>, value: Encoded, decoder: AnyDecoder) {
        // SAFETY: as the caller vouches.
        let stored = unsafe { K::store_encoded(value, decoder) };
        // SAFETY: the claimant fills the stage, once.
        unsafe {
            Self::with_stage(header, |stage| {
                (*stage).result = ManuallyDrop::new(stored);
            });
        }
    }

    /// # Safety
    /// The task is done, the result is there, and the caller is the one it belongs to.
    unsafe fn drop_result(header: NonNull<Header>) {
        // SAFETY: as the caller vouches; the result is not touched again.
        let result =
            unsafe { Self::with_stage(header, |stage| ManuallyDrop::take(&mut (*stage).result)) };
        guarded_drop(result);
    }

    /// # Safety
    /// As [`Self::drop_result`]; `place` is good for a `Result<K::Output, TaskError>`.
    unsafe fn take(header: NonNull<Header>, place: NonNull<()>) {
        // SAFETY: as the caller vouches; the result is not touched again.
        let stored =
            unsafe { Self::with_stage(header, |stage| ManuallyDrop::take(&mut (*stage).result)) };
        // SAFETY: the caller vouches for the place and its type.
        unsafe { place.cast().write(K::open(stored)) };
    }

    /// # Safety
    /// As [`Self::drop_result`]; the caller keeps others from the stage as long as it uses the
    /// pointer.
    unsafe fn error(header: NonNull<Header>) -> Option<NonNull<TaskError>> {
        // SAFETY: as the caller vouches.
        unsafe {
            Self::with_stage(header, |stage| {
                K::error(&mut (*stage).result).map(NonNull::from)
            })
        }
    }

    /// # Safety
    /// No reference is left. Job and result are gone by then: one or the other belonged to a
    /// handle.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY: the cell came from a box of this type, and nobody points to it any more.
        let cell = unsafe { Box::from_raw(header.cast::<Self>().as_ptr()) };
        // Acquire: pairs with the release by which the box was put there.
        let extras = cell.header.extras.load(Ordering::Acquire);
        drop(cell);
        if !extras.is_null() {
            // SAFETY: the pointer came from a box, and is read for the last time.
            guarded_drop(unsafe { Box::from_raw(extras) });
        }
    }
}
