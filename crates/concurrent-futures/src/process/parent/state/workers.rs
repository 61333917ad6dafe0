//! Workers that come and go.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Actions, PoolPhase, State};
use crate::error::{BoxError, Loss, Ran, Rejection, TaskError, WorkerExit};
use crate::process::frame::task;
use crate::process::parent::options::Options;
use crate::process::parent::output::Pipes;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::{
    Completion, Ending, Gone, Handed, Life, Link, Refusal, Worker,
};
use crate::process::record;
use crate::process::ring::{Phase, Violation};
use crate::process::sys::{FatalNote, Signal};

/// How a worker could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum FailedStart {
    /// The system has refused it.
    Refused,
    /// It has died in its initializer.
    Initializer,
    /// It has died before it had done anything.
    Unused,
}

impl FailedStart {
    /// How many there may be in a row, while there is no other worker, before the tasks that wait fail.
    fn most(self) -> u32 {
        match self {
            Self::Refused | Self::Initializer => 3,
            // It may be somebody outside who ends them, and soon stops. With the pauses it is less than
            // a second.
            Self::Unused => 8,
        }
    }
}

/// How many workers may be gone that were to begin a task next, before it fails: it may be the task
/// that they cannot take.
const MOST_RETURNS: u32 = 32;

/// How long the next start waits after a failed one, in nanoseconds; it doubles with each.
const FIRST_PAUSE: u64 = 5_000_000;

/// Where a worker does not stay that keeps to the rules: its first task is not begun, or is done and has no
/// result yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Rest {
    number: u64,
    phase: Phase,
}

impl State {
    /// A process was started.
    pub(in crate::process) fn launched(
        &mut self,
        link: Arc<Link>,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        self.asked_starts = self.asked_starts.saturating_sub(1);
        self.links_version += 1;
        let place = self.places.take();
        let mut worker = Worker::new(link, place, now);
        let finalizer = options.finalizer.iter();
        let initializer = options.initializer.iter();
        let shelf = &self.shelf;
        let told = (finalizer.map(|call| (task::FINALIZE, call)))
            .chain(initializer.map(|call| (task::INITIALIZE, call)))
            .try_for_each(|(kind, (call, argument))| {
                worker.send_call(kind, *call, argument, shelf)
            });
        actions.wake.push(Arc::clone(&worker.link));
        self.workers.push(worker);
        // This is the supervisor's thread.
        self.is_work_watched = true;
        if let Err(refusal) = told {
            let why: BoxError = match refusal {
                Refusal::Lacking(error) => error.into(),
                Refusal::Full | Refusal::Violation(_) => {
                    "the initializer or the finalizer cannot be sent".into()
                }
            };
            let index = self.workers.len() - 1;
            self.end(index, Ending::Unready, Signal::KILL, actions);
            self.start_failed(why, FailedStart::Refused, now, actions);
        }
        self.dispatch(options, now, actions);
    }

    /// A worker could not be started, or died before it had done anything.
    pub(in crate::process) fn start_failed(
        &mut self,
        why: BoxError,
        how: FailedStart,
        now: u64,
        actions: &mut Actions,
    ) {
        self.failed_starts += 1;
        let why = TaskError::rejected(Rejection::NoWorker).caused_by(why);
        self.warm_up_failed(&why, actions);
        let has_others = self.workers.iter().any(|worker| {
            worker.life == Life::Ready
                || (how == FailedStart::Refused && worker.life == Life::Starting)
        });
        if !has_others && self.failed_starts >= how.most() {
            self.failed_starts = 0;
            self.reject_queue(&why, actions);
            return;
        }
        let pause = FIRST_PAUSE << self.failed_starts.min(9);
        self.no_start_before = now.saturating_add(pause);
        actions.notify = true;
    }

    /// Takes nothing any more, and rejects what is queued.
    pub(in crate::process) fn break_down(&mut self, why: &TaskError, actions: &mut Actions) {
        if self.is_open() {
            self.phase = PoolPhase::Broken(why.clone());
            actions.closed = Some(why.clone());
        }
        self.give_up_all(why, actions);
        self.give_up_warm_ups(why, actions);
        actions.notify = true;
    }

    /// A worker was not ready in time: nor will another be.
    pub(in crate::process) fn start_timed_out(
        &mut self,
        launch: u64,
        why: String,
        actions: &mut Actions,
    ) {
        let Some(index) = self.index_of(launch) else {
            return;
        };
        if self.workers[index].life != Life::Starting {
            return;
        }
        let why = TaskError::rejected(Rejection::Broken).caused_by(why);
        self.break_down(&why, actions);
        self.end(index, Ending::Unready, Signal::KILL, actions);
    }

