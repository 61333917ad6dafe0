//! A lease: one worker's tenure of a thread, in which it works off the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::extra::ExtraWorker;
use super::queue::{Next, Worker};
use super::shared::{Shared, runtime_has_shut_down};
use super::slot::Slot;
use crate::error::{Rejection, TaskError};
use crate::executor::Run;
use crate::task::{Leave, Member, Outcome, Recorder, Runner, Started, TaskInfo, prepare};

/// How long a lease on a shared runtime works before it lets others have its thread.
const SHARED_TENURE: Duration = Duration::from_millis(50);

/// A place among the pool's leases. Dropped before its end was counted, it is given back.
pub(super) struct Lease {
    pool: Arc<Shared>,
    worker: Worker,
    has_ended: bool,
}

impl Lease {
    pub(super) fn new(pool: Arc<Shared>) -> Self {
        Self {
            pool,
            worker: Worker::new(),
            has_ended: false,
        }
    }

    /// Works off the queue until it stays empty.
    pub(super) fn run(mut self) {
        let post = Post::take(&self.pool);
        self.pool.queue.lease_began(&mut self.worker);
        let member = post.enter(false);
        match prepare(|| self.pool.initialize()) {
            Ok(()) => post.work(&mut self.worker, &member),
            Err(why) => {
                self.pool.break_down(&why);
                self.pool.lease_failed(&mut self.worker, &why);
            }
        }
        self.has_ended = true;
        drop(member);
        post.leave();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.has_ended {
            let why = lost_worker();
            self.pool.lease_failed(&mut self.worker, &why);
        }
    }
}

/// What a thread is started for.
pub(super) enum Work {
    Lease(Lease),
    Extra(ExtraWorker),
}

impl Work {
    pub(super) fn run(self) {
        match self {
            Self::Lease(lease) => lease.run(),
            Self::Extra(extra) => extra.run(),
        }
    }

    /// There is no thread for it.
    pub(super) fn refuse(self, why: &TaskError) {
        match self {
            Self::Lease(mut lease) => {
                lease.has_ended = true;
                lease.pool.lease_failed(&mut lease.worker, why);
            }
            Self::Extra(extra) => extra.refuse(why),
        }
    }
}

pub(super) fn lost_worker() -> TaskError {
    if std::thread::panicking() {
        TaskError::rejected(Rejection::Broken).caused_by("a worker of the pool panicked")
    } else {
        runtime_has_shut_down()
    }
}

/// A worker's thread and what is counted there.
#[derive(Clone)]
pub(super) struct Post {
    pool: Arc<Shared>,
    slot: Arc<Slot>,
}

impl Post {
    pub(super) fn take(pool: &Arc<Shared>) -> Self {
        Self {
            slot: pool.slots.take(),
            pool: Arc::clone(pool),
        }
    }

    /// The calling thread works for the pool until the answer is dropped.
    pub(super) fn enter(&self, is_extra: bool) -> Leave {
        let pool = Arc::clone(&self.pool);
        let stack_bytes = pool.spawner.stack_bytes(is_extra);
        Member::enter(pool, is_extra, Box::new(self.clone()), stack_bytes)
    }

    pub(super) fn leave(self) {
        self.pool.slots.give_back(self.slot);
    }

    fn record(&self) -> Record<'_> {
        Record {
            pool: &self.pool,
            slot: &self.slot,
            clock: Instant::now(),
        }
    }

    /// Works off the queue until it stays empty.
    fn work(&self, worker: &mut Worker, member: &Leave) {
        let pool = &self.pool;
        let linger = pool.spawner.linger();
        let mut entered = None;
        let mut record = self.record();
        let tenure_end = pool
            .spawner
            .is_shared()
            .then(|| record.clock + SHARED_TENURE);
        loop {
            match pool.queue.next(worker, linger) {
                Next::Task {
                    task,
                    has_waited,
                    needs_lease,
                } => {
                    if needs_lease {
                        pool.start_lease();
                    }
                    if entered.is_none() {
                        entered = pool.home.get().map(tokio::runtime::Handle::enter);
                    }
                    if has_waited {
                        record.clock = Instant::now();
                    }
                    if let Some(task) = task.start() {
                        record.run(task);
                        member.task_ended();
                    }
                }
                Next::End(closed) => return closed.tell(),
            }
            if tenure_end.is_some_and(|end| record.clock >= end) {
                return match pool.queue.hand_over(worker) {
                    Ok(()) => pool.start_lease(),
                    Err(closed) => closed.tell(),
                };
            }
        }
    }
}

impl Runner for Post {
    fn run(&self, task: Started) {
        self.record().run(task);
    }
}

/// What a lease notes of the tasks that it runs.
struct Record<'a> {
    pool: &'a Shared,
    slot: &'a Slot,
    /// When the running task began. At its end this becomes the start of the next, which is what
    /// makes one clock read a task do.
    clock: Instant,
}

impl Record<'_> {
    #[inline]
    fn run(&mut self, task: Started) {
        let queued_at = task.cell().queued_at();
        self.slot.started();
        if queued_at != 0 {
            let waited = self.pool.since_queued(queued_at, self.clock);
            self.slot.waited(waited);
            self.pool
                .observe(|observer| observer.started(task.cell().info(), self.slot.worker, waited));
        }
        task.run(self);
    }

    /// The body has ended. Gives the time that it took.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let time = now.saturating_duration_since(self.clock);
        self.clock = now;
        time
    }
}

impl Recorder for Record<'_> {
    #[inline]
    fn finished(&mut self, task: TaskInfo<'_>, outcome: Outcome) {
        let time = self.lap();
        self.slot.ended(Some(outcome), time);
        self.pool.observe(|observer| {
            let worker = self.slot.worker;
            observer.finished(task, outcome, Some(Run { worker, time }));
        });
    }

    fn told(&mut self) {
        // Their time is not the next task's.
        self.clock = Instant::now();
    }

    fn overtaken(&mut self) {
        let time = self.lap();
        self.slot.ended(None, time);
    }
}
