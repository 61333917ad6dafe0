//! A map's turn among those who wait for a place of its executor.
//!
//! One whose consumer does something else should have no turn: it would get a place and leave it unused,
//! and that something else may be waiting for one. So a wait by [`Map::next`](super::Map::next) or by
//! blocking ends the turn when it is given up. A stream that was polled cannot know, and keeps it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::executor::{Admission, Place};
use crate::task::{TaskFuture, Wait};

/// Gets places for what was pulled: after the input was asked, which may itself need one.
pub(crate) struct Turn {
    admission: Admission,
    waiting: Option<TaskFuture<Place>>,
}

impl Turn {
    pub(crate) fn new(admission: Admission) -> Self {
        Self {
            admission,
            waiting: None,
        }
    }

    /// A place, if there is one now. The executor rejects what comes with it once it is closed.
    pub(crate) fn take(&mut self) -> Option<Place> {
        let place = self.admission.admit(None, 0).ok();
        if place.is_some() {
            self.give_up();
        }
        place
    }

    /// A place, when there is one. Without one it goes on where there will never be any: once the executor
    /// is closed, which rejects what comes, and in a task that is itself what makes its pool full.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Place> {
        if self.waiting.is_none() {
            if let Some(place) = self.take() {
                return Poll::Ready(place);
            }
        }
        let waiting = self.waiting.get_or_insert_with(|| self.admission.enter());
        Pin::new(waiting).poll(context).map(|result| {
            self.waiting = None;
            result.unwrap_or_else(|_never| Place::uncounted())
        })
    }

    /// What a pending [`poll`](Self::poll) waits for.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        Some(Wait::one(self.waiting.as_ref()?.cell()))
    }

    /// Lets others go first, since nobody waits any more.
    pub(crate) fn give_up(&mut self) {
        self.waiting = None;
    }
}
