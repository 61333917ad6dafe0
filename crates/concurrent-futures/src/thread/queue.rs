//! The queue of a thread pool, and the count of those who work it off: all decisions that have to
//! agree with each other are made here, under one lock, that of the [`State`].
//!
//! # Two halves
//!
//! Tasks are pushed to the back half, which is part of the state, and taken from the front half,
//! which has a lock of its own. Whoever finds the front empty exchanges the halves. So those who
//! push and those who take seldom meet at a lock, and the order stays that of pushing (the queue of
//! two lists, after Hood and Melville). The front's lock is taken before the state's; tasks come
//! into the front only while both are held, so that who holds the state, and has seen both halves
//! empty under both locks, knows that they stay so.
//!
//! # Priorities
//!
//! While a task waits whose priority is not 0, all tasks lie in one queue instead, which knows their
//! ranks and is part of the state; both halves are empty then. So who uses no priorities pays nothing
//! for them.
//!
//! # Why no task is left behind
//!
//! A lease *searches* from the moment at which it is called, or asked for, until it takes a task or
//! goes idle; also for a moment after it has found the queue empty, before it goes idle. Under the
//! lock it holds that
//!
//! > while tasks are queued, somebody searches, or all leases that there may be are at work.
//!
//! A push keeps this: if nobody searches, it calls an idle lease, or asks for a new one if there may
//! be one more. So does a lease that ends its search with a task while more are queued: it calls the
//! next, before its task runs. A lease that is at work only takes tasks away, and looks at the queue
//! again before it goes idle or ends, which it does only when the queue is empty. So however long a
//! task blocks its lease, those behind it find another as long as there may be one.
//!
//! That one calls the next, instead of the push calling one for each task, spares most calls where
//! tasks are short: whoever was called first has worked off the queue before a second could have
//! begun. Go's scheduler does the same with its spinning threads. Of the idle leases the last is
//! called first, since its thread is warm, and the others may come to the end of their time.
//!
//! A lease that was asked for and cannot be had gives its place back with [`Queue::lease_failed`].
//! If it was the last, the tasks cannot be run by anybody, and are handed out to be rejected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::error::{Rejection, TaskError};
use crate::executor::Ranked;
use crate::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::task::{CellRef, Outcome, Promise, Runnable, Strength};

/// Tasks that began or became final in the queue are swept out when they are more than this, and more than
/// half of it: so the sweep costs each of them a constant share.
const STALE_LIMIT: usize = 64;

/// How often a lease that has found the queue empty looks again before it goes idle, giving its CPU
/// to others in between; about 50 microseconds where nobody else wants the CPU. One lease of a pool
/// does so at a time.
///
/// Chosen by `bench -- threads --case ping-pong` on a virtual machine with two CPUs, where waking a
/// thread on an idle CPU takes 20 to 30 microseconds: 0 to 32 looks gave 40 to 60 microseconds for a
/// task submitted and awaited, 100 looks 20, and 200 or more looks 15.
const LOOKS: u32 = 200;

pub(super) struct Queue {
    /// The tasks that are taken next.
    front: Mutex<VecDeque<Runnable>>,
    state: Mutex<State>,
    /// How many tasks were pushed: changed under the lock, looked at without it.
    pushes: AtomicU64,
    max_leases: usize,
}

struct State {
    /// The tasks that were pushed last.
    back: VecDeque<Runnable>,
    /// All tasks, while there are priorities among them; else nothing.
    ranked: Ranked<Runnable>,
    /// How many tasks have begun or become final in the queue since the last sweep.
    stale: usize,
    counts: Counts,
    leases: usize,
    /// Leases that were asked for and have not begun.
    asked: usize,
    /// Extra workers that have a task, and the threads of extra workers.
    extra: usize,
    extra_threads: usize,
    searching: usize,
    /// The leases that wait to be called, the last to go idle at the end.
    idle: Vec<Arc<Seat>>,
    status: Status,
    /// Who waits for the end of the last lease after closing.
    closers: Vec<Promise<()>>,
}

/// Where a lease waits to be called.
struct Seat {
    called: Condvar,
}

/// A lease, as the queue sees it.
pub(super) struct Worker {
    seat: Arc<Seat>,
    is_searching: bool,
    has_begun: bool,
}

