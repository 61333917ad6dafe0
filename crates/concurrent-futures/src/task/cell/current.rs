//! The task whose body the calling thread runs.

use std::ptr::NonNull;

use super::layout::Header;
use super::reference::CellRef;

thread_local! {
    static CURRENT: std::cell::Cell<Option<NonNull<Header>>> = const { std::cell::Cell::new(None) };
}

/// Marks the cell whose body this thread runs.
pub(super) struct CurrentCell {
    outer: Option<NonNull<Header>>,
}

impl CurrentCell {
    pub(super) fn enter(header: NonNull<Header>) -> Self {
        Self {
            outer: CURRENT.replace(Some(header)),
        }
    }
}

impl Drop for CurrentCell {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

/// The cell whose body this thread runs, the innermost if there are several.
pub(in crate::task) fn current() -> Option<CellRef> {
    CURRENT.get().map(|header| {
        // SAFETY: while it is current, the one who runs it holds a reference.
        unsafe { header.as_ref() }.state.add_reference();
        CellRef(header)
    })
}
