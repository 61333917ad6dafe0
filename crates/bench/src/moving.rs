//! The snippets of the document on moving over, compiled and run: those of the peers need the peers.
//!
//! Nothing else is here, and nobody depends on it.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/moving.md")]
struct Moving;
