//! What the calling thread does for tasks: which it has begun and not brought to their end, and whose
//! body it runs.
//!
//! A task is on a thread from the start of its body until whoever waits for it was told; one that is
//! cancelled, from the drop of its closure on. Foreign code runs all that time, and may itself wait. The
//! frames lie on the stack of who handles the task, the innermost points to the next one, and none of
//! them looks into a cell but for the time in which its body runs.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use super::layout::Header;
use super::reference::CellRef;
use crate::id::TaskId;

thread_local! {
    static INNERMOST: Cell<Option<NonNull<Frame>>> = const { Cell::new(None) };
}

/// A task on this thread.
pub(super) struct Frame {
    task: TaskId,
    outer: Option<NonNull<Frame>>,
    /// While the body runs.
    body: Cell<Option<NonNull<Header>>>,
}

/// Takes the innermost frame off.
struct Leave(Option<NonNull<Frame>>);

impl Drop for Leave {
    fn drop(&mut self) {
        INNERMOST.set(self.0);
    }
}

/// Calls `f`, in which this thread has `task` on it.
#[inline]
pub(super) fn with_task<R>(task: TaskId, f: impl FnOnce(&Frame) -> R) -> R {
    let frame = Frame {
        task,
        outer: INNERMOST.get(),
        body: Cell::new(None),
    };
    let _leave = Leave(frame.outer);
    INNERMOST.set(Some(NonNull::from(&frame)));
    f(&frame)
}

impl Frame {
    /// Calls the body of the task, whose cell this is.
    ///
    /// # Safety
    /// The caller has a reference to the cell until this returns.
    #[inline]
    pub(super) unsafe fn run<R>(&self, header: NonNull<Header>, body: impl FnOnce() -> R) -> R {
        struct End<'a>(&'a Cell<Option<NonNull<Header>>>);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.set(None);
            }
        }
        self.body.set(Some(header));
        let _end = End(&self.body);
        body()
    }
}

/// The frames of this thread, the innermost first.
fn frames() -> impl Iterator<Item = (TaskId, Option<NonNull<Header>>)> {
    let mut next = INNERMOST.get();
    std::iter::from_fn(move || {
        // SAFETY: a frame is in the chain only while `with_task`, on this thread, has it on its stack
        // and has not returned; this iterator lives for less.
        let frame = unsafe { next?.as_ref() };
        next = frame.outer;
        Some((frame.task, frame.body.get()))
    })
}

/// The cell whose body this thread runs, the innermost if there are several.
pub(in crate::task) fn current() -> Option<CellRef> {
    frames().find_map(|(_, body)| {
        let header = body?;
        // SAFETY: while the body runs, the one who runs it has a reference.
        unsafe { header.as_ref() }.state.add_reference();
        Some(CellRef(header))
    })
}

/// A task on a thread, and its name if its body runs and it has one.
#[derive(Clone)]
pub(in crate::task) struct OnThread {
    pub(in crate::task) task: TaskId,
    pub(in crate::task) name: Option<Arc<str>>,
}

/// The tasks on this thread, the outermost first: each of them comes to its end only after the next.
pub(in crate::task) fn tasks_on_this_thread() -> Vec<OnThread> {
    let mut tasks: Vec<OnThread> = frames()
        .map(|(task, body)| OnThread {
            task,
            name: body.and_then(name),
        })
        .collect();
    tasks.reverse();
    tasks
}

/// The name of a task whose body runs on this thread.
fn name(header: NonNull<Header>) -> Option<Arc<str>> {
    // SAFETY: while the body runs, the one who runs it has a reference.
    unsafe { header.as_ref() }.state.add_reference();
    CellRef(header).extras()?.name.clone()
}
