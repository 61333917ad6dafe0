//! What is to be told of a pool's tasks, in its order: what they have written, and how they ended.
//!
//! Always: one thread tells it, so that a result is told of after the lines that came before it. The
//! subscriber that gets the lines is foreign code, and is called with no lock held. While it is far behind,
//! pipes are not read and workers get no tasks, so that the journal does not grow.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::lines::lines;
use crate::panic;
use crate::process::parent::shared::Shared;
use crate::process::parent::state::Resolved;
use crate::process::parent::supervisor::Notifier;
use crate::task::CellRef;

/// The target of what is logged.
const TARGET: &str = "concurrent_futures::output";

/// While more bytes wait than this, workers get nothing to do.
const FULL: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdout = 0,
    Stderr = 1,
}

impl Source {
    pub(super) const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];
}

/// What a worker has written to one of its streams, as it is to be cut into lines.
pub(super) struct Block {
    pub(super) task: Option<CellRef>,
    pub(super) worker: u32,
    pub(super) source: Source,
    pub(super) bytes: Vec<u8>,
}

enum Entry {
    Block(Block),
    Resolved(Box<Resolved>),
}

#[derive(Default)]
pub(in crate::process) struct Journal {
    /// The pipes of all workers, and the notifier.
    epoll: OnceLock<OwnedFd>,
    notifier: Notifier,
    queue: Mutex<Queue>,
    /// How many bytes of output have not been logged.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// There is a thread.
    is_open: bool,
}

const NOTIFIED: u64 = u64::MAX;

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> io::Result<()> {
        if self.epoll.get().is_none() {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let data = EventData::new_u64(NOTIFIED);
            epoll::add(&epoll, self.notifier.open()?, data, EventFlags::IN)?;
            // The pool starts one thread at a time.
            let _ = self.epoll.set(epoll);
        }
        self.lock().is_open = true;
        Ok(())
    }

    /// What is in the journal is still told.
    fn close(&self) {
        self.lock().is_open = false;
        self.notifier.notify();
    }

    /// # Errors
    /// The system's.
    pub(super) fn watch(
        &self,
        pipe: BorrowedFd<'_>,
        launch: u64,
        source: Source,
    ) -> io::Result<()> {
        let epoll = self.epoll.get().ok_or(io::ErrorKind::NotFound)?;
        let data = EventData::new_u64(2 * launch + source as u64);
        Ok(epoll::add(epoll, pipe, data, EventFlags::IN)?)
    }

    pub(super) fn forget(&self, pipe: BorrowedFd<'_>) {
        if let Some(epoll) = self.epoll.get() {
            let _ = epoll::delete(epoll, pipe);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        // Relaxed: when it is not any more, the thread takes the pool's lock, under which this is asked.
        self.waiting.load(Ordering::Relaxed) > FULL
    }

    pub(super) fn push(&self, block: Block) {
        let queue = self.lock();
        if !queue.is_open {
            drop(queue);
            return;
        }
        self.waiting.fetch_add(block.bytes.len(), Ordering::Relaxed);
        self.append(queue, Entry::Block(block));
    }

    /// Gives a result in its turn.
    ///
    /// # Errors
    /// Gives it back if there is no thread any more, or not yet.
    pub(in crate::process) fn give(&self, resolved: Resolved) -> Result<(), Box<Resolved>> {
        let resolved = Box::new(resolved);
        let queue = self.lock();
        if !queue.is_open {
            return Err(resolved);
        }
        self.append(queue, Entry::Resolved(resolved));
        Ok(())
    }

    fn append(&self, mut queue: MutexGuard<'_, Queue>, entry: Entry) {
        let was_empty = queue.entries.is_empty();
        queue.entries.push_back(entry);
        drop(queue);
        if was_empty {
            self.notifier.notify();
        }
    }

    /// Sleeps until there is something to read or to tell; the pipes that have something.
    fn wait(&self, is_awaited: bool) -> Vec<(u64, Source)> {
        let Some(epoll) = self.epoll.get() else {
            return Vec::new();
        };
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = (!is_awaited).then_some(&at_once);
        let mut events = Vec::with_capacity(16);
        // Interrupted by a signal: a look does no harm.
        let _ = epoll::wait(epoll, spare_capacity(&mut events), timeout);
        let mut pipes = Vec::new();
        for event in events {
            match event.data.u64() {
                NOTIFIED => self.notifier.clear(),
                data => pipes.push((data / 2, Source::ALL[usize::from(data % 2 == 1)])),
            }
        }
        pipes
    }
}

