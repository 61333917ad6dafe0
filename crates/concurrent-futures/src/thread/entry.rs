//! The runtime that a body finds itself in: the one from which its task was submitted.
//!
//! Nearly all tasks of a pool come from one runtime, its home, which leases enter once. Only a task
//! from another one carries its handle with it.
//!
//! The home is the first runtime from which a task came, and the pool keeps its handle for good: that
//! a runtime has shut down cannot be seen from a handle.

use std::sync::OnceLock;

use tokio::runtime::Handle;

use crate::error::TaskError;
use crate::task::{Environment, Extras};

#[derive(Debug, Default)]
pub(super) struct Home(OnceLock<Handle>);

impl Home {
    /// Sees to it that the task that is submitted now will find the submitter's runtime.
    #[inline]
    pub(super) fn note(&self, extras: &mut Option<Box<Extras>>) {
        if let Ok(handle) = Handle::try_current() {
            let home = self.0.get_or_init(|| handle.clone());
            if home.id() != handle.id() {
                let visit = Box::new(Visit(handle));
                extras.get_or_insert_default().add_environment(visit);
            }
        }
    }

    pub(super) fn get(&self) -> Option<&Handle> {
        self.0.get()
    }
}

/// A runtime that is entered for one task.
struct Visit(Handle);

impl Environment for Visit {
    fn run(self: Box<Self>, body: &mut dyn FnMut()) -> Result<(), TaskError> {
        let _entered = self.0.enter();
        body();
        Ok(())
    }
}
