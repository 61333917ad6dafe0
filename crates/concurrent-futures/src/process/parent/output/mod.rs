//! What workers write to stdout and stderr, where a pool captures that: read from their pipes, cut into
//! lines, and logged.
//!
//! ```text
//!   worker ──pipe──▶ Pipes ──blocks──▶ Journal ──▶ the thread `…-output` ──▶ subscriber
//!                      ▲                  ▲                    └──▶ futures
//!   collector ─────────┴── results ───────┘
//! ```
//!
//! A task's result is told of after its lines because both go through one queue, the journal, and lines
//! come first: the worker writes what it has buffered before it says its result, and the collector reads
//! what is in the pipes before it applies that result. While a pool captures, a worker has one task at a
//! time, so whatever is read between the hand-over and the result is that task's.
//!
//! The subscriber is foreign code and may be slow. It is called by the journal's thread only, with no
//! lock held: nobody else waits for it, but for those who wait for a result.

mod journal;
mod lines;
mod pipes;

pub(in crate::process) use journal::{Journal, start};
pub(in crate::process) use pipes::Pipes;
