//! What the handles of a pool of processes and its threads share.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use histogram::AtomicHistogram;

use super::admission;
use super::callbacks::Callbacks;
use super::limits::RunClock;
use super::options::Options;
use super::output::Journal;
use super::state::{Actions, PoolPhase, Resolved, State};
use super::supervisor::{self, Notifier};
use super::task::{Arguments, ChunkState, LargeArguments, RemoteTask, Terms, most_leases};
use super::wait_set::Control;
use super::worker_state::{Completion, Gone};
use crate::error::{Direction, Ran, Rejection, TaskError};
use crate::executor::{
    Admission, GROUPING_POWER, MAX_VALUE_POWER, Place, Portable, Run, Shutdown, TaskOptions,
};
use crate::id::OwnerId;
use crate::panic;
use crate::process::call::encode;
use crate::process::large::{Outgoing, Shelf};
use crate::process::record::Name;
use crate::process::ring::{Phase, TASK_BYTES};
use crate::process::sys::{self, Signal};
use crate::process::{carried, clock};
use crate::task::{
    AbortOutcome, CellRef, Encoded, Outcome, Owner, Payload, Promise, Registration, TaskFuture,
    TaskInfo, register,
};
use crate::time::{Alarm, schedule};

/// How many tasks there are for each one whose time in the queue is measured.
const SAMPLED: u8 = 16;

/// Memory for encoding that a thread keeps.
const MOST_KEPT: usize = 1 << 16;

/// Memory for large arguments that a pool keeps, in bytes.
const MOST_SHELVED: usize = 256 << 20;

pub(in crate::process) struct Shared {
    pub(in crate::process) id: OwnerId,
    pub(in crate::process) options: Options,
    pub(in crate::process) state: Mutex<State>,
    pub(super) admission: Admission,
    /// Wakes the collector.
    pub(in crate::process) control: Arc<Control>,
    /// Wakes the supervisor.
    pub(in crate::process) notifier: Notifier,
    /// Where results go after what their tasks have written, if that is captured.
    pub(in crate::process) journal: Option<Arc<Journal>>,
    pub(in crate::process) callbacks: Callbacks,
    /// Workers that are gone, for the collector.
    exits: Mutex<Vec<Gone>>,
    pub(super) waiting_times: AtomicHistogram,
    pub(super) running_times: AtomicHistogram,
    registration: OnceLock<Registration>,
    /// For those who must not keep the pool.
    pub(in crate::process) me: Weak<Self>,
    /// Memory for large arguments.
    pub(in crate::process) shelf: Arc<Shelf>,
    /// Of the process in which the pool was made: a fork has a copy that must not touch anything.
    generation: u32,
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Shared {
    pub(in crate::process) fn new(options: Options) -> Arc<Self> {
        let histogram =
            || AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect("the powers are valid");
        let shelf = Shelf::new(most_leases(), MOST_SHELVED);
        let pool = Arc::new_cyclic(|me| Self {
            id: OwnerId::next(),
            callbacks: Callbacks::new(&options.name),
            state: Mutex::new(State::new(
                !options.observers.is_empty(),
                Arc::clone(&shelf),
            )),
            admission: Admission::new(
                options.max_workers(),
                options.queue_limit,
                options.queue_bytes,
            )
            .of_generation(sys::generation),
            journal: options.capture_output.then(Arc::default),
            options,
            control: Arc::default(),
            notifier: Notifier::default(),
            exits: Mutex::default(),
            waiting_times: histogram(),
            running_times: histogram(),
            registration: OnceLock::new(),
            me: me.clone(),
            shelf,
            generation: sys::generation(),
        });
        let weak: Weak<Self> = Arc::downgrade(&pool);
        let registration = register(pool.id, weak);
        pool.registration.get_or_init(|| registration);
        pool
    }

    pub(in crate::process) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::process) fn exits(&self) -> MutexGuard<'_, Vec<Gone>> {
        self.exits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what was found to be done, without the lock.
    pub(in crate::process) fn act(&self, actions: Actions) {
        let Actions {
            wake,
            resolved,
            notify,
            limits,
            begun,
            retried,
            retry,
            closed,
            warmed,
            unfinalized,
            outgrown,
            discarded,
        } = actions;
        if let Some(why) = closed {
            // First: the places of what was resolved go to nobody then.
            self.admission.close(&why);
        }
        for link in wake {
            link.wake();
        }
        if notify {
            self.notifier.notify();
        }
        if retry {
            self.control.ring();
        }
        for (launch, number, limit) in limits {
            self.start_clock(RunClock::new(launch, number, limit), limit);
        }
        for (task, worker, now) in begun {
            let waited = Duration::from_nanos(now.saturating_sub(task.queued_at()));
            self.observe(|observer| observer.started(task.info(), worker, waited));
        }
        for (task, error) in retried {
            task.in_span(|| {
                let task = task.info();
                tracing::warn!(task.id = task.id().get(), task.name = task.name(), %error, "a worker process was lost, and its task is tried again");
            });
        }
        for (pid, bytes) in outgrown {
            panic::contain(|| {
                tracing::info!(
                    pid,
                    bytes,
                    "a worker process has more memory than it may keep, and is replaced"
                );
            });
        }
        for resolved in resolved {
            match &self.journal {
                None => self.give(resolved),
                Some(journal) => {
                    if let Err(resolved) = journal.give(resolved) {
                        self.give(*resolved);
                    }
                }
            }
        }
        for (pid, why) in unfinalized {
            panic::contain(|| {
                tracing::warn!(pid, why, "the finalizer of a worker process failed");
            });
        }
        for (promise, error) in warmed {
            match error {
                None => promise.fulfil(Payload::new().into()),
                Some(error) => promise.fail(error),
            }
        }
        drop(discarded);
    }

