//! A worker process as its pool sees it: what was handed over to it, and how far that has come.
//!
//! Always: tasks are numbered in the order in which they are handed over, the worker begins them in
//! that order, and a slot is not used again while the task in it has no result.

mod replies;
mod sending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;

use super::options::Options;
use super::output::Pipes;
use super::task::{Arguments, RemoteTask};
use crate::error::{BoxError, TaskError, WorkerExit};
use crate::executor::WorkerId;
use crate::process::frame::reply;
use crate::process::lane;
use crate::process::large::{Known, Lease};
use crate::process::ring::{Memory, Phase, Violation, Writer};
use crate::process::sys::{Channel, Segment, futex};
use crate::task::{CellRef, Encoded};
use crate::time::Timer;

/// What the threads of a pool share of a worker, without a lock.
pub(in crate::process) struct Link {
    /// Unique in the pool: a place is used by one process after the other.
    pub(in crate::process) launch: u64,
    pub(in crate::process) pid: u32,
    pub(in crate::process) memory: Segment<Memory>,
    pub(in crate::process) channel: Channel,
    /// It has closed its end of the channel while it lived.
    pub(in crate::process) has_hung_up: AtomicBool,
    /// What it writes to, if its output is captured.
    pub(in crate::process) pipes: Option<Pipes>,
}

impl Link {
    /// Wakes the worker if it sleeps.
    pub(in crate::process) fn wake(&self) {
        let bell = &self.memory.tasks_bell.0;
        if bell.ring() {
            futex::wake(bell.word().0);
        }
    }

    /// Tells the worker which events and spans anybody wants.
    pub(in crate::process) fn tell_level(&self) {
        let level = lane::word_of(LevelFilter::current());
        let word = &self.memory.lane.level;
        // Relaxed: with a task it is published by the task's frame. The look spares the cache line.
        if word.load(Ordering::Relaxed) != level {
            word.store(level, Ordering::Relaxed);
        }
    }

    /// Wakes the worker if it waits for room in the ring of results.
    pub(in crate::process) fn say_room(&self) {
        let bell = &self.memory.room_bell.0;
        if bell.ring() {
            futex::wake(bell.word().0);
        }
    }
}

