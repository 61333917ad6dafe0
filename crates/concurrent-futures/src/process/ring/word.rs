//! One word of a ring's memory.
//!
//! Always: no word is written while the other side copies it, unless that side lies about its cursor.
//! Words are atomics, so a violation would go unnoticed where it does no visible harm. In the models
//! each word therefore has a cell beside it, and every copy and every overwrite counts as an access to
//! that cell, so that two of them without an order between them are an error.

use crate::sync::{AtomicU64, Ordering};

/// A word that one side writes and the other reads; the cursors keep the two apart.
#[cfg_attr(not(concurrent_futures_loom), repr(transparent))]
pub(super) struct Word {
    value: AtomicU64,
    #[cfg(concurrent_futures_loom)]
    access: crate::sync::UnsafeCell<()>,
}

// SAFETY: the cell holds nothing, and exists in the models only, to have its accesses watched.
#[cfg(concurrent_futures_loom)]
unsafe impl Sync for Word {}

impl Word {
    #[cfg(any(test, fuzzing))]
    pub(super) fn new(value: u64) -> Self {
        Self {
            value: AtomicU64::new(value),
            #[cfg(concurrent_futures_loom)]
            access: crate::sync::UnsafeCell::new(()),
        }
    }

    // Relaxed, both: the cursors publish what was written, and that it was copied.

    #[inline]
    pub(super) fn load(&self) -> u64 {
        #[cfg(concurrent_futures_loom)]
        self.access.with(|_| ());
        self.value.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn store(&self, value: u64) {
        #[cfg(concurrent_futures_loom)]
        self.access.with_mut(|_| ());
        self.value.store(value, Ordering::Relaxed);
    }
}
