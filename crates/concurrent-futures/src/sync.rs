//! The primitives that the models replace: std's in a build, loom's under `--cfg concurrent_futures_loom`.
//!
//! Only what is modelled goes through here: the task cell, the thread pool's queue, and the memory that
//! is shared with worker processes.

#[cfg(concurrent_futures_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
    },
};
#[cfg(not(concurrent_futures_loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(not(concurrent_futures_loom))]
pub(crate) use self::cell::UnsafeCell;

/// Locks, whether or not a thread has panicked while it held the lock.
///
/// No user code ever runs under a lock of this crate, so a poisoned lock guards intact data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(not(concurrent_futures_loom))]
mod cell {
    //! std's cell with the interface of loom's.

    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
