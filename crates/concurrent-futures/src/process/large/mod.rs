//! Payloads that are too large for a ring: they lie in memory that their writer keeps and uses again,
//! and a frame says where.
//!
//! Arguments lie in memory of the pool, one [`Shelf`] for all its workers, and results in memory of the
//! worker that gave them. Who writes takes memory from its shelf ([`Lease`]), fills it, and names it in
//! a frame ([`Placed`]) by its slot on the shelf. The descriptor goes along the first time that a reader
//! is told of it ([`Known`]), and the reader keeps it mapped ([`Views`]).
//!
//! # When memory is used again
//!
//! When nobody reads it any more. A worker reads arguments from where its task has begun until it says
//! the result, or has died; so the pool keeps the lease until then. If a `Blob` outlives its task the
//! worker says so with the result, and the pool never uses that memory again. A result is read by who
//! takes it from its future, at any time, so the worker keeps the lease until the pool writes the
//! result's ticket into a word of the memory that both share.
//!
//! The pool believes nothing here: a worker that uses memory again too early changes its own result.

mod known;
mod lease;
mod placed;
mod shelf;
mod views;

pub(super) use known::Known;
pub(super) use lease::{Lease, Outgoing};
pub(super) use placed::Placed;
pub(super) use shelf::Shelf;
pub(super) use views::Views;

/// How many pieces of memory a shelf has at most.
pub(super) const SLOTS: usize = 64;
