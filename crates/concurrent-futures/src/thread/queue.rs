//! The queue of a thread pool, and the count of those who work it off: all decisions that have to
//! agree with each other are made here, under one lock.
//!
//! # Why no task is left behind
//!
//! A task is pushed under the lock, and a lease ends under the lock, only when it finds the queue
//! empty. So a push either comes before that look, and the lease takes the task; or it comes after,
//! and finds one lease less. A push calls an idle lease if there is one that was not called yet, or
//! asks for a new lease if there may be one more, or leaves the task to leases that are all busy,
//! each of which looks again before it ends. An idle lease that was called finds the queue as it
//! is then: another lease may have been quicker, and then it waits on.
//!
//! A lease that was asked for and cannot be had gives its place back with [`Queue::lease_failed`].
//! If it was the last, the tasks cannot be run by anybody, and are handed out to be rejected.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::{Rejection, TaskError};
use crate::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::task::{Outcome, Promise, Runnable};

/// Tasks that became final in the queue are swept out when they are more than this, and more than
/// half of it: so the sweep costs each of them a constant share.
const STALE_LIMIT: usize = 64;

pub(super) struct Queue {
    state: Mutex<State>,
    /// An idle lease was called, or the queue was closed.
    called: Condvar,
    max_leases: usize,
}

struct State {
    tasks: VecDeque<Runnable>,
    /// How many tasks have become final in the queue since the last sweep.
    stale: usize,
    counts: Counts,
    leases: usize,
    /// Leases that wait, and how many of these were called and have not woken yet.
    idle: usize,
    awaited: usize,
    status: Status,
    /// Who waits for the end of the last lease after closing.
    closers: Vec<Promise<()>>,
}

/// What only grows, and only under the lock.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) submitted: u64,
    pub(super) rejected: u64,
    /// Tasks that have left the queue without a lease, being final.
    pub(super) left: u64,
    /// Tasks that became final otherwise than at the end of their body.
    pub(super) finished: [u64; Outcome::COUNT],
}

enum Status {
    Open,
    /// Nothing more comes in; what is there is worked off.
    Closing,
    /// Nothing more comes in, and nothing is there.
    Broken(TaskError),
}

/// What became of a push.
#[must_use]
pub(super) enum Pushed {
    /// Somebody will take it.
    Queued,
    /// Somebody has to start one more lease.
    NeedsLease,
    /// The pool takes nothing any more.
    Refused(Runnable, TaskError),
}

/// What a lease does next.
#[must_use]
pub(super) enum Next {
    /// A task; and whether the lease has waited for it.
    Task(Runnable, bool),
    /// The lease has ended.
    End(Closed),
}

/// Who waited for the end of the pool that has come with this.
#[must_use]
#[derive(Default)]
pub(super) struct Closed(Vec<Promise<()>>);

impl Closed {
    pub(super) fn tell(self) {
        for closer in self.0 {
            // Refused if the wait is over already: at its deadline, or given up.
            let _ = closer.fulfil(());
        }
    }
}

impl Queue {
    pub(super) fn new(max_leases: usize) -> Self {
        Self {
            state: Mutex::new(State {
                tasks: VecDeque::new(),
                stale: 0,
                counts: Counts::default(),
                leases: 0,
                idle: 0,
                awaited: 0,
                status: Status::Open,
                closers: Vec::new(),
            }),
            called: Condvar::new(),
            max_leases,
        }
    }

    pub(super) fn max_leases(&self) -> usize {
        self.max_leases
    }

    pub(super) fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    pub(super) fn leases(&self) -> usize {
        lock(&self.state).leases
    }

    #[inline]
    pub(super) fn push(&self, task: Runnable) -> Pushed {
        let mut state = lock(&self.state);
        if !matches!(state.status, Status::Open) {
            state.counts.rejected += 1;
            let why = match &state.status {
                Status::Broken(why) => why.clone(),
                _ => TaskError::rejected(Rejection::ShutDown),
            };
            return Pushed::Refused(task, why);
        }
        state.tasks.push_back(task);
        state.counts.submitted += 1;
        if state.idle > state.awaited {
            state.awaited += 1;
            drop(state);
            self.called.notify_one();
        } else if state.leases < self.max_leases {
            state.leases += 1;
            return Pushed::NeedsLease;
        }
        Pushed::Queued
    }