    pub(super) fn give(&self, resolved: Resolved) {
        let Resolved {
            task,
            completion,
            run,
            begun,
        } = resolved;
        if let Some((_, nanos)) = run {
            // Values beyond the last bucket are not counted.
            let _ = self.running_times.increment(nanos);
            let queued_at = task.cell().queued_at();
            if queued_at != 0 {
                let _ = self
                    .waiting_times
                    .increment(begun.saturating_sub(queued_at));
            }
        }
        if !self.options.observers.is_empty() {
            let run = run.map(|(worker, nanos)| Run {
                worker,
                time: Duration::from_nanos(nanos),
            });
            let outcome = match &completion {
                Completion::Value(_) | Completion::Chunk => Outcome::Succeeded,
                Completion::Error(error) => Outcome::of_error(error),
            };
            let info = task.cell().info();
            self.observe(|observer| observer.finished(info, outcome, run));
        }
        match completion {
            Completion::Value(value) => task.fulfil(value),
            Completion::Chunk => task.fulfil_chunk(),
            Completion::Error(error) => {
                if error.is_worker_lost() {
                    let cell = task.cell();
                    cell.in_span(|| {
                        let task = cell.info();
                        tracing::warn!(task.id = task.id().get(), task.name = task.name(), %error, "a worker process was lost");
                    });
                }
                task.fail(error);
            }
        }
    }

    pub(in crate::process) fn observe(&self, tell: impl Fn(&dyn crate::executor::Observer)) {
        self.options.observers.tell(tell);
    }

    /// If the thread that holds it panics, nothing is left pending.
    pub(in crate::process) fn guard(self: &Arc<Self>, is_supervisor: bool) -> ThreadGuard {
        ThreadGuard {
            pool: Arc::clone(self),
            is_supervisor,
        }
    }

    /// A thread of the pool is gone, and with it what it was to do.
    fn give_up_all(&self, is_supervisor: bool) {
        let why = TaskError::rejected(Rejection::Broken)
            .caused_by("a thread of the pool has panicked, which is a defect of this library");
        let mut actions = Actions::default();
        let mut state = self.lock();
        state.abandon_all(&why, &mut actions);
        state.has_supervisor &= !is_supervisor;
        let closers = std::mem::take(&mut state.closers);
        drop(state);
        self.act(actions);
        for (closer, _) in closers {
            let _ = closer.fail(why.clone());
        }
        self.control.ring();
    }

    /// This process is a fork of the one that made the pool: it has neither its threads nor its shared
    /// memory, and a lock may be held by nobody.
    pub(super) fn is_copy(&self) -> bool {
        self.generation != sys::generation()
    }

    // ---- Submitting

