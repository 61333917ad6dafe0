//! Changing the number of workers of a pool, and starting all of them ahead of the work.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::admission;
use super::shared::Shared;
use super::state::Actions;
use crate::executor::{BuildError, TaskOptions};
use crate::process::clock;
use crate::task::TaskFuture;

impl Shared {
    pub(in crate::process) fn resize(
        self: &Arc<Self>,
        max_workers: usize,
    ) -> Result<(), BuildError> {
        if max_workers == 0 {
            return Err(BuildError::invalid("max_workers is 0: give at least 1"));
        }
        if self.is_copy() {
            return Ok(());
        }
        let mut actions = Actions::default();
        let mut state = self.lock();
        // Relaxed: for all who decide by it, the lock orders it.
        self.options
            .max_workers
            .store(max_workers, Ordering::Relaxed);
        state.resized(&self.options);
        state.dispatch(&self.options, clock::now(), &mut actions);
        self.release(state, actions);
        self.admission.resize(|| self.options.max_workers());
        Ok(())
    }

    pub(in crate::process) fn warm_up(self: &Arc<Self>) -> TaskFuture<()> {
        if self.is_copy() {
            return TaskFuture::ready(Err(admission::copy()));
        }
        let extras = TaskOptions::new().name("warm-up of the pool").extras();
        let (promise, future) = TaskFuture::remote(|_| Ok(()), self.id, 0, extras);
        // Nothing would be saved by cancelling what others wait for as well.
        promise.cell().note_start();
        let mut actions = Actions::default();
        let mut state = self.lock();
        if let Some(why) = state.refusal() {
            drop(state);
            promise.fail(why);
            return future;
        }
        state.warm_up(promise, &self.options);
        state.dispatch(&self.options, clock::now(), &mut actions);
        self.release(state, actions);
        future
    }
}
