//! Scopes: tasks that borrow, and that every borrow is over when the scope is.

mod borrows;
mod ground;
mod tasks;
