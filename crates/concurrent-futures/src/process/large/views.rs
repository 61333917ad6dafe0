//! The memory of another process that a reader has mapped.

use std::sync::Arc;

use super::{Placed, SLOTS};

/// By the slots of the owner's shelf.
pub(in crate::process) struct Views<M>([Option<Arc<M>>; SLOTS]);

impl<M> Default for Views<M> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| None))
    }
}

impl<M> Views<M> {
    /// The memory of a payload, opened if it is new. What is not good any more is let go of. `None` if
    /// it is not new and not there.
    ///
    /// # Errors
    /// Those of `open`.
    pub(in crate::process) fn find<E>(
        &mut self,
        placed: &Placed,
        open: impl FnOnce() -> Result<M, E>,
    ) -> Result<Option<Arc<M>>, E> {
        for (slot, view) in self.0.iter_mut().enumerate() {
            if placed.alive & (1 << slot) == 0 {
                *view = None;
            }
        }
        if !placed.is_new {
            return Ok(self.0[placed.slot].clone());
        }
        let memory = Arc::new(open()?);
        if !placed.is_for_once {
            self.0[placed.slot] = Some(Arc::clone(&memory));
        }
        Ok(Some(memory))
    }

    pub(in crate::process) fn forget(&mut self, slot: usize) {
        self.0[slot] = None;
    }
}