    pub(in crate::process) fn reject_queue(&mut self, why: &TaskError, actions: &mut Actions) {
        self.withdrawn = 0;
        for task in self.queue.take_all() {
            self.give_up(task, why, actions);
        }
    }

    /// Gives up all that has not begun, wherever it lies.
    pub(super) fn give_up_all(&mut self, why: &TaskError, actions: &mut Actions) {
        self.reject_queue(why, actions);
        for task in std::mem::take(&mut self.pinned) {
            self.give_up(task, why, actions);
        }
        for index in 0..self.workers.len() {
            let taken = self.workers[index].take_back_all();
            for task in taken.into_iter().rev() {
                self.give_up(task, why, actions);
            }
        }
    }

    /// Ends a task that no worker has. What a chunk has got so far it keeps, and what waits to be tried
    /// again was lost.
    pub(super) fn give_up(&mut self, mut task: RemoteTask, why: &TaskError, actions: &mut Actions) {
        if !task.cell().is_unfinished() {
            actions.discarded.push(task);
            return;
        }
        let loss = task.take_loss().filter(|_| !why.is_aborted());
        let completion = match &mut task.chunk {
            Some(chunk) if chunk.done > 0 || loss.is_some() => {
                if let Some(loss) = loss {
                    chunk.push_error(&loss);
                }
                for _ in 0..chunk.left() {
                    chunk.push_error(why);
                }
                Completion::Chunk
            }
            _ => Completion::Error(loss.unwrap_or_else(|| why.clone())),
        };
        self.resolve(task, completion, None, 0, actions);
    }

    /// A worker process is gone, and all that it had said was taken in.
    pub(in crate::process) fn lost(
        &mut self,
        gone: &Gone,
        options: &Options,
        now: u64,
        actions: &mut Actions,
    ) {
        let Some(index) = self.index_of(gone.launch) else {
            return;
        };
        let mut worker = self.workers.swap_remove(index);
        self.links_version += 1;
        self.places.free.insert(worker.place.index());
        actions.notify = true;
        let was_starting = worker.life == Life::Starting;
        let was_expected = worker.life == Life::Leaving && worker.unfinished() == 0;
        let loss = loss_of(&worker, gone, options);
        let loss_of_task = |task: &RemoteTask| Loss {
            function: record::function_of(task.call).map(Cow::Borrowed),
            ..loss.clone()
        };
        let is_bad = !matches!(gone.exit, WorkerExit::Code(0) | WorkerExit::Unknown);
        if was_expected && is_bad && options.finalizer.is_some() {
            let note = loss
                .note
                .as_deref()
                .unwrap_or("its finalizer had not returned");
            let why = format!("worker process {} {} ({note})", loss.pid, gone.exit);
            actions.unfinalized.push((loss.pid, why));
        }
        let mut again = Vec::new();
        let mut has_begun = false;
        for (number, handed) in worker.take_all() {
            // More than one, if the worker was not listened to any more.
            if worker.phase(number) != Some(Phase::Handed) {
                has_begun = true;
                let stderr = worker.link.pipes.as_ref().and_then(Pipes::tail);
                let error = match &worker.ending {
                    Some(Ending::Task {
                        number: stopped,
                        error,
                    }) if *stopped == number => error.clone(),
                    Some(Ending::Aborted) => TaskError::aborted(),
                    _ => {
                        let loss = loss_of_task(&handed.task);
                        TaskError::worker_lost(loss.next(handed.task.loss()))
                    }
                }
                .with_stderr(stderr);
                let begun = worker.link.memory.slot(number).items_begun();
                again.extend(self.lost_task(handed, begun, error, actions));
            } else {
                let mut task = handed.task;
                task.returns += u32::from(again.is_empty() && !has_begun);
                if task.returns > MOST_RETURNS {
                    let error = TaskError::worker_lost(loss_of_task(&task)).never_run();
                    self.give_up(task, &error, actions);
                } else {
                    again.push(task);
                }
            }
        }
        for task in again.into_iter().rev() {
            self.go_on(task, actions);
        }
        self.give_up_pinned(gone.launch, &loss, actions);
        let did_nothing = was_starting || (worker.finished == 0 && !has_begun);
        let ended_itself = matches!(
            worker.ending,
            None | Some(Ending::Violation(_) | Ending::Stopped(_))
        );
        if did_nothing && !was_expected && ended_itself {
            let (how, when) = if was_starting && options.initializer.is_some() {
                let when = "before its initializer had returned";
                (FailedStart::Initializer, when)
            } else {
                (FailedStart::Unused, "before it had done anything")
            };
            let note = loss.note.as_ref().map(|note| format!(" ({note})"));
            let note = note.unwrap_or_default();
            let why = format!("worker process {} {} {when}{note}", loss.pid, loss.exit);
            self.start_failed(why.into(), how, now, actions);
        }
        self.rescue(now);
        self.dispatch(options, now, actions);
    }

