//! A task on its way to a worker process: its arguments, encoded, and the right to its result.
//!
//! The pool keeps the arguments until the result is there: what has to be handed over again is never
//! read back from memory that a worker can write to.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::error::TaskError;
use crate::executor::{Place, TaskOptions};
use crate::process::items;
use crate::process::large::Lease;
use crate::process::record::Name;
use crate::process::ring::Violation;
use crate::task::{CellRef, Encoded, Payload, Remote};

/// A task that a worker process is to run. It moves often, so it is small.
pub(in crate::process) struct RemoteTask {
    pub(in crate::process) promise: Remote,
    pub(in crate::process) call: Name,
    pub(in crate::process) arguments: Arguments,
    pub(in crate::process) chunk: Option<Box<ChunkState>>,
    /// How many workers had it next, and were gone before it began.
    pub(in crate::process) returns: u32,
    /// The observer was told that it has begun.
    pub(in crate::process) was_told: bool,
    /// It was taken from the queue for its age, and is not taken back for a more urgent one.
    pub(in crate::process) is_due: bool,
    /// Of a task for which more was asked than to run it.
    pub(in crate::process) terms: Option<Box<Terms>>,
}

/// What most tasks do not have.
pub(in crate::process) struct Terms {
    /// Given back before the result can be seen, and never under the pool's lock.
    pub(in crate::process) place: Place,
    /// What travels beside the arguments, in every frame of the task.
    pub(in crate::process) carried: Box<[u8]>,
    pub(in crate::process) run_timeout: Option<Duration>,
    pub(in crate::process) priority: i32,
    /// How often it is run again after it was lost with its worker; each item of a chunk is.
    pub(in crate::process) retries: u32,
    /// How it was lost, if it is tried again. Of a chunk, the first item that has no result.
    pub(in crate::process) loss: Option<TaskError>,
    /// The launch of the one worker that may run it, if it is for that one alone.
    pub(in crate::process) pinned_to: Option<u64>,
}

impl Terms {
    /// Those of a task for one worker alone.
    pub(in crate::process) fn pinned(launch: u64, carried: Box<[u8]>) -> Box<Self> {
        Box::new(Self {
            place: Place::uncounted(),
            carried,
            run_timeout: None,
            priority: 0,
            retries: 0,
            loss: None,
            pinned_to: Some(launch),
        })
    }

    /// `None` for those of most tasks.
    pub(in crate::process) fn of(
        place: Place,
        carried: Box<[u8]>,
        options: &TaskOptions,
    ) -> Option<Box<Self>> {
        let run_timeout = options.run_limit();
        let (priority, retries) = (options.urgency(), options.most_retries());
        let is_usual = !place.is_counted()
            && carried.is_empty()
            && run_timeout.is_none()
            && (priority, retries) == (0, 0);
        (!is_usual).then(|| {
            Box::new(Self {
                place,
                carried,
                run_timeout,
                priority,
                retries,
                loss: None,
                pinned_to: None,
            })
        })
    }
}

/// Encoded arguments.
#[derive(Clone)]
pub(in crate::process) enum Arguments {
    /// They fit into a frame, or have to be put into memory of their own yet.
    Bytes(Payload),
    Large(Arc<LargeArguments>),
}

impl Arguments {
    pub(in crate::process) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Large(large) => (large.bytes.len() + large.lease.length()) as u64,
        }
    }
}

/// Arguments of which a part lies in memory that workers map.
pub(in crate::process) struct LargeArguments {
    pub(in crate::process) bytes: Payload,
    pub(in crate::process) lease: Lease,
    /// Where the encoded value lies there; otherwise it is the bytes here.
    pub(in crate::process) value_at: Option<usize>,
}

/// The most large arguments of a pool that lie in memory of their own while they wait: each takes a
/// descriptor, and those are few of what this process may open.
pub(in crate::process) fn most_leases() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 16).unwrap_or(usize::MAX)
}

/// The most that is reserved for results that have not come, in bytes.
const MOST_RESERVED: usize = 1 << 18;

/// How far a chunk of items has come.
pub(in crate::process) struct ChunkState {
    /// How many items it has.
    pub(in crate::process) items: usize,
    /// How many have a result.
    pub(in crate::process) done: usize,
    /// How many that were handed over have no result.
    pub(in crate::process) handed: usize,
    /// How many had a result when those were handed over.
    handed_from: usize,
    /// Where the results of those begin.
    results_from: usize,
    /// Where they begin and end within the arguments.
    offset: usize,
    end: usize,
    /// Nanoseconds that its items ran.
    pub(in crate::process) nanos: u64,
    /// The time, and the results: what the future decodes.
    results: Vec<u8>,
}

impl ChunkState {
    pub(in crate::process) fn new(items: usize) -> Self {
        Self {
            items,
            done: 0,
            handed: 0,
            handed_from: 0,
            results_from: size_of::<u64>(),
            offset: 0,
            end: 0,
            nanos: 0,
            results: vec![0; size_of::<u64>()],
        }
    }

    /// Adds the results of the next items.
    pub(in crate::process) fn extend(&mut self, count: usize, results: &[u8]) {
        if self.results.capacity() - self.results.len() < results.len() {
            // The others are likely to be as long.
            let likely = (results.len() / count).saturating_mul(self.left());
            self.results
                .reserve(likely.min(MOST_RESERVED).max(results.len()));
        }
        self.results.extend_from_slice(results);
        self.done += count;
    }

