//! What the handles of a thread pool and its leases share.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::entry::Home;
use super::extra::{ExtraWorker, Extras};
use super::lease::{Lease, Work};
use super::queue::{Closed, Pushed, Queue, Worker};
use super::slot::Slot;
use super::spawner::Spawner;
use crate::error::{BoxError, Rejection, TaskError};
#[cfg(feature = "metrics")]
use crate::executor::Snapshot;
use crate::executor::{
    Admission, Capture, Observer, Observers, Place, Shutdown, Stats, TaskOptions, Times,
};
use crate::id::OwnerId;
use crate::panic;
use crate::task::{
    CellRef, Extra, Foreign, Outcome, Owner, Pool, Promise, Registration, Runnable, Strength,
    TaskFuture, TaskInfo, blocked_members, current_pool, look_again, register,
};

/// What runs in each worker before its first task.
pub(super) type Initializer = Box<dyn Fn() -> Result<(), BoxError> + Send + Sync>;

/// How many tasks there are for each one whose time in the queue is measured.
const SAMPLED: u8 = 16;

pub(super) struct Shared {
    pub(super) id: OwnerId,
    pub(super) queue: Queue,
    pub(super) admission: Admission,
    pub(super) spawner: Spawner,
    pub(super) slots: Slots,
    pub(super) extras: Extras,
    pub(super) home: Home,
    observers: Observers,
    initializer: Option<Initializer>,
    contexts: Vec<Capture>,
    /// From when the times in the queue are counted.
    epoch: Instant,
    registration: OnceLock<Registration>,
    /// A task on a shared runtime, which notices its shutdown.
    sentinel: OnceLock<AbortHandle>,
}

pub(super) fn runtime_has_shut_down() -> TaskError {
    TaskError::rejected(Rejection::Broken).caused_by("the tokio runtime of the pool has shut down")
}

impl Shared {
    pub(super) fn new(
        max_workers: usize,
        queue_limit: Option<usize>,
        spawner: Spawner,
        observers: Observers,
        initializer: Option<Initializer>,
        contexts: Vec<Capture>,
    ) -> Arc<Self> {
        let id = OwnerId::next();
        let pool = Arc::new(Self {
            id,
            queue: Queue::new(max_workers),
            admission: Admission::new(max_workers, queue_limit, None).of_pool(id),
            spawner,
            slots: Slots::default(),
            extras: Extras::default(),
            home: Home::default(),
            observers,
            initializer,
            contexts,
            epoch: Instant::now(),
            registration: OnceLock::new(),
            sentinel: OnceLock::new(),
        });
        let weak = Arc::downgrade(&pool);
        let registration = register(pool.id, weak);
        pool.registration.get_or_init(|| registration);
        if let Spawner::Runtime(handle) = &pool.spawner {
            let sentinel = Sentinel(Arc::downgrade(&pool));
            let task = handle.spawn(async move {
                let _sentinel = sentinel;
                std::future::pending::<()>().await;
            });
            pool.sentinel.get_or_init(|| task.abort_handle());
        }
        pool
    }

