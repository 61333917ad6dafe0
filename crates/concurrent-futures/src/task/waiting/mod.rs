//! Waiting: by blocking a thread, and inside a pool for work of the same or another pool.
//!
//! # Why a pool does not starve itself
//!
//! A task that waits holds its worker. If all workers of a pool wait for tasks that are queued behind
//! them, nobody is left to run these: the classic way to hang a bounded pool. Four rules prevent it.
//! They hold for every wait of this crate that is made on a worker's thread, also in callbacks, in
//! drops and in initializers.
//!
//! 1. *In place.* An untimed blocking wait for one task, for all of several, or for one after the other,
//!    begins those that are still queued in its own pool and runs them where it is, as long as half of the thread's stack is
//!    free. It runs the tasks that it waits for and no others: to run unrelated work under a lock that
//!    the waiting task holds is to deadlock on that lock. A task with a limit to its running time is left
//!    to the third rule, since that limit ends the wait too.
//! 2. *Nothing else in place.* A wait that is timed, that is for any of several, or that is polled,
//!    never runs a body: a deadline would pass unseen, and in what polls a future nothing may block.
//! 3. *One more worker.* Where the first rule does not help, and no worker of a pool can go on, the
//!    pool gets an extra worker, which runs a task that is waited for.
//! 4. *A circle is an error.* Running tasks that wait for each other in a circle would wait for ever. If
//!    all these waits are blocking, untimed and for all of their tasks, and no time limit of a task would
//!    end one of them, each wait that blocks gets a deadlock error. (A wait whose task is run in its place
//!    does not block: it gets what that task gives.)
//!
//! # When can no worker go on?
//!
//! The [`graph`] knows the members that wait (the threads of workers, here) and what for. A wait *hangs*
//! if nothing outside of these waits can end it: a wait for all of its tasks hangs if one of them does, a
//! wait for any if all do. A task hangs if it is on the thread of a member whose wait hangs, or if it is
//! queued in a pool all of whose members wait and hang. Everything else can go on by itself: tasks that
//! run, tasks in processes, promises, tasks in a pool where somebody works or looks for work. The largest
//! set of waits that is consistent with this is what hangs (the complement of the least set that can go
//! on); `outlook` finds it.
//!
//! A task is on a thread from the start of its body until whoever waits for it was told, so also while
//! callbacks and observers run; likewise one that is cancelled, while its closure is dropped. Two promises
//! of a pool count as tasks: a place in its queue is queued there, and its end is on the threads of all of
//! its members.
//!
//! So each wait that hangs leads, from task to task, to a queued task of a pool of which all members
//! hang, or into a circle. In the first case that task gets an extra worker (rule 3); in the second the
//! circle is broken if rule 4 allows it. Waits that end by something outside cause neither: ten
//! thousand tasks that wait for worker processes add no worker.
//!
//! Of futures that a worker's thread has polled it is not known which will wake it: they may be awaited
//! together, one after the other, or have been put away. Such a member is taken to hang if one of its
//! futures does. That errs to the side of an extra worker, which does no harm, and never of an error.
//!
//! # Why no hang is overlooked
//!
//! A wait can begin to hang only when some member begins to wait or goes back to one, when an extra
//! worker ends, or when a worker that was asked for cannot be had: the other changes (a task begins,
//! ends, is queued or cancelled) take nobody away who could go on. In these cases the graph is looked at,
//! under its one lock, after the change is in it: of two members that begin to wait at the same time, the
//! second sees the first. How many workers a pool has, and whether one of them looks for work, is asked of
//! the pool under that lock; a worker that takes a task just then has a task to run, and looks again
//! before it waits itself. A pool starts workers of its own while it may have more (that is its queue's
//! invariant), so that only a pool with all its workers is ever found without one that can go on. On a
//! runtime's blocking threads a worker that was asked for may never come, and so does not count before.
//!
//! An extra worker runs the very task that is waited for, and not the head of the queue: else each could
//! meet a task that waits in turn, and a queue of `n` such tasks would take `n` threads. So there are at
//! most as many extra workers as tasks that wait for each other in a chain; and since who began to wait last
//! is helped first, a tree of such tasks is worked off branch by branch. (Only who waits for a place in
//! the queue is helped by any task in it.) If there is no thread for it, the task fails and says why. What
//! is found is done by who holds no lock, and whoever runs foreign code for it takes its own wait out of
//! the graph before, and looks again afterwards.
//!
//! An initializer that waits for a task of its own pool, with a limit or in async code, would need an
//! extra worker, whose initializer would need another: the second such wait is refused.
//!
//! # What is not seen
//!
//! Waits that are not this crate's: for a lock, for a channel, for a promise whose other end lies in a
//! queued task, for a task of the user's runtime that in turn awaits a future.

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
pub(crate) use graph::{Extra, Foreign, Pool, Strength, blocked_members, look_again};
pub(crate) use member::{Leave, Member, Runner, current_pool, prepare};
pub(crate) use wait::{Listing, Wait};
pub(super) use wait::{list, unlist};
