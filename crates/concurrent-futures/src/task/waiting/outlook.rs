//! Whether a member that waits can go on, found by looking at the waits that it depends on.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::{Extra, MemberKey, Pool, Role, State, Waiting};
use super::wait::{Needs, Wait};
use crate::id::{OwnerId, TaskId};
use crate::task::cell::CellRef;

/// What is to be done for a member that waits.
pub(super) enum Finding {
    /// Nothing.
    GoesOn,
    /// Each of these gets an error: their tasks wait for each other.
    Circle {
        members: Vec<MemberKey>,
        text: String,
    },
    /// It can go on if the pool gets an extra worker.
    Hangs { pool: Arc<dyn Pool>, extra: Extra },
    /// Extra workers would not help.
    Refused { task: CellRef, why: &'static str },
}

/// Where a task is that is waited for.
enum Whereabouts {
    /// Where it can go on, as far as the graph knows.
    Elsewhere,
    /// On the thread of a member that waits.
    On(MemberKey),
    /// In the queue of a pool whose members all wait; or it is a place there.
    Queued(OwnerId),
    /// It is the end of a pool, for which all of its members have to go on.
    Ending(OwnerId),
}

/// Those that cannot go on.
#[derive(Default)]
struct Hanging {
    members: BTreeSet<MemberKey>,
    /// Pools of which all members wait and hang, and in whose queue a task is waited for.
    pools: BTreeSet<OwnerId>,
}

/// The graph at one moment.
pub(super) struct Outlook<'a> {
    state: &'a State,
    /// The members of those pools whose members all wait; `None` for the other pools.
    pools: RefCell<BTreeMap<OwnerId, Option<Rc<[MemberKey]>>>>,
}