/// A worker process that has ended.
pub(in crate::process) struct Gone {
    pub(in crate::process) launch: u64,
    pub(in crate::process) exit: WorkerExit,
    /// Of one that was killed: whether the kernel's out-of-memory killer was at work, if the system tells.
    pub(in crate::process) oom_kill: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Life {
    /// It was started, and has not said that it is ready.
    Starting,
    Ready,
    /// It was told to leave.
    Leaving,
    /// It is being ended.
    Ending,
}

/// Why a worker is being ended.
pub(in crate::process) enum Ending {
    /// For the sake of one task, which gets this error.
    Task { number: u64, error: TaskError },
    /// All that it runs is to be stopped.
    Aborted,
    /// It was not ready in time, or could not be told what to do.
    Unready,
    /// It broke the rules; what it ran is lost.
    Violation(Violation),
    /// This signal had stopped it for too long; what it ran is lost.
    Stopped(i32),
}

pub(in crate::process) struct Worker {
    pub(in crate::process) link: Arc<Link>,
    pub(in crate::process) place: WorkerId,
    pub(in crate::process) life: Life,
    pub(in crate::process) ending: Option<Ending>,
    /// When it became idle, on the monotonic clock.
    pub(in crate::process) idle_since: u64,
    /// Tasks and items that it has finished.
    pub(in crate::process) finished: u64,
    /// Tasks and items that were handed over to it, but for those that were taken back.
    pub(in crate::process) given: usize,
    /// What it runs takes long, so that nothing is laid ready behind it.
    pub(in crate::process) is_stuck: bool,
    /// Its finalizer has run.
    has_finalized: bool,
    /// It had no room, and has said nothing since.
    pub(in crate::process) is_full: bool,
    /// A signal has stopped it, as far as is known.
    pub(in crate::process) is_stopped: bool,
    /// It has too much memory, and begins nothing more.
    pub(in crate::process) is_outgrown: bool,
    writer: Writer,
    /// The memory of large arguments that it has.
    known: Box<Known>,
    /// Memory with the arguments of the initializer and the finalizer, until it has read them.
    told: Vec<Arc<Lease>>,
    has_initializer: bool,
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// How many entries are tasks.
    unfinished: usize,
}

enum Entry {
    Task(Handed),
    /// It was taken back.
    Gone,
}

impl Entry {
    fn handed(&self) -> Option<&Handed> {
        match self {
            Self::Task(handed) => Some(handed),
            Self::Gone => None,
        }
    }
}

pub(in crate::process) struct Handed {
    pub(in crate::process) task: RemoteTask,
    pub(in crate::process) at: u64,
    /// What ends it when its time is over.
    pub(in crate::process) timer: Option<Timer>,
    pub(in crate::process) clock_settings: u32,
    /// Memory that its arguments were put into when it was handed over.
    lease: Option<Arc<Lease>>,
}

impl Handed {
    /// The worker has kept a part of the arguments: their memory is not used again.
    fn abandon_arguments(&mut self) {
        if let Some(lease) = &self.lease {
            lease.abandon();
        }
        if let Arguments::Large(large) = &self.task.arguments {
            large.lease.abandon();
        }
    }
}

/// Why a task was not handed over.
pub(in crate::process) enum Refusal {
    /// There is no room now.
    Full,
    /// The worker breaks the rules.
    Violation(Violation),
    /// The system is short of something.
    Lacking(TaskError),
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// What a frame from the worker has brought about.
pub(in crate::process) enum Applied {
    Ready,
    /// It will not be, for this reason.
    NotReady(BoxError),
    /// It leaves, and its finalizer has failed.
    NotFinalized(TaskError),
    /// An item of a chunk; more come.
    Item,
    Finished(Handed, Completion, u64),
    /// The items of a chunk that were handed over are done; others are left.
    Partly(RemoteTask),
}

/// How a task ended.
pub(in crate::process) enum Completion {
    Value(Encoded),
    Error(TaskError),
    Chunk,
}

/// A frame from the worker, copied and decoded as far as that needs no lock.
pub(in crate::process) struct Reply {
    pub(in crate::process) kind: u32,
    pub(in crate::process) number: u64,
    pub(in crate::process) nanos: u64,
    pub(in crate::process) value: Encoded,
    pub(in crate::process) error: Option<TaskError>,
    /// How many results of items the bytes are.
    pub(in crate::process) items: usize,
    /// The worker has kept a part of the arguments.
    pub(in crate::process) has_kept: bool,
}

impl Reply {
    /// The worker goes on with nothing that it was given.
    pub(in crate::process) fn ends_task(&self) -> bool {
        self.items == 0 && matches!(self.kind, reply::VALUE | reply::ERROR | reply::END)
    }
}

impl Worker {
    pub(in crate::process) fn new(link: Arc<Link>, place: WorkerId, now: u64) -> Self {
        Self {
            link,
            place,
            life: Life::Starting,
            ending: None,
            idle_since: now,
            finished: 0,
            given: 0,
            is_stuck: false,
            has_finalized: false,
            is_full: false,
            is_stopped: false,
            is_outgrown: false,
            writer: Writer::default(),
            known: Box::default(),
            told: Vec::new(),
            has_initializer: false,
            entries: VecDeque::new(),
            first: 0,
            unfinished: 0,
        }
    }

    /// How many tasks were handed over that have no result.
    pub(in crate::process) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// It is not ready yet, and has no task that could run elsewhere.
    pub(in crate::process) fn is_unused(&self) -> bool {
        self.life == Life::Starting
            && self
                .tasks()
                .all(|(_, handed)| handed.task.pinned_to().is_some())
    }

    pub(in crate::process) fn is_idle(&self) -> bool {
        self.life == Life::Ready && self.unfinished == 0
    }

    /// What is handed over to it comes to its ring, and is read soon; and what it has written is logged.
    pub(in crate::process) fn is_receptive(&self) -> bool {
        let is_behind = || self.link.pipes.as_ref().is_some_and(Pipes::is_full);
        !self.is_full && !self.is_stopped && !is_behind()
    }

    /// Nothing is laid ready behind a task that was lost with a worker before.
    pub(in crate::process) fn is_reserved(&self) -> bool {
        let last = self.entries.iter().rev().find_map(Entry::handed);
        last.is_some_and(|handed| handed.task.was_lost())
    }

    /// It may get one more task.
    pub(in crate::process) fn has_tasks_left(&self, options: &Options) -> bool {
        !self.is_outgrown
            && options
                .max_tasks_per_worker
                .is_none_or(|most| self.given < most)
    }