/// The thread of a journal. Dropped, it ends when all is told.
pub(in crate::process) struct Teller {
    journal: Arc<Journal>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread that tells what is in the journal of a pool.
///
/// # Errors
/// When the system refuses a thread or a descriptor.
pub(in crate::process) fn start(pool: &Arc<Shared>, journal: &Arc<Journal>) -> io::Result<Teller> {
    journal.open()?;
    let mut teller = Teller {
        journal: Arc::clone(journal),
        thread: None,
    };
    let (pool, journal) = (Arc::clone(pool), Arc::clone(journal));
    let thread = thread::Builder::new()
        .name(format!("{}-output", pool.options.name))
        .spawn(move || run(&pool, &journal))?;
    teller.thread = Some(thread);
    Ok(teller)
}

impl Teller {
    /// Waits until all is told.
    pub(in crate::process) fn join(mut self) {
        self.journal.close();
        if let Some(thread) = self.thread.take() {
            // A panic there is a defect, and was reported by the hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.journal.close();
    }
}

fn run(pool: &Arc<Shared>, journal: &Journal) {
    /// If the thread panics, those who come later tell themselves.
    struct Close<'a>(&'a Journal);

    impl Drop for Close<'_> {
        fn drop(&mut self) {
            let mut queue = self.0.lock();
            queue.is_open = false;
            let entries = std::mem::take(&mut queue.entries);
            drop(queue);
            drop(entries);
        }
    }

    let _guard = pool.guard(false);
    let _close = Close(journal);
    loop {
        let mut queue = journal.lock();
        let entries = std::mem::take(&mut queue.entries);
        let is_open = queue.is_open;
        drop(queue);
        let has_told = !entries.is_empty();
        for entry in entries {
            match entry {
                Entry::Resolved(resolved) => pool.give(*resolved),
                Entry::Block(block) => {
                    let length = block.bytes.len();
                    log(block);
                    // Relaxed: who sees the old number has had the pool's lock before, and what it did not
                    // hand over is handed over here.
                    let before = journal.waiting.fetch_sub(length, Ordering::Relaxed);
                    if before > FULL && before - length <= FULL {
                        pool.hand_over();
                    }
                }
            }
        }
        if !has_told && !is_open {
            return;
        }
        // Only what was there is told before the pipes have their turn, and a little of each then.
        for (launch, source) in journal.wait(!has_told) {
            let state = pool.lock();
            let index = state.index_of(launch);
            let link = index.map(|index| Arc::clone(&state.workers[index].link));
            drop(state);
            if let Some(pipes) = link.as_ref().and_then(|link| link.pipes.as_ref()) {
                pipes.take_turn(source);
            }
        }
    }
}

fn log(block: Block) {
    let Block {
        task,
        worker,
        source,
        bytes,
    } = block;
    for line in lines(&bytes) {
        let line = String::from_utf8_lossy(line);
        let info = task.as_ref().map(|task| task.info());
        let id = info.map(|task| task.id().get());
        let name = info.and_then(|task| task.name());
        let log = || match source {
            Source::Stdout => {
                tracing::info!(target: TARGET, stream = "stdout", worker, task.id = id, task.name = name, "{line}");
            }
            Source::Stderr => {
                tracing::warn!(target: TARGET, stream = "stderr", worker, task.id = id, task.name = name, "{line}");
            }
        };
        match &task {
            Some(task) => task.in_span(log),
            None => panic::contain(log),
        }
    }
    // With it goes the span, which the subscriber hears of.
    panic::guarded_drop(task);
}
