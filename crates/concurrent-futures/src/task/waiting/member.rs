//! The calling thread, if it is a worker's: which pool it works for, and what it runs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::blocking::Unpark;
use super::graph::{Blocked, Introduction, ListingKey, MemberKey, Pool, Role, graph, look_again};
use super::wait::Wait;
use crate::error::TaskError;
use crate::id::OwnerId;
use crate::task::cell::{CellRef, Started, tasks_on_this_thread};

/// Runs tasks on a worker's thread, and counts them.
pub(crate) trait Runner {
    /// Runs a task of the worker's pool that was begun while it lay in the queue.
    fn run(&self, task: Started);
}

/// A thread that works for a pool.
pub(crate) struct Member {
    key: MemberKey,
    pool: Arc<dyn Pool>,
    role: Role,
    runner: Box<dyn Runner>,
    stack: Stack,
    is_preparing: Cell<bool>,
    /// Futures may be listed as waited for by this thread.
    has_listed: Cell<bool>,
}

/// Where the stack of a thread begins, and how much of it there is.
struct Stack {
    base: usize,
    bytes: usize,
}

impl Stack {
    fn begin(bytes: usize) -> Self {
        Self {
            base: stack_pointer(),
            bytes,
        }
    }

    /// A body that is begun here finds as much stack as has been used so far.
    fn is_half_free(&self) -> bool {
        self.base.abs_diff(stack_pointer()) < self.bytes / 2
    }
}

#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

thread_local! {
    static MEMBER: RefCell<Option<Rc<Member>>> = const { RefCell::new(None) };
}

pub(super) fn current() -> Option<Rc<Member>> {
    MEMBER
        .try_with(|member| member.borrow().clone())
        .ok()
        .flatten()
}

/// The pool that the calling thread works for.
pub(crate) fn current_pool() -> OwnerId {
    current().map_or(OwnerId::NONE, |member| member.pool.id())
}

/// Calls `f`, which prepares the calling worker for its tasks.
pub(crate) fn prepare<R>(f: impl FnOnce() -> R) -> R {
    let member = current();
    if let Some(member) = &member {
        member.is_preparing.set(true);
    }
    let result = f();
    if let Some(member) = &member {
        member.is_preparing.set(false);
    }
    result
}

/// Ends the time in which a thread works for a pool.
#[must_use]
pub(crate) struct Leave {
    member: Rc<Member>,
    outer: Option<Rc<Member>>,
}

impl Leave {
    /// A task has ended on this thread; what it has polled is not waited for here any more.
    #[inline]
    pub(crate) fn task_ended(&self) {
        if self.member.has_listed.get() {
            self.member.has_listed.set(false);
            graph().leave(self.member.key);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let _ = MEMBER.try_with(|member| member.replace(outer));
        graph().leave(self.member.key);
    }
}

impl Member {
    /// The calling thread, with a stack of so many bytes, works for `pool` until the answer is dropped.
    pub(crate) fn enter(
        pool: Arc<dyn Pool>,
        is_extra: bool,
        runner: Box<dyn Runner>,
        stack_bytes: usize,
    ) -> Leave {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let member = Rc::new(Self {
            // Relaxed: only the uniqueness of the number matters.
            key: MemberKey(NEXT.fetch_add(1, Ordering::Relaxed)),
            pool,
            role: if is_extra { Role::Extra } else { Role::Worker },
            runner,
            stack: Stack::begin(stack_bytes),
            is_preparing: Cell::new(false),
            has_listed: Cell::new(false),
        });
        Leave {
            outer: MEMBER.with(|place| place.replace(Some(Rc::clone(&member)))),
            member,
        }
    }

    /// Runs up to `most` of those of the tasks that lie in the queue of this member's pool. True if there
    /// was one.
    ///
    /// Not those with a limit to their running time: it would pass unseen by who waits for them here. Not
    /// while this thread unwinds, which a body could see. And not those for which this is no place.
    pub(super) fn run_in_place(&self, tasks: &[CellRef], most: usize) -> bool {
        let mut run = 0;
        for task in tasks {
            let may_run = run < most
                && task.owner() == self.pool.id()
                && !task.is_open_to_others()
                && self.stack.is_half_free()
                && !std::thread::panicking()
                && self.pool.may_run_inside(task);
            if let Some(started) = may_run.then(|| task.begin()).flatten() {
                run += 1;
                self.pool.begun_in_place(task);
                self.runner.run(started);
            }
        }
        run > 0
    }

    /// This thread is about to block for `wait`; `is_patient` if that has no time limit. `None` if
    /// something has changed meanwhile.
    pub(super) fn block(
        &self,
        wait: Wait,
        is_patient: bool,
        unpark: &Arc<Unpark>,
    ) -> Option<Blocking<'_>> {
        let blocked = Blocked {
            wait,
            is_patient,
            unpark: Arc::clone(unpark),
            verdict: None,
        };
        let blocking = Blocking(self);
        match graph().block(self.introduce(), blocked) {
            None => Some(blocking),
            Some(foreign) => {
                // It may wait in turn.
                blocking.end();
                foreign();
                None
            }
        }
    }

    /// A future that was polled on this thread waits.
    pub(super) fn list(&self, key: ListingKey, wait: Wait) {
        self.has_listed.set(true);
        if let Some(foreign) = graph().list(self.introduce(), key, wait) {
            foreign();
            look_again();
        }
    }

    /// What the graph has to know of this member before it hears of a wait.
    fn introduce(&self) -> Introduction<'_> {
        Introduction {
            key: self.key,
            pool: &self.pool,
            role: self.role,
            is_preparing: self.is_preparing.get(),
            tasks: tasks_on_this_thread(),
        }
    }
}

/// The time in which a member blocks.
pub(super) struct Blocking<'a>(&'a Member);

impl Blocking<'_> {
    /// Ends it. The error, if the wait could never have ended by itself.
    pub(super) fn end(self) -> Option<TaskError> {
        let (verdict, foreign) = graph().unblock(self.0.key);
        if let Some(foreign) = foreign {
            foreign();
            look_again();
        }
        verdict
    }
}