    #[inline]
    pub(super) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        body: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        if !self.admission.is_limited() {
            return self.push(body, options);
        }
        let coming = self.admission.coming();
        match self.admission.admit(place, 0) {
            Ok(place) => {
                // With the call, the place goes once the body and what it captured are gone.
                let body = move || {
                    let _place = place;
                    body()
                };
                let future = self.push(body, options);
                drop(coming);
                if self.admission.has_waiting() && blocked_members(self.id) > 0 {
                    // They may all wait for places, and nobody run what was queued just now.
                    look_again();
                }
                future
            }
            Err(why) => {
                self.queue.count_rejection();
                let (task, future) = TaskFuture::local(body, OwnerId::NONE, 0, options.extras());
                refuse(&task, why);
                future
            }
        }
    }

    #[inline]
    fn push<T: Send + 'static>(
        self: &Arc<Self>,
        body: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        let mut extras = options.extras();
        self.home.note(&mut extras);
        if !self.contexts.is_empty() {
            let contexts: Vec<_> = self
                .contexts
                .iter()
                .filter_map(|capture| capture())
                .collect();
            let extras = extras.get_or_insert_default();
            extras.has_all_contexts = contexts.len() == self.contexts.len();
            for context in contexts {
                extras.add_environment(context);
            }
        }
        let is_rare = extras.is_some();
        let (task, future) = TaskFuture::local(body, self.id, self.queued_at(), extras);
        match self.queue.push(task, options.urgency()) {
            Pushed::Queued => {}
            Pushed::NeedsLease => self.start_lease(),
            Pushed::Refused(task, why) => {
                refuse(&task, why);
                return future;
            }
        }
        if is_rare {
            future.cell().start_queue_clock();
        }
        self.observe(|observer| observer.queued(future.cell().info()));
        future
    }

    /// Nanoseconds since the epoch, or 0 if the time in the queue is not to be measured.
    #[inline]
    fn queued_at(&self) -> u64 {
        thread_local! {
            static TICK: Cell<u8> = const { Cell::new(0) };
        }
        let is_sampled = !self.observers.is_empty()
            || TICK
                .try_with(|tick| {
                    let now = tick.get();
                    tick.set((now + 1) % SAMPLED);
                    now == 0
                })
                .unwrap_or(false);
        if is_sampled {
            u64::try_from(self.epoch.elapsed().as_nanos()).map_or(1, |nanos| nanos.max(1))
        } else {
            0
        }
    }

    pub(super) fn since_queued(&self, queued_at: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
            .saturating_sub(Duration::from_nanos(queued_at))
    }

    #[cold]
    pub(super) fn start_lease(self: &Arc<Self>) {
        self.start(Work::Lease(Lease::new(Arc::clone(self))));
    }

    fn start(&self, work: Work) {
        if let Err((work, error)) = self.spawner.spawn(work) {
            refuse_work(work, error);
        }
    }

    /// The runtime that workers enter.
    pub(super) fn runtime(&self) -> Option<&tokio::runtime::Handle> {
        match &self.spawner {
            Spawner::Runtime(handle) => Some(handle),
            Spawner::Threads { .. } => self.home.get(),
        }
    }

    /// Gives a lease's place back. If it was the last, nobody can run what is queued.
    pub(super) fn lease_failed(&self, worker: &mut Worker, why: &TaskError) {
        reject_all(self.queue.lease_failed(worker), why);
        // Others may have counted on it.
        look_again();
    }

    /// Takes nothing any more, and rejects what is queued.
    pub(super) fn break_down(&self, why: &TaskError) {
        let ended = self.queue.break_down(why);
        self.extras.close();
        self.admission.close(why);
        reject_all(ended, why);
    }

    pub(super) fn initialize(&self) -> Result<(), TaskError> {
        let Some(initializer) = &self.initializer else {
            return Ok(());
        };
        let error = match panic::guard(initializer) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(panic) => TaskError::panicked(panic)
                .of_task(Some("initializer".into()))
                .into(),
        };
        panic::contain(|| tracing::error!(%error, "the initializer failed, and with it the pool"));
        Err(TaskError::rejected(Rejection::Broken).caused_by(error))
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> TaskFuture<()> {
        let waits_for_itself = current_pool() == self.id;
        let (promise, future) = match how.deadline {
            None => Promise::of_end(self.id),
            Some(_) => Promise::named("shutdown of the pool"),
        };
        let closer = if how.wait && !waits_for_itself {
            match how.deadline {
                Some(limit) => promise.expire_after(limit),
                // Started, so that it cannot be cancelled.
                None => assert!(promise.start(), "nobody else has the promise"),
            }
            Some(promise)
        } else {
            let result = if how.wait {
                promise.fail(TaskError::deadlock(
                    "a task waits for the shutdown of the pool that runs it",
                ))
            } else {
                promise.fulfil(()).map_err(|()| TaskError::cancelled())
            };
            debug_assert!(result.is_ok(), "nobody else has the promise");
            None
        };
        let (tasks, closed) = self.queue.close(how.cancel_pending, closer);
        self.close_admission();
        for task in tasks {
            task.cell().finish_queued(TaskError::cancelled);
        }
        closed.tell();
        future
    }

    /// Nobody can submit any more.
    pub(super) fn close(&self) {
        let (_none, closed) = self.queue.close(false, None);
        self.close_admission();
        closed.tell();
    }

    /// After the queue, which then refuses whoever needs no place any more.
    fn close_admission(&self) {
        self.extras.close();
        let why = TaskError::rejected(Rejection::ShutDown);
        self.admission.close(&why);
    }

    pub(super) fn stats(&self) -> Stats {
        // In this order: what is finished, what has started, what was submitted. So whatever is
        // seen in one of them is seen in the next, and no difference is ever negative.
        let mut finished = self.queue.counts().finished;
        let slots = self.slots.all();
        let mut ended = 0;
        for slot in &slots {
            slot.add_finished(&mut finished);
            ended += slot.ended_count();
        }
        let started: u64 = slots.iter().map(|slot| slot.started_count()).sum();
        let counts = self.queue.counts();
        let Strength {
            workers,
            free,
            extra,
        } = self.queue.strength(true);
        let (mut waiting, mut running) = (Times::none(), Times::none());
        for slot in &slots {
            slot.add_times(&mut waiting.0, &mut running.0);
        }
        Stats {
            submitted: counts.submitted,
            taken: started + counts.left,
            finished,
            rejected: counts.rejected,
            retried: 0,
            occupied: usize::try_from(started - ended).unwrap_or(usize::MAX),
            workers,
            idle: free,
            blocked: blocked_members(self.id),
            extra_workers: extra,
            max_workers: self.queue.max_leases(),
            waiting_times: waiting,
            running_times: running,
        }
    }

    #[inline]
    pub(super) fn observe(&self, tell: impl Fn(&dyn Observer)) {
        self.observers.tell(tell);
    }

    #[cfg(feature = "metrics")]
    pub(super) fn publish_metrics(&self) {
        self.observers.publish(|| Snapshot {
            stats: self.stats(),
            places: self.admission.places(),
            workers_started: 0,
        });
    }
}