    pub(in crate::process) fn push_error(&mut self, error: &TaskError) {
        items::push_with(&mut self.results, |out| {
            crate::process::call::encode_error(error, out);
            items::ERROR
        });
        self.done += 1;
    }

    /// Puts an error in the place of each value that was got since the last hand-over. Other errors
    /// stay: they were first.
    ///
    /// # Errors
    /// Never for results that the pool has put together.
    pub(in crate::process) fn spoil(&mut self, error: &TaskError) -> Result<(), Violation> {
        let results = self.results.split_off(self.results_from);
        self.done = self.handed_from;
        let mut rest = &results[..];
        while let Some((item, after)) = items::split_first(rest)? {
            if item.kind == items::VALUE {
                self.push_error(error);
            } else {
                self.extend(1, &rest[..rest.len() - after.len()]);
            }
            rest = after;
        }
        Ok(())
    }

    /// How many items have got a result since the last hand-over.
    pub(in crate::process) fn results_of_this_hand_over(&self) -> usize {
        self.done - self.handed_from
    }

    /// The items that are left.
    pub(in crate::process) fn left(&self) -> usize {
        self.items - self.done
    }

    /// What the future decodes, once all items have a result.
    pub(in crate::process) fn into_results(mut self) -> Vec<u8> {
        self.results[..size_of::<u64>()].copy_from_slice(&self.nanos.to_le_bytes());
        self.results
    }
}

impl RemoteTask {
    pub(in crate::process) fn cell(&self) -> &CellRef {
        self.promise.cell()
    }

    pub(in crate::process) fn priority(&self) -> i32 {
        self.terms.as_ref().map_or(0, |terms| terms.priority)
    }

    pub(in crate::process) fn pinned_to(&self) -> Option<u64> {
        self.terms.as_ref()?.pinned_to
    }

    pub(in crate::process) fn retries(&self) -> u32 {
        self.terms.as_ref().map_or(0, |terms| terms.retries)
    }

    pub(in crate::process) fn run_timeout(&self) -> Option<Duration> {
        self.terms.as_ref()?.run_timeout
    }

    /// Somebody may wait for its place.
    pub(in crate::process) fn has_place(&self) -> bool {
        let terms = self.terms.as_ref();
        terms.is_some_and(|terms| terms.place.is_counted())
    }

    /// What travels beside the arguments.
    pub(in crate::process) fn carried(&self) -> &[u8] {
        self.terms.as_ref().map_or(&[], |terms| &terms.carried)
    }

    /// How it was lost, if it is tried again. How often is in the error.
    pub(in crate::process) fn loss(&self) -> Option<&TaskError> {
        self.terms.as_ref()?.loss.as_ref()
    }

    pub(in crate::process) fn was_lost(&self) -> bool {
        self.loss().is_some()
    }

    pub(in crate::process) fn take_loss(&mut self) -> Option<TaskError> {
        self.terms.as_mut()?.loss.take()
    }

    /// Decides what the next hand-over takes: of a chunk, up to `most` items of up to `most_bytes`
    /// together, and at least one.
    ///
    /// # Errors
    /// Never for arguments that the pool has encoded.
    pub(in crate::process) fn prepare(
        &mut self,
        most: usize,
        most_bytes: usize,
    ) -> Result<(), Violation> {
        if let (Some(chunk), Arguments::Bytes(bytes)) = (&mut self.chunk, &self.arguments) {
            let rest = &bytes[chunk.offset..];
            let (handed, length) = if chunk.left() <= most && rest.len() <= most_bytes {
                (chunk.left(), rest.len())
            } else {
                items::prefix(rest, most, most_bytes)?
            };
            chunk.handed = handed;
            chunk.end = chunk.offset + length;
            chunk.handed_from = chunk.done;
            chunk.results_from = chunk.results.len();
        }
        Ok(())
    }

    /// The bytes that are to be handed over.
    pub(in crate::process) fn outgoing(&self) -> &[u8] {
        match (&self.arguments, &self.chunk) {
            (Arguments::Bytes(bytes), Some(chunk)) => &bytes[chunk.offset..chunk.end],
            (Arguments::Bytes(bytes), None) => bytes,
            (Arguments::Large(large), _) => &large.bytes,
        }
    }

    /// Makes the next hand-over begin with the first item that has no result.
    ///
    /// # Errors
    /// Never for arguments that the pool has encoded.
    pub(in crate::process) fn skip_done(&mut self) -> Result<(), Violation> {
        if let (Some(chunk), Arguments::Bytes(bytes)) = (&mut self.chunk, &self.arguments) {
            let count = chunk.done - chunk.handed_from;
            chunk.offset += items::skip(&bytes[chunk.offset..], count)?;
            chunk.handed_from = chunk.done;
            chunk.handed = 0;
        }
        Ok(())
    }

    pub(in crate::process) fn fail(self, error: TaskError) {
        let Self {
            promise,
            arguments,
            terms,
            chunk,
            ..
        } = self;
        drop((arguments, terms, chunk));
        promise.fail(error);
    }

    pub(in crate::process) fn fulfil(self, value: Encoded) {
        let Self {
            promise,
            arguments,
            terms,
            ..
        } = self;
        drop((arguments, terms));
        promise.fulfil(value);
    }

    /// Gives the results of a chunk whose items all have one.
    pub(in crate::process) fn fulfil_chunk(mut self) {
        if let Some(chunk) = self.chunk.take() {
            self.fulfil(Payload::from_vec(chunk.into_results()).into());
        }
    }
}

impl std::fmt::Debug for RemoteTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cell().info().fmt(f)
    }
}
