//! Which members wait, and for what: the graph in which hangs and circles are found.
//!
//! Only threads of workers that wait are in it, so that tasks that never wait cost nothing. Pools are
//! asked under the graph's lock, and never come back to it under theirs. What is taken out of the graph
//! is dropped after the lock, since the last reference to a task may run foreign code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Wake;

use super::blocking::Unpark;
use super::outlook::{Finding, Outlook};
use super::wait::Wait;
use crate::error::TaskError;
use crate::id::{OwnerId, TaskId};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::task::cell::{CellRef, OnThread};

/// A thread of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberKey(pub(super) u64);

/// A future that was polled by a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListingKey {
    /// That of a task: noted in its cell.
    Task(TaskId),
    /// One that knows its number.
    Future(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Worker,
    /// It was added to run a task that others wait for.
    Extra,
}

/// How many workers a pool has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strength {
    /// Workers, but for the extra ones.
    pub(crate) workers: usize,
    /// Those that look for work, or are about to.
    pub(crate) free: usize,
    pub(crate) extra: usize,
}

/// A pool whose members may wait.
pub(crate) trait Pool: Send + Sync {
    fn id(&self) -> OwnerId;

    /// Asked under the graph's lock.
    fn strength(&self) -> Strength;

    /// Counts one more extra worker, under the graph's lock.
    fn count_extra(&self);

    /// Whether tasks are queued. Asked under the graph's lock.
    fn has_queued(&self) -> bool;

    /// Whether places are taken for tasks that are not queued yet. Asked under the graph's lock.
    fn has_reserved(&self) -> bool;

    /// Starts the extra worker that was counted. It does nothing if others were faster.
    ///
    /// # Errors
    /// If there is no thread for it: what is to be done then.
    fn start_extra(self: Arc<Self>, task: Extra) -> Result<(), Foreign>;

    /// Whether a task may run inside of another one, with all that surrounds that.
    fn may_run_inside(&self, task: &CellRef) -> bool;

    /// A task was begun while it lay in the queue.
    fn begun_in_place(&self, task: &CellRef);
}

/// What runs foreign code, which may itself wait: so it is called by who is through with the graph.
pub(crate) type Foreign = Box<dyn FnOnce()>;

/// What an extra worker runs.
pub(crate) enum Extra {
    /// The task that somebody waits for.
    Task(CellRef),
    /// Any task in the queue: somebody waits for its place.
    Any,
}

/// What the graph has to know of a member before it hears of a wait.
pub(super) struct Introduction<'a> {
    pub(super) key: MemberKey,
    pub(super) pool: &'a Arc<dyn Pool>,
    pub(super) role: Role,
    /// It runs the initializer of its pool.
    pub(super) is_preparing: bool,
    /// The tasks on its thread: each waits for the next one, which is run in place.
    pub(super) tasks: Vec<OnThread>,
}

/// A blocking wait.
pub(super) struct Blocked {
    pub(super) wait: Wait,
    /// It has no time limit.
    pub(super) is_patient: bool,
    pub(super) unpark: Arc<Unpark>,
    /// The error that ends it.
    pub(super) verdict: Option<TaskError>,
}

/// A member that waits.
pub(super) struct Waiting {
    pub(super) pool: Arc<dyn Pool>,
    pub(super) role: Role,
    pub(super) is_preparing: bool,
    /// If there is one, it alone counts: the thread is in it.
    pub(super) blocked: Option<Blocked>,
    /// The futures that were polled and are pending. Which of them ends its wait nobody knows, since it
    /// may be awaited with others or be forgotten: it is taken to hang if one of them does.
    pub(super) listed: BTreeMap<ListingKey, Wait>,
    pub(super) tasks: Vec<OnThread>,
    /// Larger for those that have begun to wait later.
    pub(super) since: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) members: BTreeMap<MemberKey, Waiting>,
    /// On which of their threads a task is.
    pub(super) running: BTreeMap<TaskId, MemberKey>,
    listings: BTreeMap<ListingKey, MemberKey>,
    /// The members by their pools.
    pub(super) pools: BTreeMap<OwnerId, BTreeSet<MemberKey>>,
    /// How often somebody has begun to wait.
    beginnings: u64,
}

pub(crate) struct Graph(Mutex<State>);

#[cfg(not(concurrent_futures_loom))]
pub(super) fn graph() -> &'static Graph {
    static GRAPH: std::sync::LazyLock<Graph> = std::sync::LazyLock::new(Graph::new);
    &GRAPH
}

#[cfg(concurrent_futures_loom)]
pub(super) fn graph() -> &'static Graph {
    loom::lazy_static! {
        static ref GRAPH: Graph = Graph::new();
    }
    &GRAPH
}

/// How many members of a pool wait.
pub(crate) fn blocked_members(pool: OwnerId) -> usize {
    let pools = &lock(&graph().0).pools;
    pools.get(&pool).map_or(0, BTreeSet::len)
}

/// Somebody who could have gone on is gone: finds out whether others hang now.
///
/// Not for who is in the graph's or a pool's lock.
pub(crate) fn look_again() {
    while let Some(foreign) = graph().look_again() {
        foreign();
    }
}