    /// Runs the call `name` with encoded arguments.
    pub(in crate::process) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        name: Name,
        arguments: Result<Arguments, TaskError>,
        chunk: Option<Box<ChunkState>>,
        decode: fn(&Encoded) -> Result<T, TaskError>,
        place: Option<Place>,
        options: &TaskOptions,
    ) -> TaskFuture<T> {
        if self.is_copy() {
            return TaskFuture::ready(Err(admission::copy()));
        }
        let extras = options.extras();
        let task_name = extras.as_ref().and_then(|extras| extras.name.as_deref());
        let carried = carried::pack(task_name, &self.options.contexts);
        let is_rare = extras.is_some();
        let (promise, future) = TaskFuture::remote(decode, self.id, self.queued_at(), extras);
        let size = arguments.as_ref().map_or(0, Arguments::size);
        let place = match self.admission.admit(place, size) {
            Ok(place) => place,
            Err(why) => {
                self.refuse(promise, why);
                return future;
            }
        };
        let (arguments, carried) = match arguments.and_then(|arguments| Ok((arguments, carried?))) {
            Ok(all) => all,
            Err(error) => {
                let mut state = self.lock();
                state.counts.submitted += 1;
                state.counts.finished[Outcome::of_error(&error) as usize] += 1;
                drop(state);
                let info = future.cell().info();
                let outcome = Outcome::of_error(&error);
                self.observe(|observer| observer.queued(info));
                self.observe(|observer| observer.finished(info, outcome, None));
                promise.fail(error);
                return future;
            }
        };
        let task = RemoteTask {
            promise,
            call: name,
            arguments,
            chunk,
            returns: 0,
            was_told: false,
            is_due: false,
            terms: Terms::of(place, carried, options),
        };
        if let Err(error) = self.push(task) {
            let (task, why) = *error;
            admission::trace_rejection(task.cell(), &why);
            task.fail(why);
            return future;
        }
        if is_rare {
            future.cell().start_queue_clock();
        }
        if !self.options.observers.is_empty() {
            self.observe(|observer| observer.queued(future.cell().info()));
        }
        future
    }

    /// Gives workers what had to wait.
    pub(super) fn hand_over(&self) {
        let mut actions = Actions::default();
        let mut state = self.lock();
        state.dispatch(&self.options, clock::now(), &mut actions);
        drop(state);
        self.act(actions);
    }

    fn push(self: &Arc<Self>, task: RemoteTask) -> Result<(), Box<(RemoteTask, TaskError)>> {
        // The time is only for who observes or is limited; for others the hand-over is older than any
        // time that a worker says.
        let now = if !self.options.observers.is_empty() || task.run_timeout().is_some() {
            clock::now()
        } else {
            0
        };
        let mut actions = Actions::default();
        let mut state = self.lock();
        if let Some(why) = state.refusal() {
            state.counts.rejected += 1;
            return Err(Box::new((task, why)));
        }
        state.counts.submitted += 1;
        state.enqueue(task);
        state.dispatch(&self.options, now, &mut actions);
        self.release(state, actions);
        Ok(())
    }

    /// Releases the lock and does what was found to be done, for which there may have to be a supervisor.
    pub(super) fn release(self: &Arc<Self>, mut state: MutexGuard<'_, State>, actions: Actions) {
        let needs_supervisor = actions.notify && !state.has_supervisor;
        state.has_supervisor |= needs_supervisor;
        drop(state);
        if needs_supervisor {
            if let Err(error) = supervisor::start(self) {
                self.no_supervisor(error);
            }
        }
        self.act(actions);
    }

    /// The system refuses the thread that would start workers.
    pub(in crate::process) fn no_supervisor(&self, error: std::io::Error) {
        let why = TaskError::rejected(Rejection::Broken).caused_by(error);
        let mut actions = Actions::default();
        let mut state = self.lock();
        state.has_supervisor = false;
        state.asked_starts = 0;
        state.reject_queue(&why, &mut actions);
        state.give_up_warm_ups(&why, &mut actions);
        let closers = std::mem::take(&mut state.closers);
        drop(state);
        self.act(actions);
        for (closer, _) in closers {
            let _ = closer.fulfil(());
        }
    }

    /// Nanoseconds of the monotonic clock, or 0 if the time in the queue is not to be measured.
    fn queued_at(&self) -> u64 {
        thread_local! {
            static TICK: Cell<u8> = const { Cell::new(0) };
        }
        let is_sampled = !self.options.observers.is_empty()
            || TICK
                .try_with(|tick| {
                    let now = tick.get();
                    tick.set((now + 1) % SAMPLED);
                    now == 0
                })
                .unwrap_or(false);
        if is_sampled { clock::now() } else { 0 }
    }

    /// Calls `encode` with an empty buffer, and makes arguments of what it wrote. Refuses what is too
    /// large, before anything is sent.
    pub(in crate::process) fn encoded(
        &self,
        encode: impl FnOnce(&mut Vec<u8>, &mut Outgoing<'_>) -> Result<(), TaskError>,
    ) -> Result<Arguments, TaskError> {
        if self.is_copy() {
            // What the shelf has belongs to another process.
            return Err(admission::copy());
        }
        let limit = self.options.max_payload;
        // Taken out while it is used: a `Serialize` may itself submit.
        let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        let mut outgoing = Outgoing::new(&self.shelf, limit).of_slot();
        encode(&mut buffer, &mut outgoing)?;
        let size = outgoing.wanted().saturating_add(buffer.len() as u64);
        if size > limit {
            return Err(TaskError::too_large(size, limit, Ran::No));
        }
        // Where there is no memory for them now, they are put there when the task is handed over.
        let value_at = match buffer.len() > TASK_BYTES {
            true => outgoing.append(&buffer).ok(),
            false => None,
        };
        let bytes = if value_at.is_some() {
            Payload::new()
        } else if buffer.len() > MOST_KEPT {
            Payload::from_vec(std::mem::take(&mut buffer))
        } else {
            Payload::from_slice(&buffer)
        };
        if buffer.capacity() <= 2 * MOST_KEPT {
            let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
        }
        Ok(match outgoing.into_lease() {
            None => Arguments::Bytes(bytes),
            Some(lease) => Arguments::Large(Arc::new(LargeArguments {
                bytes,
                lease,
                value_at,
            })),
        })
    }

    /// Encodes the items of a chunk. One that cannot be encoded becomes an error in its place.
    pub(in crate::process) fn encode_items<A: Portable>(
        &self,
        items: Vec<A>,
    ) -> (Payload, Box<ChunkState>) {
        let count = items.len();
        let mut buffer = Vec::with_capacity(16 * count);
        let limit = self
            .options
            .max_payload
            .min(crate::process::items::MOST_BYTES);
        for item in items {
            crate::process::items::push_with(&mut buffer, |out| {
                let start = out.len();
                let result = encode(&item, out, Direction::EncodeArguments).and_then(|()| {
                    let size = (out.len() - start) as u64;
                    if size > limit {
                        return Err(TaskError::too_large(size, limit, Ran::No));
                    }
                    Ok(())
                });
                panic::guarded_drop(item);
                match result {
                    Ok(()) => crate::process::items::VALUE,
                    Err(error) => {
                        out.truncate(start);
                        crate::process::call::encode_error(&error, out);
                        crate::process::items::ERROR
                    }
                }
            });
        }
        (Payload::from_vec(buffer), Box::new(ChunkState::new(count)))
    }

    // ---- Ending

    pub(in crate::process) fn shutdown(self: &Arc<Self>, how: Shutdown) -> TaskFuture<()> {
        let (promise, future) = Promise::named("shutdown of the pool");
        if self.is_copy() {
            let _ = promise.fulfil(());
            return future;
        }
        let closer = if how.wait {
            assert!(promise.start(), "nobody else has the promise");
            Some(promise)
        } else {
            let _ = promise.fulfil(());
            None
        };
        let closer = closer.map(|closer| (closer, how.deadline.is_some()));
        self.close_with(closer, |state, actions| {
            if how.cancel_pending {
                state.cancel_all(actions);
            }
        });
        if let Some(limit) = how.deadline.filter(|_| how.wait) {
            self.end_at(limit);
        }
        future
    }

    /// Nobody can submit any more.
    pub(in crate::process) fn close(&self) {
        self.close_with(None, |_, _| {});
    }

    /// Takes nothing any more, and ends all workers.
    pub(in crate::process) fn end_all(&self, signal: Signal) {
        self.close_with(None, |state, actions| state.end_all(signal, actions));
    }

    fn close_with(
        &self,
        closer: Option<(Promise<()>, bool)>,
        more: impl FnOnce(&mut State, &mut Actions),
    ) {
        if self.is_copy() {
            return;
        }
        let mut actions = Actions::default();
        let now = clock::now();
        let mut state = self.lock();
        if state.is_open() {
            state.phase = PoolPhase::ShutDown;
            let why = TaskError::rejected(Rejection::ShutDown);
            state.give_up_warm_ups(&why, &mut actions);
            actions.closed = Some(why);
        }
        more(&mut state, &mut actions);
        state.dispatch(&self.options, now, &mut actions);
        state.closers.extend(closer);
        actions.notify = true;
        let closers = if state.has_supervisor {
            Vec::new()
        } else {
            std::mem::take(&mut state.closers)
        };
        drop(state);
        self.act(actions);
        for (closer, _) in closers {
            // Nobody else has it.
            let _ = closer.fulfil(());
        }
    }

    /// At the deadline of a shutdown, what runs is ended; its waits end when that is done.
    fn end_at(self: &Arc<Self>, limit: Duration) {
        let alarm = Arc::new(ShutdownDeadline {
            pool: Arc::downgrade(self),
            limit,
        });
        if let Some(at) = Instant::now().checked_add(limit) {
            match schedule(at, alarm) {
                Ok(timer) => self.lock().deadlines.push(timer),
                Err(error) => panic::contain(|| {
                    tracing::error!(%error, "no thread for the deadline of a shutdown");
                }),
            }
        }
    }
}

