//! The pools that want to know when somebody else than their workers makes a task final.
//!
//! A task names its owner by number; the number is looked up here, and only on such an event, which
//! is rare. A pool that is gone is simply not found.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::cell::CellRef;
use super::future::AbortOutcome;
use super::outcome::{Outcome, TaskInfo};
use crate::id::OwnerId;

/// A pool, as its tasks see it.
pub(crate) trait Owner: Send + Sync {
    /// A queued task is about to become final, and no worker will run it.
    fn left_queue(&self, task: TaskInfo<'_>, outcome: Outcome);

    /// A running task is about to become final although its body goes on.
    fn overtaken(&self, task: TaskInfo<'_>, outcome: Outcome);

    /// Sees to it that a queued task never begins, and claims it. False if it has begun, which is
    /// then noted in its cell. Asked of owners whose tasks run elsewhere.
    fn withdraw(&self, task: &CellRef) -> bool {
        task.claim_queued()
    }

    /// Whether a task that runs elsewhere has begun; then it is noted in its cell.
    fn has_begun(&self, task: &CellRef) -> bool {
        let _ = task;
        false
    }

    /// Ends a task that runs elsewhere.
    fn abort(&self, task: &CellRef) -> AbortOutcome {
        let _ = task;
        AbortOutcome::Requested
    }

    /// Runs the callbacks of a task that ran elsewhere. They may block.
    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        run();
    }

    /// Asks a task that runs elsewhere to stop when it likes.
    fn ask_to_stop(&self, task: &CellRef) {
        let _ = task;
    }
}

static OWNERS: RwLock<BTreeMap<u32, Weak<dyn Owner>>> = RwLock::new(BTreeMap::new());

/// Keeps an owner findable until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration(OwnerId);

/// Makes `owner` findable as `id`.
pub(crate) fn register(id: OwnerId, owner: Weak<dyn Owner>) -> Registration {
    OWNERS
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id.get(), owner);
    Registration(id)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let owner = OWNERS
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0.get());
        drop(owner);
    }
}

pub(super) fn find(id: OwnerId) -> Option<Arc<dyn Owner>> {
    if id == OwnerId::NONE {
        return None;
    }
    OWNERS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&id.get())
        .and_then(Weak::upgrade)
}
