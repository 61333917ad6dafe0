//! Waiting: by blocking a thread, and inside a pool for work of the same or another pool.
//!
//! # Why a pool does not starve itself
//!
//! A task that waits holds its worker. If all workers of a pool wait for tasks that are queued behind
//! them, nobody is left to run these: the classic way to hang a bounded pool. Four rules prevent it.
//! They hold for every wait of this crate that is made on a worker's thread, also in callbacks, in
//! drops and in initializers.
//!
//! 1. *In place.* An untimed blocking wait for one task, or for all of several, begins those that are
//!    still queued in its own pool and runs them where it is, as long as half of the thread's stack is
//!    free. It runs the tasks that it waits for and no others: to run unrelated work under a lock that
//!    the waiting task holds is to deadlock on that lock.
//! 2. *Nothing else in place.* A wait that is timed, that is for any of several, or that is polled,
//!    never runs a body: a deadline would pass unseen, and in what polls a future nothing may block.
//! 3. *One more worker.* Where the first rule does not help, and no worker of a pool can go on, the
//!    pool gets an extra worker, which runs a task that is waited for, and ends.
//! 4. *A cycle is an error.* Running tasks that wait for each other in a circle would wait for ever.
//!    If all these waits are blocking, untimed and for all of their tasks, each gets a deadlock error.
//!
//! # When can no worker go on?
//!
//! The [`Graph`] knows the members that wait (the threads of workers, here) and what for. A wait
//! *hangs* if nothing outside of these waits can end it: a wait for all of its tasks hangs if one of
//! them does, a wait for any if all do. A task hangs if it runs on a member whose wait hangs, or if it
//! is queued in a pool all of whose members wait and hang. Everything else can go on by itself: tasks
//! that run, tasks in processes, promises, tasks in a pool where somebody works or looks for work. The
//! largest set of waits that is consistent with this is what hangs (the complement of the least set
//! that can go on).
//!
//! So each wait that hangs leads, from task to task, to a queued task of a pool of which all members
//! hang, or into a circle. In the first case that task gets an extra worker (rule 3); in the second the
//! circle is broken if rule 4 allows it. Waits that end by something outside cause neither: ten
//! thousand tasks that wait for worker processes add no worker.
//!
//! # Why no hang is overlooked
//!
//! A wait can begin to hang only when some member begins to wait, when an extra worker ends, or when a
//! worker that was asked for cannot be had: the other changes (a task begins, ends, is queued or
//! cancelled) take nobody away who could go on. In these three cases the graph is looked at, under its
//! one lock, after the change is in it: of two members that begin to wait at the same time, the second
//! sees the first. How many workers a pool has, and whether one of them looks for work, is asked of
//! the pool under that lock; a worker that takes a task just then has a task to run, and looks again
//! before it waits itself. A pool starts workers of its own while it may have more (that is its queue's
//! invariant), so that only a pool with all its workers is ever found without one that can go on.
//!
//! An extra worker runs the very task that is waited for, and not the head of the queue: else each could
//! meet a task that waits in turn, and a queue of `n` such tasks would take `n` threads. So there are at
//! most as many extra workers as tasks that wait for each other in a chain.
//!
//! # What is not seen
//!
//! Waits that are not this crate's: for a lock, for a channel, for a promise whose other end lies in a
//! queued task, for a task of the user's runtime that in turn awaits a future. A future that was polled
//! by a worker's thread counts as waited for until it is polled again or dropped.

mod blocking;
mod graph;
mod member;
#[cfg(all(test, concurrent_futures_loom))]
mod models;
mod outlook;
mod wait;

#[cfg(all(test, concurrent_futures_loom))]
pub(super) use blocking::Unpark;
pub(super) use blocking::block_in;
pub(crate) use blocking::block_until;
pub(crate) use graph::{Extra, Pool, Strength, blocked_members, look_again};
pub(crate) use member::{Member, Runner, current_pool, prepare};
pub(crate) use wait::{Listing, Wait};
pub(super) use wait::{list, unlist};
