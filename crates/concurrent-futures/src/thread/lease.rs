//! A lease: one worker's tenure of a thread, in which it works off the queue.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::{Next, Worker};
use super::shared::{Shared, runtime_has_shut_down};
use super::slot::Slot;
use crate::error::{Rejection, TaskError};
use crate::executor::Run;
use crate::id::OwnerId;
use crate::task::{Outcome, Recorder, Runnable, TaskInfo};

/// How long a lease on a shared runtime works before it lets others have its thread.
const SHARED_TENURE: Duration = Duration::from_millis(50);

thread_local! {
    /// The pool whose lease this thread is, also in callbacks, drops and initializers.
    static POOL: Cell<OwnerId> = const { Cell::new(OwnerId::NONE) };
}

/// The pool whose lease the calling thread is.
pub(super) fn current_pool() -> OwnerId {
    POOL.try_with(Cell::get).unwrap_or(OwnerId::NONE)
}

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
        let outer = POOL.replace(self.pool.id);
        match self.pool.initialize() {
            Ok(()) => {
                let slot = self.pool.slots.take();
                work(&self.pool, &slot, &mut self.worker);
                self.pool.slots.give_back(slot);
            }
            Err(why) => {
                self.pool.break_down(&why);
                self.pool.lease_failed(&mut self.worker, &why);
            }
        }
        self.has_ended = true;
        POOL.set(outer);
    }

    /// Somebody else gives the place back.
    pub(super) fn forget(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.has_ended {
            let why = if std::thread::panicking() {
                TaskError::rejected(Rejection::Broken).caused_by("a worker of the pool panicked")
            } else {
                runtime_has_shut_down()
            };
            self.pool.lease_failed(&mut self.worker, &why);
        }
    }
}

fn work(pool: &Arc<Shared>, slot: &Slot, worker: &mut Worker) {
    let linger = pool.spawner.linger();
    let mut entered = None;
    let mut record = Record {
        pool,
        slot,
        clock: Instant::now(),
    };
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
                record.run(task);
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

/// What a lease notes of the tasks that it runs.
struct Record<'a> {
    pool: &'a Shared,
    slot: &'a Slot,
    /// When the running task began. At its end this becomes the start of the next, which is what
    /// makes one clock read a task do.
    clock: Instant,
}

impl Record<'_> {
    fn run(&mut self, task: Runnable) {
        let queued_at = task.cell().queued_at();
        let Some(task) = task.start() else { return };
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
