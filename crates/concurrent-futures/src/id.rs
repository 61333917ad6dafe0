//! The identities of tasks and of the pools that own them: unique in this process, never reused.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Ids are taken from the shared counter this many at a time.
///
/// A shared counter bumped for each task would be one more cache line that all submitting threads
/// fight over.
const BLOCK: u64 = 256;

/// The identity of a task, unique in this process.
///
/// The ids that one thread hands out grow. The order of ids from different threads says nothing.
///
/// ```
/// use concurrent_futures::{Executor, InlineExecutor};
///
/// let executor = InlineExecutor::new();
/// let (first, second) = (executor.submit(|| 1, ()), executor.submit(|| 2, ()));
/// assert_ne!(first.id(), second.id());
/// assert!(first.id().get() < second.id().get());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(crate) fn next() -> Self {
        static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
        thread_local! {
            /// The next id of this thread and the end of its block.
            static BLOCK_LEFT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
        }
        let fresh_block = || {
            // Relaxed: only the uniqueness of the value matters.
            let start = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
            (start, start + BLOCK)
        };
        let id = BLOCK_LEFT
            .try_with(|left| {
                let (next, end) = match left.get() {
                    (next, end) if next < end => (next, end),
                    _ => fresh_block(),
                };
                left.set((next + 1, end));
                next
            })
            // A thread that is being torn down has no thread-locals left.
            .unwrap_or_else(|_| fresh_block().0);
        Self(NonZeroU64::new(id).expect("ids start at 1"))
    }

    /// An id that was made in another process.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The id as a number, for logs and metrics: see the example of [`TaskId`].
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

/// The identity of what runs a task: a pool, or nothing.
///
/// A task names its owner by number and not by reference: a counted reference to the pool in each
/// task would be written to by all submitting and all running threads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct OwnerId(u32);

static NEXT_OWNER: AtomicU32 = AtomicU32::new(1);

/// The first owner that was made in this process; those before were in the one that it is a fork of.
static FIRST_OWN: AtomicU32 = AtomicU32::new(0);

/// This process was forked just now: the pools that it has a copy of have no threads here.
pub(crate) fn forked() {
    // Relaxed: there is one thread.
    FIRST_OWN.store(NEXT_OWNER.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// This process was forked from another one that had pools.
pub(crate) fn is_fork() -> bool {
    FIRST_OWN.load(Ordering::Relaxed) != 0
}

impl OwnerId {
    /// The owner of a task that no pool has to be told about.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn next() -> Self {
        // Relaxed: only the uniqueness of the value matters.
        let id = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        assert!(
            id != 0,
            "more than 4 294 967 295 pools were created in this process"
        );
        Self(id)
    }

    pub(crate) fn get(self) -> u32 {
        self.0
    }

    /// It was made in a process that this one is a fork of: nobody here finishes its tasks.
    pub(crate) fn is_copied(self) -> bool {
        // Relaxed: it changes only while there is one thread.
        self != Self::NONE && self.0 < FIRST_OWN.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_between_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..1_000).map(|_| TaskId::next()).collect::<Vec<_>>()))
            .collect();
        let ids: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("the thread ends"))
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4_000);
    }
}