impl Owner for Shared {
    fn left_queue(&self, task: TaskInfo<'_>, outcome: Outcome) {
        self.queue.left_queue(outcome);
        self.observe(|observer| observer.finished(task, outcome, None));
    }

    fn overtaken(&self, task: TaskInfo<'_>, outcome: Outcome) {
        self.queue.overtaken(outcome);
        self.observe(|observer| observer.finished(task, outcome, None));
    }
}

impl Pool for Shared {
    fn id(&self) -> OwnerId {
        self.id
    }

    fn strength(&self) -> Strength {
        self.queue.strength(!self.spawner.is_shared())
    }

    fn count_extra(&self) {
        self.queue.begin_extra();
    }

    fn has_queued(&self) -> bool {
        self.queue.has_queued()
    }

    fn has_reserved(&self) -> bool {
        self.admission.has_reserved()
    }

    fn start_extra(self: Arc<Self>, task: Extra) -> Result<(), Foreign> {
        let Some(task) = self.extras.call(task) else {
            return Ok(());
        };
        let extra = ExtraWorker::new(Arc::clone(&self), task);
        self.spawner
            .spawn(Work::Extra(extra))
            .map_err(|(work, error)| -> Foreign { Box::new(move || refuse_work(work, error)) })
    }

    fn may_run_inside(&self, task: &CellRef) -> bool {
        let has_all = || task.extras().is_some_and(|extras| extras.has_all_contexts);
        self.contexts.is_empty() || has_all()
    }

    fn begun_in_place(&self, task: &CellRef) {
        self.queue.begun_in_place(task);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // This may be anybody's thread, in the middle of a cancellation.
        panic::guarded_drop(std::mem::take(&mut self.observers));
        panic::guarded_drop(self.initializer.take());
        if let Some(sentinel) = self.sentinel.get() {
            sentinel.abort();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("spawner", &self.spawner)
            .finish_non_exhaustive()
    }
}

fn refuse_work(work: Work, error: std::io::Error) {
    panic::contain(|| tracing::warn!(%error, "no thread for a worker"));
    work.refuse(&TaskError::rejected(Rejection::Broken).caused_by(error));
}

fn refuse(task: &Runnable, why: TaskError) {
    let info = task.cell().info();
    panic::contain(
        || tracing::debug!(task.id = info.id().get(), task.name = info.name(), %why, "a task was rejected"),
    );
    task.cell().refuse(why);
}

fn reject_all((tasks, closed): (Vec<Runnable>, Closed), why: &TaskError) {
    for task in tasks {
        task.cell().finish_queued(|| why.clone());
    }
    closed.tell();
}

/// Lives in a task on a shared runtime, and is dropped with it when the runtime shuts down.
struct Sentinel(std::sync::Weak<Shared>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.break_down(&runtime_has_shut_down());
        }
    }
}

/// The counters of all workers that there ever were, and those that are free.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<SlotLists>);

#[derive(Debug, Default)]
struct SlotLists {
    all: Vec<Arc<Slot>>,
    free: std::collections::BTreeMap<usize, Arc<Slot>>,
}

impl Slots {
    fn lock(&self) -> std::sync::MutexGuard<'_, SlotLists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The free slot with the lowest number, or a new one.
    pub(super) fn take(&self) -> Arc<Slot> {
        let mut lists = self.lock();
        if let Some((_, slot)) = lists.free.pop_first() {
            return slot;
        }
        let slot = Arc::new(Slot::new(lists.all.len()));
        lists.all.push(Arc::clone(&slot));
        slot
    }

    pub(super) fn give_back(&self, slot: Arc<Slot>) {
        self.lock().free.insert(slot.worker.index(), slot);
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.lock().all.clone()
    }
}