    /// Ends a task that was lost with its worker. It comes back if it is tried again, and a chunk if items
    /// are left of it.
    fn lost_task(
        &mut self,
        handed: Handed,
        begun: u64,
        error: TaskError,
        actions: &mut Actions,
    ) -> Option<RemoteTask> {
        let Handed { mut task, at, .. } = handed;
        // Items with a result keep it. One that has begun and has none is lost; the others never began.
        let is_lost = task.chunk.as_ref().is_none_or(|chunk| {
            begun > chunk.results_of_this_hand_over() as u64 && chunk.left() > 0
        });
        if is_lost {
            let runs_again = error.attempts() > 0
                && error.attempts() <= task.retries()
                && self.objection(&task).is_none();
            if let Some(terms) = task.terms.as_mut().filter(|_| runs_again) {
                self.counts.retried += 1;
                let lost = (task.promise.cell().clone(), error.clone());
                actions.retried.push(lost);
                terms.loss = Some(error);
            } else if let Some(chunk) = &mut task.chunk {
                chunk.push_error(&error);
                task.take_loss();
            } else {
                self.resolve(task, Completion::Error(error), None, at, actions);
                return None;
            }
        }
        if task.chunk.as_ref().is_some_and(|chunk| chunk.left() == 0) {
            self.resolve(task, Completion::Chunk, None, at, actions);
            return None;
        }
        if task.skip_done().is_err() {
            let error = TaskError::abandoned(Ran::Maybe);
            self.resolve(task, Completion::Error(error), None, at, actions);
            return None;
        }
        Some(task)
    }

    /// Nobody looks after the workers any more: all that there is fails, and they are ended.
    pub(in crate::process) fn abandon_all(&mut self, why: &TaskError, actions: &mut Actions) {
        self.break_down(why, actions);
        for index in 0..self.workers.len() {
            self.end(index, Ending::Unready, Signal::KILL, actions);
            for (_, handed) in self.workers[index].take_all() {
                self.give_up(handed.task, why, actions);
            }
        }
        self.workers.clear();
        self.asked_starts = 0;
    }

    pub(in crate::process) fn index_of(&self, launch: u64) -> Option<usize> {
        self.workers
            .iter()
            .position(|worker| worker.link.launch == launch)
    }

    /// A worker breaks the rules: it is ended, and what it runs is lost.
    pub(in crate::process) fn violated(
        &mut self,
        index: usize,
        violation: Violation,
        actions: &mut Actions,
    ) {
        self.end(index, Ending::Violation(violation), Signal::KILL, actions);
    }

    /// The workers that are to do something, and those that are known to be stopped; and where one that is
    /// ready is at rest. If there are none the supervisor looks no more until there are.
    ///
    /// One that says of its task what cannot be is ended: it could be neither stopped nor waited for.
    pub(in crate::process) fn watch_work(
        &mut self,
        actions: &mut Actions,
    ) -> Vec<(u64, Option<Rest>)> {
        let mut watched = Vec::new();
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            let launch = worker.link.launch;
            match (worker.life, worker.current().map(|(number, _)| number)) {
                (Life::Starting, _) => watched.push((launch, None)),
                (Life::Ready, Some(number)) => match worker.phase(number) {
                    Some(Phase::Running) => watched.push((launch, None)),
                    Some(phase @ (Phase::Handed | Phase::Done)) => {
                        watched.push((launch, Some(Rest { number, phase })));
                    }
                    None | Some(Phase::Taken | Phase::Stopping) => {
                        let violation = Violation("it says of its task what cannot be");
                        self.violated(index, violation, actions);
                    }
                },
                (Life::Ready, None) if worker.is_stopped => watched.push((launch, None)),
                (Life::Ready | Life::Leaving | Life::Ending, _) => {}
            }
        }
        self.is_work_watched = !watched.is_empty();
        watched
    }

    /// A worker is found to be stopped, or to go on.
    pub(in crate::process) fn found_stopped(
        &mut self,
        launch: u64,
        is_stopped: bool,
        actions: &mut Actions,
    ) {
        let Some(index) = self.index_of(launch) else {
            return;
        };
        self.workers[index].is_stopped = is_stopped;
        if is_stopped {
            self.take_all_back(index, actions);
        }
    }

    /// A worker was at rest for too long.
    pub(in crate::process) fn end_resting(
        &mut self,
        launch: u64,
        rest: Rest,
        actions: &mut Actions,
    ) {
        let Some(index) = self.index_of(launch) else {
            return;
        };
        if self.workers[index].phase(rest.number) == Some(rest.phase) {
            let violation = match rest.phase {
                Phase::Done => Violation("a result does not come that it has announced"),
                _ => Violation("it does not begin what was handed over to it"),
            };
            self.violated(index, violation, actions);
        }
    }

    /// A worker was stopped for too long.
    pub(in crate::process) fn end_stopped(
        &mut self,
        launch: u64,
        signal: i32,
        actions: &mut Actions,
    ) {
        if let Some(index) = self.index_of(launch) {
            self.end(index, Ending::Stopped(signal), Signal::KILL, actions);
        }
    }

    /// Ends a worker, unless that was begun before.
    pub(in crate::process) fn end(
        &mut self,
        index: usize,
        why: Ending,
        signal: Signal,
        actions: &mut Actions,
    ) {
        let worker = &mut self.workers[index];
        if worker.ending.is_none() {
            worker.ending = Some(why);
            worker.life = Life::Ending;
        }
        self.take_all_back(index, actions);
        let launch = self.workers[index].link.launch;
        self.to_end.push((launch, signal));
        actions.notify = true;
    }

    /// What a worker has not begun need not wait until it is gone, or goes on.
    fn take_all_back(&mut self, index: usize, actions: &mut Actions) {
        for task in self.workers[index].take_back_all() {
            self.go_on(task, actions);
        }
    }
}

