//! What somebody waits for, and the listing of futures that were polled by a worker's thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use smallvec::SmallVec;

use super::blocking;
use super::graph::{ListingKey, graph};
use super::member;
use crate::task::cell::CellRef;

/// Of many tasks, any of which ends a wait, it is enough to know some, one that is queued among them: if
/// these hang, an extra worker for that one does no harm, whatever the others do.
const ENOUGH: usize = 32;

/// The tasks that somebody waits for.
pub(crate) struct Wait {
    pub(super) tasks: SmallVec<[CellRef; 1]>,
    pub(super) needs: Needs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// It ends when all tasks are over.
    All,
    /// It may end before all tasks are over, and is for all of them as far as hanging goes.
    Most,
    /// It ends when any of the tasks is over.
    Any,
    /// It goes on when any of the tasks is over, to wait for the others, unless that one ends it.
    Each,
}

impl Wait {
    /// For one task.
    pub(crate) fn one(task: &CellRef) -> Self {
        Self::all([task])
    }

    /// For all of these tasks.
    pub(crate) fn all<'a>(tasks: impl IntoIterator<Item = &'a CellRef>) -> Self {
        Self {
            tasks: tasks.into_iter().cloned().collect(),
            needs: Needs::All,
        }
    }

    /// For all of these tasks, unless one of them ends the wait before.
    pub(crate) fn most<'a>(tasks: impl IntoIterator<Item = &'a CellRef>) -> Self {
        Self {
            needs: Needs::Most,
            ..Self::all(tasks)
        }
    }

    /// For any of these tasks.
    pub(crate) fn any<'a>(tasks: impl IntoIterator<Item = &'a CellRef>) -> Self {
        let mut known = SmallVec::new();
        let mut has_queued = false;
        for task in tasks {
            if known.len() >= ENOUGH && has_queued {
                break;
            }
            // Only one that is queued can be helped.
            let is_queued = task.is_queued();
            if known.len() < ENOUGH || is_queued {
                known.push(task.clone());
            }
            has_queued |= is_queued;
        }
        Self {
            tasks: known,
            needs: Needs::Any,
        }
    }

    /// Whether some of the tasks are of pools that this process has copies of, made by a fork, and that do
    /// nothing here.
    pub(super) fn is_for_copies(&self) -> bool {
        self.tasks.iter().any(|task| task.owner().is_copied())
    }

    /// For one after the other of these tasks, unless one of them ends the wait before.
    pub(crate) fn each(self) -> Self {
        Self {
            needs: Needs::Each,
            ..self
        }
    }
}

/// Notes that what a future waits for is waited for by the worker's thread that has polled it, until it
/// is polled again or dropped.
#[derive(Default)]
pub(crate) struct Listing(Option<ListingKey>);

impl Listing {
    /// The future was polled with this waker, and is pending.
    pub(crate) fn note(&mut self, waker: &Waker, wait: impl FnOnce() -> Wait) {
        self.clear();
        // A blocking wait says by itself what it waits for.
        if blocking::is_waker_of_this_thread(waker) {
            return;
        }
        if let Some(member) = member::current() {
            let key = next_key();
            self.0 = Some(key);
            member.list(key, wait());
        }
    }

    /// The future is not pending any more.
    pub(crate) fn clear(&mut self) {
        if let Some(key) = self.0.take() {
            graph().unlist(key);
        }
    }
}

/// As [`Listing::note`], of a task's own future: whether it is listed is noted in its cell.
pub(in crate::task) fn list(task: &CellRef, waker: &Waker) {
    if blocking::is_waker_of_this_thread(waker) {
        return;
    }
    if let Some(member) = member::current() {
        task.set_listed(true);
        member.list(ListingKey::Task(task.id()), Wait::one(task));
    }
}

/// As [`Listing::clear`].
pub(in crate::task) fn unlist(task: &CellRef) {
    if task.is_listed() {
        task.set_listed(false);
        graph().unlist(ListingKey::Task(task.id()));
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.clear();
    }
}

fn next_key() -> ListingKey {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only the uniqueness of the number matters.
    ListingKey::Future(NEXT.fetch_add(1, Ordering::Relaxed))
}