impl Worker {
    /// A lease that was asked for, and so begins with a search.
    pub(super) fn new() -> Self {
        Self {
            seat: Arc::new(Seat {
                called: Condvar::new(),
            }),
            is_searching: true,
            has_begun: false,
        }
    }
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
    Task {
        task: Runnable,
        has_waited: bool,
        /// Somebody has to start one more lease.
        needs_lease: bool,
    },
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
            front: Mutex::new(VecDeque::new()),
            state: Mutex::new(State {
                back: VecDeque::new(),
                ranked: Ranked::default(),
                stale: 0,
                counts: Counts::default(),
                leases: 0,
                asked: 0,
                extra: 0,
                extra_threads: 0,
                searching: 0,
                idle: Vec::new(),
                status: Status::Open,
                closers: Vec::new(),
            }),
            pushes: AtomicU64::new(0),
            max_leases,
        }
    }

    pub(super) fn max_leases(&self) -> usize {
        self.max_leases
    }

    pub(super) fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// How many leases there are, how many of them look or wait for work, and the extra workers. Leases
    /// that have not begun count if it is certain that they will.
    pub(super) fn strength(&self, will_begin: bool) -> Strength {
        let state = lock(&self.state);
        let asked = if will_begin { 0 } else { state.asked };
        Strength {
            workers: state.leases - asked,
            free: state.idle.len() + state.searching - asked,
            extra: state.extra,
        }
    }

    /// A lease that was asked for has its thread.
    pub(super) fn lease_began(&self, worker: &mut Worker) {
        lock(&self.state).begins(worker);
    }

    /// Whether tasks lie here that nobody has begun.
    pub(super) fn has_queued(&self) -> bool {
        let (front, state) = self.lock_all();
        let plain = front.iter().chain(&state.back);
        let mut all = plain.chain(state.ranked.iter());
        all.any(|task| task.cell().is_queued())
    }

    /// The next task, for who is no lease.
    pub(super) fn take_any(&self) -> Option<Runnable> {
        let (mut front, mut state) = self.lock_all();
        state.take_next(&mut front)
    }

    /// An extra worker has a task.
    pub(super) fn begin_extra(&self) {
        lock(&self.state).extra += 1;
    }

    pub(super) fn end_extra(&self) {
        lock(&self.state).extra -= 1;
    }

    pub(super) fn begin_extra_thread(&self) {
        lock(&self.state).extra_threads += 1;
    }

    pub(super) fn end_extra_thread(&self) -> Closed {
        let mut state = lock(&self.state);
        state.extra_threads -= 1;
        closers(&mut state)
    }

    #[inline]
    pub(super) fn push(&self, task: Runnable, priority: i32) -> Pushed {
        if priority == 0 {
            self.push_into(lock(&self.state), task, priority)
        } else {
            self.push_ranked(task, priority)
        }
    }

    /// The first of several priorities moves all tasks into the queue that knows ranks.
    #[cold]
    fn push_ranked(&self, task: Runnable, priority: i32) -> Pushed {
        let (mut front, mut state) = self.lock_all();
        if state.ranked.is_empty() {
            for plain in drain(&mut front, &mut state) {
                state.ranked.push(0, plain);
            }
        }
        // Nobody else can put a task into the front half.
        drop(front);
        self.push_into(state, task, priority)
    }

    #[inline]
    fn push_into(&self, mut state: MutexGuard<'_, State>, task: Runnable, priority: i32) -> Pushed {
        if !matches!(state.status, Status::Open) {
            state.counts.rejected += 1;
            let why = match &state.status {
                Status::Broken(why) => why.clone(),
                _ => TaskError::rejected(Rejection::ShutDown),
            };
            return Pushed::Refused(task, why);
        }
        if priority == 0 && state.ranked.is_empty() {
            state.back.push_back(task);
        } else {
            state.ranked.push(priority, task);
        }
        state.counts.submitted += 1;
        // Relaxed: a lease that sees it takes the lock before it looks for the task.
        self.pushes.store(state.counts.submitted, Relaxed);
        if self.call_somebody(state) {
            Pushed::NeedsLease
        } else {
            Pushed::Queued
        }
    }

    /// A task was refused before it came here.
    pub(super) fn count_rejection(&self) {
        lock(&self.state).counts.rejected += 1;
    }

    /// Sees to it that somebody searches, if there is anybody. True if a lease has to be started.
    #[inline]
    fn call_somebody(&self, mut state: MutexGuard<'_, State>) -> bool {
        if state.searching > 0 {
            return false;
        }
        if let Some(seat) = state.idle.pop() {
            state.searching += 1;
            drop(state);
            seat.called.notify_one();
            return false;
        }
        let needs_lease = state.leases < self.max_leases;
        if needs_lease {
            state.leases += 1;
            state.asked += 1;
            state.searching += 1;
        }
        needs_lease
    }

    /// Both halves of the queue, and the state.
    fn lock_all(&self) -> (MutexGuard<'_, VecDeque<Runnable>>, MutexGuard<'_, State>) {
        let front = lock(&self.front);
        (front, lock(&self.state))
    }

    /// The next task for a lease, which waits for one for at most `linger`.
    #[inline]
    pub(super) fn next(&self, worker: &mut Worker, linger: Duration) -> Next {
        if !worker.is_searching {
            if let Some(task) = lock(&self.front).pop_front() {
                return Next::Task {
                    task,
                    has_waited: false,
                    needs_lease: false,
                };
            }
        }
        self.search(worker, linger)
    }

    fn search(&self, worker: &mut Worker, linger: Duration) -> Next {
        let mut end = None;
        let mut has_looked = false;
        loop {
            let (mut front, mut state) = self.lock_all();
            if front.is_empty() {
                std::mem::swap(&mut *front, &mut state.back);
            }
            let task = front.pop_front().or_else(|| Some(state.ranked.pop()?.task));
            if let Some(task) = task {
                let are_more = !front.is_empty() || state.len() > 0;
                drop(front);
                let was_searching = worker.is_searching;
                worker.end_search(&mut state);
                return Next::Task {
                    task,
                    has_waited: has_looked || end.is_some(),
                    needs_lease: was_searching && are_more && self.call_somebody(state),
                };
            }
            state.stale = 0;
            if linger.is_zero() || !matches!(state.status, Status::Open) {
                return Next::End(end_lease(&mut state, worker));
            }
            let others_search = state.searching > usize::from(worker.is_searching);
            if !has_looked && !others_search {
                has_looked = true;
                worker.begin_search(&mut state);
                let seen = state.counts.submitted;
                drop((front, state));
                self.look_for_a_push(seen);
                continue;
            }
            drop(front);
            worker.end_search(&mut state);
            let now = Instant::now();
            // A linger beyond the clock has no end.
            let left = end
                .get_or_insert_with(|| now.checked_add(linger))
                .map_or(Duration::MAX, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                return Next::End(end_lease(&mut state, worker));
            }
            drop(wait_to_be_called(state, worker, left));
            has_looked = false;
        }
    }

    /// Looks for a push for a while, without a lock.
    fn look_for_a_push(&self, seen: u64) {
        for _ in 0..LOOKS {
            std::thread::yield_now();
            if self.pushes.load(Relaxed) != seen {
                return;
            }
        }
    }

    /// Whether there is work for a successor of a lease that ends early. The place of the lease
    /// goes to the successor, or is given back.
    pub(super) fn hand_over(&self, worker: &mut Worker) -> Result<(), Closed> {
        let (front, mut state) = self.lock_all();
        if front.is_empty() && state.len() == 0 {
            Err(end_lease(&mut state, worker))
        } else {
            worker.begin_search(&mut state);
            state.asked += 1;
            Ok(())
        }
    }

    /// A lease could not be had, or was lost. If it was the last, the tasks are handed out, since
    /// nobody can run them.
    pub(super) fn lease_failed(&self, worker: &mut Worker) -> (Vec<Runnable>, Closed) {
        let (mut front, mut state) = self.lock_all();
        let tasks = if state.leases == 1 {
            drain(&mut front, &mut state)
        } else {
            Vec::new()
        };
        let closed = end_lease(&mut state, worker);
        (tasks, closed)
    }

    /// A task was begun while it lay in the queue.
    pub(super) fn begun_in_place(&self, task: &CellRef) {
        let mut state = lock(&self.state);
        // Who waits for a task at once finds it where it was put.
        let is_last = |last: &Runnable| last.cell().id() == task.id();
        let taken = match state.back.back().is_some_and(is_last) {
            true => state.back.pop_back(),
            false => {
                state.stale += 1;
                None
            }
        };
        let is_sweep_due = state.is_sweep_due();
        drop(state);
        drop(taken);
        if is_sweep_due {
            self.sweep();
        }
    }

    /// A task became final in the queue.
    pub(super) fn left_queue(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.counts.left += 1;
        state.counts.finished[outcome as usize] += 1;
        state.stale += 1;
        if state.is_sweep_due() {
            drop(state);
            self.sweep();
        }
    }

    /// Throws out the tasks that began or became final in the queue, if they are more than half of it.
    #[cold]
    fn sweep(&self) {
        let (mut front, mut state) = self.lock_all();
        if state.stale > (front.len() + state.len()) / 2 {
            state.stale = 0;
            let is_queued = |task: &Runnable| task.cell().is_queued();
            let mut stale = state.ranked.take_unless(is_queued);
            if state.ranked.is_empty() {
                let (queued, plain): (Vec<_>, Vec<_>) = drain(&mut front, &mut state)
                    .into_iter()
                    .partition(is_queued);
                front.extend(queued);
                stale.extend(plain);
            }
            drop((front, state));
            // May free the tasks, which is foreign code.
            drop(stale);
        }
    }

    /// A task became final while its body runs on.
    pub(super) fn overtaken(&self, outcome: Outcome) {
        lock(&self.state).counts.finished[outcome as usize] += 1;
    }

    /// Takes nothing more. Hands out the tasks that are there if it `drains`.
    pub(super) fn close(
        &self,
        drains: bool,
        closer: Option<Promise<()>>,
    ) -> (Vec<Runnable>, Closed) {
        self.shut(drains, |state| {
            if matches!(state.status, Status::Open) {
                state.status = Status::Closing;
            }
            state.closers.extend(closer);
        })
    }

    /// Takes nothing more, and gives `why` to whoever tries. Hands out the tasks that are there.
    pub(super) fn break_down(&self, why: &TaskError) -> (Vec<Runnable>, Closed) {
        self.shut(true, |state| {
            if !matches!(state.status, Status::Broken(_)) {
                state.status = Status::Broken(why.clone());
            }
        })
    }

    fn shut(&self, drains: bool, change: impl FnOnce(&mut State)) -> (Vec<Runnable>, Closed) {
        let (mut front, mut state) = self.lock_all();
        change(&mut state);
        let tasks = if drains {
            drain(&mut front, &mut state)
        } else {
            Vec::new()
        };
        drop(front);
        let closed = closers(&mut state);
        let idle = std::mem::take(&mut state.idle);
        state.searching += idle.len();
        drop(state);
        for seat in idle {
            seat.called.notify_one();
        }
        (tasks, closed)
    }
}