impl Owner for Shared {
    fn left_queue(&self, task: TaskInfo<'_>, outcome: Outcome) {
        if self.is_copy() {
            return;
        }
        let mut state = self.lock();
        state.counts.finished[outcome as usize] += 1;
        drop(state);
        self.observe(|observer| observer.finished(task, outcome, None));
    }

    fn overtaken(&self, _task: TaskInfo<'_>, _outcome: Outcome) {
        debug_assert!(false, "a remote task is made final by its pool only");
    }

    fn withdraw(&self, task: &CellRef) -> bool {
        if self.is_copy() {
            return task.claim_queued();
        }
        let mut actions = Actions::default();
        let mut state = self.lock();
        let is_withdrawn = state.withdraw(task, &mut actions);
        if is_withdrawn {
            state.dispatch(&self.options, clock::now(), &mut actions);
        }
        drop(state);
        self.act(actions);
        is_withdrawn
    }

    fn has_begun(&self, task: &CellRef) -> bool {
        if self.is_copy() {
            return false;
        }
        let state = self.lock();
        let has_begun = state.place_of(task).is_some_and(|(index, number)| {
            !matches!(
                state.workers[index].phase(number),
                None | Some(Phase::Handed | Phase::Taken)
            )
        });
        if has_begun {
            task.note_start();
        }
        has_begun
    }

    fn abort(&self, task: &CellRef) -> AbortOutcome {
        if self.is_copy() {
            return AbortOutcome::Requested;
        }
        let mut actions = Actions::default();
        let mut state = self.lock();
        let is_stopped = state.abort(task, &mut actions);
        state.dispatch(&self.options, clock::now(), &mut actions);
        drop(state);
        self.act(actions);
        if is_stopped {
            AbortOutcome::Stopped
        } else {
            AbortOutcome::Finished
        }
    }

    fn ask_to_stop(&self, task: &CellRef) {
        if self.is_copy() {
            return;
        }
        let mut actions = Actions::default();
        self.lock().ask_to_stop(task, &mut actions);
        self.act(actions);
    }

    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        self.callbacks.run(run);
    }
}

pub(in crate::process) struct ThreadGuard {
    pool: Arc<Shared>,
    is_supervisor: bool,
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pool.give_up_all(self.is_supervisor);
        }
    }
}

struct ShutdownDeadline {
    pool: Weak<Shared>,
    limit: Duration,
}

impl Alarm for ShutdownDeadline {
    fn ring(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.lock().overdue = Some(self.limit);
            pool.end_all(Signal::TERM);
        }
    }
}