/// What is known of a worker's end, but for the task.
fn loss_of(worker: &Worker, gone: &Gone, options: &Options) -> Loss {
    let (note, lacks_memory) = match reason_of(worker, options) {
        Some(reason) => (Some(reason), false),
        None => {
            let note = worker.link.memory.note.read();
            let lack = lack_of_memory(worker, gone, note.is_some(), options.limits.memory);
            let is_likely = lack.as_ref().is_some_and(|(_, is_likely)| *is_likely);
            let texts: Vec<_> = note.into_iter().chain(lack.map(|(text, _)| text)).collect();
            ((!texts.is_empty()).then(|| texts.join("; ")), is_likely)
        }
    };
    Loss {
        pid: worker.link.pid,
        exit: gone.exit,
        note,
        attempts: 0,
        lacks_memory,
        function: None,
    }
}

/// Why a worker has ended, where that is certain.
fn reason_of(worker: &Worker, options: &Options) -> Option<String> {
    match &worker.ending {
        Some(Ending::Violation(violation)) => {
            return Some(format!("it was ended, because {violation}"));
        }
        Some(Ending::Stopped(signal)) => {
            let limit = options.stopped_timeout;
            return Some(format!(
                "it was ended, because signal {signal} had stopped it for {limit:?}"
            ));
        }
        _ => {}
    }
    if FatalNote::read(&worker.link.memory.last.0.fatal) == Some(FatalNote::StackOverflow) {
        return Some("stack overflow".to_owned());
    }
    if worker.link.has_hung_up.load(Ordering::Relaxed) {
        return Some(
            "it had closed its channel: the task closed its descriptors, or became another program"
                .to_owned(),
        );
    }
    None
}

/// What speaks for a lack of memory as the cause of a worker's end; and whether it makes that likely, or
/// only possible. `limit` is that of its memory.
fn lack_of_memory(
    worker: &Worker,
    gone: &Gone,
    has_panicked: bool,
    limit: Option<u64>,
) -> Option<(String, bool)> {
    let WorkerExit::Signal(signal) = gone.exit else {
        return None;
    };
    if signal == Signal::KILL.as_raw() {
        return match gone.oom_kill {
            Some(true) => {
                let text = "out of memory: the kernel's out-of-memory killer has been at work in \
                            its control group";
                Some((text.to_owned(), true))
            }
            // The count has not changed, or the pool has killed it.
            Some(false) => None,
            // Who was ended by the pool is no riddle.
            None if worker.ending.is_some() => None,
            None => Some((
                "perhaps by the kernel's out-of-memory killer".to_owned(),
                false,
            )),
        };
    }
    let was_refused =
        FatalNote::read(&worker.link.memory.last.0.fatal) == Some(FatalNote::OutOfMemory);
    match limit {
        Some(limit) if was_refused => Some((
            format!("out of memory: it was refused some, and memory_limit is {limit} bytes"),
            true,
        )),
        None if was_refused => Some(("out of memory: the system refused it some".to_owned(), true)),
        // So ends a Rust program whose allocation has failed, and hardly anything else that did not panic.
        Some(limit) if signal == Signal::ABORT.as_raw() && !has_panicked => Some((
            format!(
                "probably out of memory, or it aborted by itself: memory_limit is {limit} bytes"
            ),
            true,
        )),
        _ => None,
    }
}
