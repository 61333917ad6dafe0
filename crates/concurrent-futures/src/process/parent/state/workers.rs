//! Workers that come and go.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Actions, PoolPhase, State};
use crate::error::{BoxError, Loss, Ran, Rejection, TaskError, WorkerExit};
use crate::process::parent::options::Options;
use crate::process::parent::task::RemoteTask;
use crate::process::parent::worker_state::{
    Completion, Ending, Gone, Handed, Life, Link, Refusal, Worker,
};
use crate::process::record;
use crate::process::ring::{Phase, Violation};
use crate::process::sys::{FatalNote, Signal};

/// How many times in a row a worker may die before it is ready, while there is no other, before the
/// tasks that wait for it fail.
const MOST_FAILED_STARTS: u32 = 3;

/// How many workers may be gone that were to begin a task next, before it fails: it may be the task
/// that they cannot take.
const MOST_RETURNS: u32 = 8;

/// How long the next start waits after a failed one, in nanoseconds; it doubles with each.
const FIRST_PAUSE: u64 = 5_000_000;

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
        let initialized = match &options.initializer {
            None => Ok(()),
            Some((call, argument)) => worker.initialize(*call, argument),
        };
        actions.wake.push(Arc::clone(&worker.link));
        self.workers.push(worker);
        if let Err(refusal) = initialized {
            let why: BoxError = match refusal {
                Refusal::Lacking(error) => error.into(),
                Refusal::Full | Refusal::Violation(_) => "the initializer cannot be sent".into(),
            };
            let index = self.workers.len() - 1;
            self.end(index, Ending::Unready, Signal::KILL, actions);
            self.start_failed(why, true, now, actions);
        }
        self.dispatch(options, now, actions);
    }

    /// A worker could not be started (`is_refused`), or died before it had done anything.
    pub(in crate::process) fn start_failed(
        &mut self,
        why: BoxError,
        is_refused: bool,
        now: u64,
        actions: &mut Actions,
    ) {
        self.failed_starts += 1;
        let has_others = self.workers.iter().any(|worker| {
            worker.life == Life::Ready || (is_refused && worker.life == Life::Starting)
        });
        if !has_others && self.failed_starts >= MOST_FAILED_STARTS {
            self.failed_starts = 0;
            let why = TaskError::rejected(Rejection::NoWorker).caused_by(why);
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
        for index in 0..self.workers.len() {
            let taken = self.workers[index].take_back_last(usize::MAX);
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
        let loss = task.loss.take().filter(|_| !why.is_aborted());
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
        let mut again = Vec::new();
        let mut has_begun = false;
        for (number, handed) in worker.take_all() {
            // More than one, if the worker was not listened to any more.
            if worker.phase(number) != Some(Phase::Handed) {
                has_begun = true;
                let error = match &worker.ending {
                    Some(Ending::Task {
                        number: stopped,
                        error,
                    }) if *stopped == number => error.clone(),
                    Some(Ending::Aborted) => TaskError::aborted(),
                    _ => {
                        let loss = loss_of_task(&handed.task);
                        TaskError::worker_lost(loss.next(handed.task.loss.as_ref()))
                    }
                };
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
        let did_nothing = was_starting || (worker.finished == 0 && !has_begun);
        let ended_itself = matches!(worker.ending, None | Some(Ending::Violation(_)));
        if did_nothing && !was_expected && ended_itself {
            let when = if was_starting && options.initializer.is_some() {
                "before its initializer had returned"
            } else {
                "before it had done anything"
            };
            let note = loss.note.as_ref().map(|note| format!(" ({note})"));
            let note = note.unwrap_or_default();
            let why = format!("worker process {} {} {when}{note}", loss.pid, loss.exit);
            self.start_failed(why.into(), false, now, actions);
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
            if error.attempts() > 0
                && error.attempts() <= task.retries
                && self.objection(&task).is_none()
            {
                self.counts.retried += 1;
                actions.retried.push((task.cell().clone(), error.clone()));
                task.loss = Some(error);
            } else if let Some(chunk) = &mut task.chunk {
                chunk.push_error(&error);
                task.loss = None;
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
        // What it has not begun need not wait for its end.
        for task in worker.take_back_last(usize::MAX) {
            self.go_on(task, actions);
        }
        let worker = &mut self.workers[index];
        self.to_end.push((worker.link.launch, signal));
        actions.notify = true;
    }
}

/// What is known of a worker's end, but for the task.
fn loss_of(worker: &Worker, gone: &Gone, options: &Options) -> Loss {
    let (note, lacks_memory) = match reason_of(worker) {
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
fn reason_of(worker: &Worker) -> Option<String> {
    if let Some(Ending::Violation(violation)) = &worker.ending {
        return Some(format!("it was ended, because {violation}"));
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
            // The count has not changed.
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
            format!("probably out of memory: memory_limit is {limit} bytes"),
            true,
        )),
        _ => None,
    }
}