impl State {
    /// How many tasks there are beside the front half.
    fn len(&self) -> usize {
        self.back.len() + self.ranked.len()
    }

    fn begins(&mut self, worker: &mut Worker) {
        if !std::mem::replace(&mut worker.has_begun, true) {
            self.asked -= 1;
        }
    }

    fn take_next(&mut self, front: &mut VecDeque<Runnable>) -> Option<Runnable> {
        if front.is_empty() {
            std::mem::swap(front, &mut self.back);
        }
        front.pop_front().or_else(|| Some(self.ranked.pop()?.task))
    }

    fn is_sweep_due(&self) -> bool {
        self.stale > STALE_LIMIT && self.stale > self.len() / 2
    }
}

impl Worker {
    fn begin_search(&mut self, state: &mut State) {
        if !self.is_searching {
            self.is_searching = true;
            state.searching += 1;
        }
    }

    fn end_search(&mut self, state: &mut State) {
        if self.is_searching {
            self.is_searching = false;
            state.searching -= 1;
        }
    }
}

/// Waits among the idle until called, or for at most `limit`.
fn wait_to_be_called<'a>(
    mut state: MutexGuard<'a, State>,
    worker: &mut Worker,
    limit: Duration,
) -> MutexGuard<'a, State> {
    state.idle.push(Arc::clone(&worker.seat));
    state = wait(&worker.seat.called, state, limit);
    match state
        .idle
        .iter()
        .rposition(|seat| Arc::ptr_eq(seat, &worker.seat))
    {
        // Not called: the time is over, or the wake-up was spurious.
        Some(position) => drop(state.idle.remove(position)),
        // Whoever took the seat away has counted its lease as searching.
        None => worker.is_searching = true,
    }
    state
}

/// All tasks, in their order.
fn drain(front: &mut VecDeque<Runnable>, state: &mut State) -> Vec<Runnable> {
    let plain = front.drain(..).chain(state.back.drain(..));
    plain.chain(state.ranked.take_all()).collect()
}

fn end_lease(state: &mut State, worker: &mut Worker) -> Closed {
    state.begins(worker);
    worker.end_search(state);
    state.leases -= 1;
    closers(state)
}

/// Who can be told that the pool has come to its end, if it has. Without a lease the front is empty:
/// the last one ends only when it is, or has it drained.
fn closers(state: &mut State) -> Closed {
    let has_ended = state.leases == 0 && state.extra_threads == 0 && state.len() == 0;
    if has_ended && !matches!(state.status, Status::Open) {
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