impl Graph {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::default()))
    }

    /// A member is about to block. If there is something to do, it is to unblock, do that, and look at
    /// what it waits for again.
    #[must_use]
    pub(super) fn block(&self, member: Introduction<'_>, blocked: Blocked) -> Option<Foreign> {
        let key = member.key;
        let mut state = lock(&self.0);
        state.introduce(member).blocked = Some(blocked);
        Self::look_from(state, key)
    }

    /// A member blocks no more. The error, if it never could have gone on by itself; and if there is
    /// something to do for the futures that it still waits for, it is to do that, and to look again.
    #[must_use]
    pub(super) fn unblock(&self, key: MemberKey) -> (Option<TaskError>, Option<Foreign>) {
        let mut state = lock(&self.0);
        let Some(waiting) = state.members.get_mut(&key) else {
            return (None, None);
        };
        let blocked = waiting.blocked.take();
        let foreign = if waiting.listed.is_empty() {
            let gone = state.remove(key);
            drop(state);
            drop(gone);
            None
        } else {
            Self::look_from(state, key)
        };
        (blocked.and_then(|blocked| blocked.verdict), foreign)
    }

    /// A member has polled a future, which is pending. If there is something to do, it is to do that,
    /// and to look again.
    #[must_use]
    pub(super) fn list(
        &self,
        member: Introduction<'_>,
        listing: ListingKey,
        wait: Wait,
    ) -> Option<Foreign> {
        let key = member.key;
        let mut state = lock(&self.0);
        state.introduce(member).listed.insert(listing, wait);
        state.listings.insert(listing, key);
        Self::look_from(state, key)
    }

    /// A future is not waited for any more by the member that has polled it.
    pub(in crate::task) fn unlist(&self, key: ListingKey) {
        let mut state = lock(&self.0);
        let Some(member) = state.listings.remove(&key) else {
            return;
        };
        let wait = state
            .members
            .get_mut(&member)
            .and_then(|waiting| waiting.listed.remove(&key));
        let gone = state.forget_if_idle(member);
        drop(state);
        drop((wait, gone));
    }

    /// How many members wait.
    #[cfg(all(test, concurrent_futures_loom))]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.0).members.len()
    }

    /// A member works for its pool no more.
    pub(super) fn leave(&self, key: MemberKey) {
        let mut state = lock(&self.0);
        let gone = state.remove(key);
        drop(state);
        drop(gone);
    }

    /// Finds out whether any member hangs, and does what lets it go on. If there is something to do, it
    /// is to do that, and to look again.
    #[must_use]
    pub(super) fn look_again(&self) -> Option<Foreign> {
        let state = lock(&self.0);
        let finding = Outlook::new(&state).of_all();
        Self::help(state, finding)
    }

    fn look_from(state: MutexGuard<'_, State>, key: MemberKey) -> Option<Foreign> {
        let finding = Outlook::new(&state).of(key);
        Self::help(state, finding)
    }

    fn help(mut state: MutexGuard<'_, State>, finding: Finding) -> Option<Foreign> {
        match finding {
            Finding::GoesOn => None,
            Finding::Circle { members, text } => {
                let mut wakes = Vec::new();
                for member in members {
                    if let Some(blocked) = state
                        .members
                        .get_mut(&member)
                        .and_then(|waiting| waiting.blocked.as_mut())
                    {
                        blocked.verdict = Some(TaskError::deadlock(text.clone()));
                        wakes.push(Arc::clone(&blocked.unpark));
                    }
                }
                drop(state);
                for unpark in wakes {
                    unpark.wake();
                }
                None
            }
            Finding::Hangs { pool, extra } => {
                pool.count_extra();
                drop(state);
                pool.start_extra(extra).err()
            }
            Finding::Refused { task, why } => Some(Box::new(move || {
                task.finish_queued(|| TaskError::deadlock(why).never_run());
            })),
        }
    }
}

impl State {
    fn introduce(&mut self, member: Introduction<'_>) -> &mut Waiting {
        let waiting = self.members.entry(member.key).or_insert_with(|| Waiting {
            pool: Arc::clone(member.pool),
            role: member.role,
            is_preparing: false,
            blocked: None,
            listed: BTreeMap::new(),
            tasks: Vec::new(),
            since: 0,
        });
        self.pools
            .entry(member.pool.id())
            .or_default()
            .insert(member.key);
        self.beginnings += 1;
        waiting.since = self.beginnings;
        for on_thread in &waiting.tasks {
            self.running.remove(&on_thread.task);
        }
        for on_thread in &member.tasks {
            self.running.insert(on_thread.task, member.key);
        }
        waiting.is_preparing = member.is_preparing;
        waiting.tasks = member.tasks;
        waiting
    }

    /// What is to be dropped, after the lock.
    #[must_use]
    fn forget_if_idle(&mut self, key: MemberKey) -> Option<Waiting> {
        let waiting = self.members.get(&key)?;
        if waiting.blocked.is_none() && waiting.listed.is_empty() {
            self.remove(key)
        } else {
            None
        }
    }

    #[must_use]
    fn remove(&mut self, key: MemberKey) -> Option<Waiting> {
        let waiting = self.members.remove(&key)?;
        let pool = waiting.pool.id();
        if let Some(members) = self.pools.get_mut(&pool) {
            members.remove(&key);
            if members.is_empty() {
                self.pools.remove(&pool);
            }
        }
        for on_thread in &waiting.tasks {
            self.running.remove(&on_thread.task);
        }
        for listing in waiting.listed.keys() {
            self.listings.remove(listing);
        }
        Some(waiting)
    }
}