    /// With how many bytes of memory it begins nothing more, if it says so.
    pub(in crate::process) fn outgrown(&self) -> Option<u64> {
        // Relaxed: it was published with a frame before.
        Some(self.link.memory.last.0.outgrown.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    fn next_number(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The number of the first task without a result, and the task.
    pub(in crate::process) fn current(&self) -> Option<(u64, &Handed)> {
        self.tasks().next()
    }

    pub(in crate::process) fn current_mut(&mut self) -> Option<&mut Handed> {
        self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Task(handed) => Some(handed),
            Entry::Gone => None,
        })
    }

    /// The tasks without a result, in their order, with their numbers.
    pub(in crate::process) fn tasks(&self) -> impl Iterator<Item = (u64, &Handed)> {
        (self.first..)
            .zip(&self.entries)
            .filter_map(|(number, entry)| Some((number, entry.handed()?)))
    }

    /// It is being ended for the sake of this task.
    pub(in crate::process) fn is_ending_for(&self, wanted: u64) -> bool {
        match &self.ending {
            Some(Ending::Task { number, .. }) => *number == wanted,
            Some(_) => true,
            None => false,
        }
    }

    pub(in crate::process) fn find(&self, cell: &CellRef) -> Option<u64> {
        let id = cell.id();
        (self.first..)
            .zip(&self.entries)
            .find(
                |(_, entry)| matches!(entry, Entry::Task(handed) if handed.task.cell().id() == id),
            )
            .map(|(number, _)| number)
    }

    pub(in crate::process) fn handed_mut(&mut self, number: u64) -> Option<&mut Handed> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        match self.entries.get_mut(index)? {
            Entry::Task(handed) => Some(handed),
            Entry::Gone => None,
        }
    }

    /// The task of a number; the first without a result for none.
    pub(in crate::process) fn task(&self, number: Option<u64>) -> Option<&CellRef> {
        let is_wanted = |found: u64| number.is_none_or(|number| number == found);
        let mut tasks = self.tasks();
        let (_, handed) = tasks.find(|(found, _)| is_wanted(*found))?;
        Some(handed.task.cell())
    }

    pub(in crate::process) fn phase(&self, number: u64) -> Option<Phase> {
        self.link.memory.slot(number).phase(number)
    }

    /// Takes a task back that has not begun.
    pub(in crate::process) fn take_back(&mut self, number: u64) -> Option<RemoteTask> {
        self.handed_mut(number)?;
        if !self.link.memory.slot(number).take_back(number) {
            return None;
        }
        let handed = self.remove(number)?;
        self.has_no_task();
        self.given = self
            .given
            .saturating_sub(handed.task.chunk.as_ref().map_or(1, |chunk| chunk.handed));
        Some(handed.task)
    }

    /// Takes up to `most` tasks back that have not begun and may run elsewhere, the last first.
    pub(in crate::process) fn take_back_last(&mut self, most: usize) -> Vec<RemoteTask> {
        self.take_back_those(most, |task| task.pinned_to().is_none())
    }

    /// Takes all tasks back that have not begun, the last first.
    pub(in crate::process) fn take_back_all(&mut self) -> Vec<RemoteTask> {
        self.take_back_those(usize::MAX, |_| true)
    }

    fn take_back_those(
        &mut self,
        most: usize,
        is_meant: impl Fn(&RemoteTask) -> bool,
    ) -> Vec<RemoteTask> {
        let mut taken = Vec::new();
        let mut number = self.next_number();
        while taken.len() < most && number > self.first {
            number -= 1;
            if !self
                .handed_mut(number)
                .is_some_and(|handed| is_meant(&handed.task))
            {
                continue;
            }
            match self.take_back(number) {
                Some(task) => taken.push(task),
                // It has begun, and so have all before it.
                None => break,
            }
        }
        taken
    }

    /// How many of the tasks that lie ready last are less urgent, and may be taken back for that.
    pub(in crate::process) fn less_urgent(&self, priority: i32) -> usize {
        (self.first..self.next_number())
            .rev()
            .zip(self.entries.iter().rev())
            .filter_map(|(number, entry)| Some((number, &entry.handed()?.task)))
            .take_while(|(number, task)| {
                task.priority() < priority
                    && !task.is_due
                    && task.pinned_to().is_none()
                    && self.phase(*number) == Some(Phase::Handed)
            })
            .count()
    }

    /// It is ready. It says that after the initializer, which comes last of what it is told; where there
    /// is none it may have read nothing yet.
    fn has_read_what_it_was_told(&mut self, has_kept: bool) {
        if self.has_initializer {
            if has_kept {
                self.told.iter().for_each(|lease| lease.abandon());
            }
            self.told.clear();
        }
    }

    /// What it writes now is no task's.
    fn has_no_task(&self) {
        if let Some(pipes) = &self.link.pipes {
            pipes.take_back();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Handed> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        let Entry::Task(handed) = std::mem::replace(entry, Entry::Gone) else {
            return None;
        };
        self.unfinished -= 1;
        // A slot may be used again although the worker has not passed its frame: the frame's number
        // is not the slot's any more, so that it is skipped.
        while matches!(self.entries.front(), Some(Entry::Gone)) {
            self.entries.pop_front();
            self.first += 1;
        }
        Some(handed)
    }

    /// What is left when the worker is gone, in order, with the phase of each.
    pub(in crate::process) fn take_all(&mut self) -> Vec<(u64, Handed)> {
        let numbers: Vec<u64> = self.tasks().map(|(number, _)| number).collect();
        numbers
            .into_iter()
            .filter_map(|number| Some((number, self.remove(number)?)))
            .collect()
    }
}
