//! Who may submit to a pool of processes, and what becomes of who may not.

use std::sync::LazyLock;

use super::shared::Shared;
use crate::error::{Rejection, TaskError};
use crate::executor::Admission;
use crate::panic;
use crate::task::{CellRef, Remote};

impl Shared {
    pub(in crate::process) fn admission(&self) -> &Admission {
        static OF_COPIES: LazyLock<Admission> = LazyLock::new(|| {
            let admission = Admission::default();
            admission.close(&copy());
            admission
        });
        if self.is_copy() {
            &OF_COPIES
        } else {
            &self.admission
        }
    }

    /// There is no place for the task.
    pub(super) fn refuse(&self, task: Remote, why: TaskError) {
        self.lock().counts.rejected += 1;
        trace_rejection(task.cell(), &why);
        task.fail(why);
    }
}

/// Says that a task is rejected.
pub(super) fn trace_rejection(task: &CellRef, why: &TaskError) {
    let task = task.info();
    panic::contain(
        || tracing::debug!(task.id = task.id().get(), task.name = task.name(), %why, "a task was rejected"),
    );
}

/// The error of a pool that was copied by a fork.
pub(super) fn copy() -> TaskError {
    TaskError::rejected(Rejection::Broken)
        .caused_by("this process is a fork of the one that made the pool: make a pool of its own")
}