impl<'a> Outlook<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        Self {
            state,
            pools: RefCell::default(),
        }
    }

    /// What a member can do that has begun to wait.
    pub(super) fn of(&self, member: MemberKey) -> Finding {
        match self.circle(member) {
            Some(circle) => circle,
            None => self.of_those_that_depend_on([member]),
        }
    }

    /// What all members can do that wait.
    pub(super) fn of_all(&self) -> Finding {
        self.of_those_that_depend_on(self.state.members.keys().copied())
    }

    fn of_those_that_depend_on(&self, members: impl IntoIterator<Item = MemberKey>) -> Finding {
        let hanging = self.hanging(members);
        let mut found = Finding::GoesOn;
        // Who began to wait last goes first: so a tree of tasks that wait for each other is worked off
        // branch by branch, with as many extra workers as it is deep.
        let mut members = Vec::from_iter(&hanging.members);
        members.sort_unstable_by_key(|key| Reverse(self.state.members[key].since));
        for key in members {
            let waiting = &self.state.members[key];
            let is_extra_prepared = waiting.is_preparing && waiting.role == Role::Extra;
            if matches!(found, Finding::Hangs { .. }) && !is_extra_prepared {
                continue;
            }
            for task in waits(waiting).flat_map(|wait| &wait.tasks) {
                if !matches!(self.whereabouts(task), Whereabouts::Queued(_))
                    || !hanging.pools.contains(&task.owner())
                {
                    continue;
                }
                let Some(worker) = self.waiting_in(task.owner()).next() else {
                    continue;
                };
                let pool = Arc::clone(&self.state.members[&worker].pool);
                let task = task.clone();
                if is_extra_prepared && pool.id() == waiting.pool.id() {
                    let why = "the initializer of a pool waits for a task of the pool";
                    return Finding::Refused { task, why };
                }
                if !task.is_of_pool() {
                    // Any will do; what waits for it goes on then.
                    let extra = Extra::Task(task);
                    found = Finding::Hangs { pool, extra };
                    break;
                }
                // Asked before: what is reserved may be queued meanwhile.
                let has_reserved = pool.has_reserved();
                if pool.has_queued() {
                    let extra = Extra::Any;
                    found = Finding::Hangs { pool, extra };
                    break;
                }
                // Who has reserved a place may give it back. If nobody has, all are taken by tasks
                // that wait for another one.
                if !has_reserved && self.firmly(*key).is_some() {
                    let why = "all tasks of a pool that is full wait for a place in it";
                    return Finding::Refused { task, why };
                }
            }
        }
        found
    }

    fn whereabouts(&self, task: &CellRef) -> Whereabouts {
        if task.is_queued() {
            return match self.members_of(task.owner()) {
                Some(_) => Whereabouts::Queued(task.owner()),
                None => Whereabouts::Elsewhere,
            };
        }
        if task.is_of_pool() {
            return match task.is_unfinished() {
                true => Whereabouts::Ending(task.owner()),
                false => Whereabouts::Elsewhere,
            };
        }
        // Also if it is over: it is on a thread until whoever waits for it was told.
        match self.state.running.get(&task.id()) {
            Some(member) => Whereabouts::On(*member),
            None => Whereabouts::Elsewhere,
        }
    }

    /// The members of a pool that wait.
    fn waiting_in(&self, pool: OwnerId) -> impl Iterator<Item = MemberKey> {
        let members = self.state.pools.get(&pool);
        members.into_iter().flatten().copied()
    }

    /// The members of a pool, if all of them wait.
    fn members_of(&self, pool: OwnerId) -> Option<Rc<[MemberKey]>> {
        if let Some(known) = self.pools.borrow().get(&pool) {
            return known.clone();
        }
        let members: Vec<MemberKey> = self.waiting_in(pool).collect();
        let all = members.first().copied().and_then(|first| {
            let strength = self.state.members[&first].pool.strength();
            // A worker that runs its pool's initializer is still one that looks for work.
            let preparing = members.iter().filter(|member| {
                let waiting = &self.state.members[member];
                waiting.is_preparing && waiting.role == Role::Worker
            });
            (strength.free == preparing.count()
                && members.len() >= strength.workers + strength.extra)
                .then(|| members.into())
        });
        self.pools.borrow_mut().insert(pool, all.clone());
        all
    }

    /// Those of these members, and of the members on which they depend, that cannot go on.
    ///
    /// All are taken to hang at first. One that does not takes along those that wait for it, and so on.
    fn hanging(&self, members: impl IntoIterator<Item = MemberKey>) -> Hanging {
        let mut hanging = Hanging::default();
        let mut waits_for_member: BTreeMap<MemberKey, Vec<MemberKey>> = BTreeMap::new();
        let mut waits_for_pool: BTreeMap<OwnerId, Vec<MemberKey>> = BTreeMap::new();
        let mut to_visit = Vec::from_iter(members);
        hanging.members.extend(to_visit.iter().copied());
        while let Some(member) = to_visit.pop() {
            let mut visit = |next| {
                if hanging.members.insert(next) {
                    to_visit.push(next);
                }
            };
            for place in self.places(waits(&self.state.members[&member])) {
                match place {
                    Whereabouts::Elsewhere => {}
                    Whereabouts::On(next) => {
                        waits_for_member.entry(next).or_default().push(member);
                        visit(next);
                    }
                    Whereabouts::Ending(pool) => {
                        for next in self.waiting_in(pool) {
                            waits_for_member.entry(next).or_default().push(member);
                            visit(next);
                        }
                    }
                    Whereabouts::Queued(pool) => {
                        waits_for_pool.entry(pool).or_default().push(member);
                        if hanging.pools.insert(pool) {
                            self.waiting_in(pool).for_each(&mut visit);
                        }
                    }
                }
            }
        }
        let mut to_check = Vec::from_iter(hanging.members.iter().copied());
        while let Some(member) = to_check.pop() {
            let waiting = &self.state.members[&member];
            if !hanging.members.contains(&member) || self.hangs(waiting, &hanging) {
                continue;
            }
            hanging.members.remove(&member);
            to_check.extend(waits_for_member.remove(&member).into_iter().flatten());
            let pool = waiting.pool.id();
            if hanging.pools.remove(&pool) {
                to_check.extend(waits_for_pool.remove(&pool).into_iter().flatten());
            }
        }
        hanging
    }

    /// Where the tasks of some waits are; of those in one queue only the first is looked at.
    fn places<'b>(
        &'b self,
        waits: impl Iterator<Item = &'b Wait>,
    ) -> impl Iterator<Item = Whereabouts> {
        let mut queued_in = None;
        waits.flat_map(|wait| &wait.tasks).filter_map(move |task| {
            if task.is_queued() && queued_in.replace(task.owner()) == Some(task.owner()) {
                return None;
            }
            Some(self.whereabouts(task))
        })
    }

    /// Whether a member hangs, if these do.
    fn hangs(&self, waiting: &Waiting, hanging: &Hanging) -> bool {
        let place_hangs = |place| match place {
            Whereabouts::Elsewhere => false,
            Whereabouts::On(member) => hanging.members.contains(&member),
            Whereabouts::Queued(pool) => hanging.pools.contains(&pool),
            Whereabouts::Ending(pool) => self
                .waiting_in(pool)
                .any(|member| hanging.members.contains(&member)),
        };
        let wait_hangs = |wait: &Wait| {
            let mut places = self.places(std::iter::once(wait));
            match wait.needs {
                Needs::All | Needs::Most => places.any(place_hangs),
                Needs::Any | Needs::Each => !wait.tasks.is_empty() && places.all(place_hangs),
            }
        };
        match &waiting.blocked {
            Some(blocked) => blocked.verdict.is_none() && wait_hangs(&blocked.wait),
            None => waiting.listed.values().any(wait_hangs),
        }
    }

    /// The circle of running tasks through this member, if all in it wait for ever for all of their
    /// tasks.
    fn circle(&self, first: MemberKey) -> Option<Finding> {
        // A way through the graph, and the steps from each of its members that were not tried.
        let mut way: Vec<(MemberKey, &CellRef)> = Vec::new();
        let mut untried = vec![(first, self.steps(first))];
        let mut visited = BTreeSet::from([first]);
        while let Some((member, steps)) = untried.last_mut() {
            let Some((task, next)) = steps.pop() else {
                untried.pop();
                way.pop();
                continue;
            };
            if next == first {
                way.push((*member, task));
                return Some(Finding::Circle {
                    text: self.in_words(&way),
                    members: way.into_iter().map(|(member, _)| member).collect(),
                });
            }
            if visited.insert(next) {
                way.push((*member, task));
                untried.push((next, self.steps(next)));
            }
        }
        None
    }

    /// The tasks that a member waits for with a wait that only an error or all of its tasks can end,
    /// and the members on whose threads they are.
    fn steps(&self, member: MemberKey) -> Vec<(&'a CellRef, MemberKey)> {
        let mut steps = Vec::new();
        for task in self.firmly(member).iter().flat_map(|wait| &wait.tasks) {
            match self.whereabouts(task) {
                Whereabouts::Elsewhere | Whereabouts::Queued(_) => {}
                // A limit to its running time would end the wait.
                Whereabouts::On(_) if task.is_open_to_others() => {}
                Whereabouts::On(member) => steps.push((task, member)),
                Whereabouts::Ending(pool) => {
                    steps.extend(self.waiting_in(pool).map(|member| (task, member)));
                }
            }
        }
        steps
    }

    /// The tasks of a circle, in their order.
    fn in_words(&self, way: &[(MemberKey, &CellRef)]) -> String {
        let mut tasks: Vec<(TaskId, Option<&str>)> = Vec::new();
        let (_, mut entry) = way[way.len() - 1];
        for (member, next) in way {
            // From the task that the one before waits for to the one that runs in its place.
            let on_thread = &self.state.members[member].tasks;
            let first = on_thread.iter().position(|on| on.task == entry.id());
            if first.is_none() {
                // It is the end of the pool.
                tasks.push((entry.id(), entry.info().name()));
            }
            let on_thread = &on_thread[first.unwrap_or(0)..];
            tasks.extend(on_thread.iter().map(|on| (on.task, on.name.as_deref())));
            entry = next;
        }
        tasks.push((entry.id(), entry.info().name()));
        let mut text = String::new();
        for (position, (task, name)) in tasks.iter().enumerate() {
            text.push_str(match position {
                0 => "task ",
                1 => " waits for task ",
                _ => ", which waits for task ",
            });
            let written = match name {
                Some(name) => write!(text, "{task} `{name}`"),
                None => write!(text, "{task}"),
            };
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }

    /// The wait of a member that only an error or all of its tasks can end.
    fn firmly(&self, member: MemberKey) -> Option<&'a Wait> {
        let blocked = self.state.members[&member].blocked.as_ref()?;
        (blocked.is_patient && blocked.verdict.is_none() && blocked.wait.needs == Needs::All)
            .then_some(&blocked.wait)
    }
}

/// What a member waits for: any of these ends its wait.
fn waits(waiting: &Waiting) -> impl Iterator<Item = &Wait> {
    let listed = match &waiting.blocked {
        Some(_) => None,
        None => Some(waiting.listed.values()),
    };
    let blocked = waiting.blocked.iter().map(|blocked| &blocked.wait);
    blocked.chain(listed.into_iter().flatten())
}