    /// The next task for a lease, which waits for one for at most `linger`.
    #[inline]
    pub(super) fn next(&self, linger: Duration) -> Next {
        let mut state = lock(&self.state);
        let mut end = None;
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Next::Task(task, end.is_some());
            }
            state.stale = 0;
            if linger.is_zero() || !matches!(state.status, Status::Open) {
                return Next::End(end_lease(&mut state));
            }
            let now = Instant::now();
            // A linger beyond the clock has no end.
            let left = end
                .get_or_insert_with(|| now.checked_add(linger))
                .map_or(Duration::MAX, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                return Next::End(end_lease(&mut state));
            }
            state.idle += 1;
            state = wait(&self.called, state, left);
            state.idle -= 1;
            // Whoever wakes, for whatever reason, answers a call if there is one; then the one that
            // was meant may find nothing to do, and waits on.
            state.awaited = state.awaited.saturating_sub(1);
        }
    }

    /// Whether there is work for a successor of a lease that ends early. The place of the lease
    /// goes to the successor, or is given back.
    pub(super) fn hand_over(&self) -> Result<(), Closed> {
        let mut state = lock(&self.state);
        if state.tasks.is_empty() {
            Err(end_lease(&mut state))
        } else {
            Ok(())
        }
    }

    /// A lease could not be had, or was lost. If it was the last, the tasks are handed out, since
    /// nobody can run them.
    pub(super) fn lease_failed(&self) -> (Vec<Runnable>, Closed) {
        let mut state = lock(&self.state);
        let closed = end_lease(&mut state);
        if state.leases > 0 {
            return (Vec::new(), closed);
        }
        let tasks = std::mem::take(&mut state.tasks);
        let closed = if closed.0.is_empty() {
            closers(&mut state)
        } else {
            closed
        };
        (tasks.into(), closed)
    }

    /// A task became final in the queue.
    pub(super) fn left_queue(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.counts.left += 1;
        state.counts.finished[outcome as usize] += 1;
        state.stale += 1;
        if state.stale > STALE_LIMIT && state.stale > state.tasks.len() / 2 {
            state.stale = 0;
            let (queued, stale): (Vec<_>, Vec<_>) = std::mem::take(&mut state.tasks)
                .into_iter()
                .partition(|task| task.cell().is_queued());
            state.tasks = queued.into();
            drop(state);
            // May free the tasks, which is foreign code.
            drop(stale);
        }
    }

    /// A task became final while its body runs on.
    pub(super) fn overtaken(&self, outcome: Outcome) {
        lock(&self.state).counts.finished[outcome as usize] += 1;
    }

    /// Takes nothing more. Hands out the tasks that are there if `drain`.
    pub(super) fn close(
        &self,
        drain: bool,
        closer: Option<Promise<()>>,
    ) -> (Vec<Runnable>, Closed) {
        let mut state = lock(&self.state);
        if matches!(state.status, Status::Open) {
            state.status = Status::Closing;
        }
        state.closers.extend(closer);
        self.shut(state, drain)
    }

    /// Takes nothing more, and gives `why` to whoever tries. Hands out the tasks that are there.
    pub(super) fn break_down(&self, why: &TaskError) -> (Vec<Runnable>, Closed) {
        let mut state = lock(&self.state);
        if !matches!(state.status, Status::Broken(_)) {
            state.status = Status::Broken(why.clone());
        }
        self.shut(state, true)
    }

    fn shut(&self, mut state: MutexGuard<'_, State>, drain: bool) -> (Vec<Runnable>, Closed) {
        let tasks = if drain {
            std::mem::take(&mut state.tasks).into()
        } else {
            Vec::new()
        };
        let closed = closers(&mut state);
        drop(state);
        self.called.notify_all();
        (tasks, closed)
    }
}

fn end_lease(state: &mut State) -> Closed {
    state.leases -= 1;
    closers(state)
}

/// Who can be told that the pool has come to its end, if it has.
fn closers(state: &mut State) -> Closed {
    if state.leases == 0 && state.tasks.is_empty() && !matches!(state.status, Status::Open) {
        Closed(std::mem::take(&mut state.closers))
    } else {
        Closed::default()
    }
}

#[cfg(not(concurrent_futures_loom))]
fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    limit: Duration,
) -> MutexGuard<'a, State> {
    condition
        .wait_timeout(state, limit)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .0
}

/// loom knows no time: a lease of a model waits until it is called.
#[cfg(concurrent_futures_loom)]
fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    _limit: Duration,
) -> MutexGuard<'a, State> {
    condition.wait(state).expect("no model panics under a lock")
}
