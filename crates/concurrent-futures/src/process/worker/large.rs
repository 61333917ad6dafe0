//! Large payloads as a worker has them: arguments in the pool's memory, and results in its own.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use std::{io, thread};

use bytes::Bytes;

use crate::blob;
use crate::codec::Outside;
use crate::process::large::{Known, Lease, Placed, Shelf, Views};
use crate::process::record::Arguments;
use crate::process::ring::{AGAIN, LARGE_SLOTS, Memory, Violation};
use crate::process::sys::{Channel, Trusted, copy_of};

/// Memory for large results that a worker keeps, in bytes.
const MOST_SHELVED: usize = 128 << 20;

/// How often, a millisecond apart, a descriptor is tried to be sent.
const MOST_TRIES: usize = 10_000;

/// The system is short of something for the moment.
fn is_passing(error: &io::Error) -> bool {
    const ETOOMANYREFS: i32 = 109;
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ETOOMANYREFS)
}

/// The memory of the pool that this worker has mapped.
#[derive(Default)]
pub(super) struct Inbox {
    views: Views<Trusted>,
}

/// Large arguments while their task runs.
pub(super) struct LargeArguments {
    memory: Arc<Trusted>,
    placed: Placed,
}

/// The part of the arguments that lies in the pool's memory.
struct Part(Arc<Trusted>, usize);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

impl Outside for Part {
    fn in_place(&self, start: usize, length: usize) -> Option<&[u8]> {
        self.as_ref().get(start..start.checked_add(length)?)
    }

    fn copy(&self, start: usize, length: usize) -> Option<Vec<u8>> {
        copy_of(self.in_place(start, length)?)
    }
}

impl Inbox {
    /// The arguments of which a frame says where they are, and what comes after that.
    pub(super) fn receive<'a>(
        &mut self,
        frame: &'a [u8],
        channel: &Channel,
    ) -> Result<(LargeArguments, &'a [u8]), Violation> {
        const MISSING: Violation = Violation("the arguments did not come with their frame");
        let (placed, rest) = Placed::split(frame)?;
        let found = self.views.find(&placed, || {
            let mut byte = [0; 1];
            let received = channel.receive(&mut byte, true);
            let descriptor = received.ok().and_then(|(_, mut all)| all.pop());
            let opened = descriptor.map(|found| Trusted::open(found, placed.length));
            opened.and_then(Result::ok).ok_or(MISSING)
        })?;
        let memory = found.ok_or(MISSING)?;
        if memory.len() < placed.length {
            return Err(MISSING);
        }
        Ok((LargeArguments { memory, placed }, rest))
    }

    /// Whether the task has kept a part of its arguments, which nobody may write to any more then.
    pub(super) fn has_kept(&mut self, large: LargeArguments) -> bool {
        let LargeArguments { memory, placed } = large;
        let ours = if placed.is_for_once { 1 } else { 2 };
        let has_kept = Arc::strong_count(&memory) > ours;
        if has_kept {
            self.views.forget(placed.slot);
        } else {
            // Pairs with the release by which another thread has let go of its part: all that it read it
            // has read before the pool hears that the memory can be written to.
            fence(Ordering::Acquire);
        }
        has_kept
    }
}

impl LargeArguments {
    /// Lets `call` have the arguments, of which `bytes` came with the frame.
    pub(super) fn with<T>(&self, bytes: &[u8], call: impl FnOnce(Arguments<'_>) -> T) -> T {
        let part = Part(Arc::clone(&self.memory), self.placed.length);
        let bytes = match self.placed.value_at {
            Some(start) => &self.memory[start..self.placed.length],
            None => bytes,
        };
        let memory = Bytes::from_owner(Part(Arc::clone(&self.memory), self.placed.length));
        blob::decoded_from(memory, || {
            call(Arguments {
                bytes,
                outside: Some(&part),
            })
        })
    }
}

/// This worker's memory for results, and what the pool has of it.
pub(super) struct Outbox {
    pub(super) shelf: Arc<Shelf>,
    known: Known,
    /// What the pool may still read, with its ticket.
    unread: Vec<(Lease, u64)>,
    tickets: u64,
    descriptors_sent: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            shelf: Shelf::new(LARGE_SLOTS, MOST_SHELVED),
            known: Known::default(),
            unread: Vec::new(),
            tickets: 0,
            descriptors_sent: 0,
        }
    }
}

impl Outbox {
    /// Takes back what the pool does not read any more.
    pub(super) fn collect(&mut self, memory: &Memory) {
        let known = &mut self.known;
        self.unread.retain(|(lease, ticket)| {
            // Acquire: pairs with the release of the pool, which has read all that it wanted.
            let Some(place) = lease.place() else {
                return false;
            };
            let returned = memory.returned[place.slot].load(Ordering::Acquire);
            if returned == ticket | AGAIN {
                known.forget(place.slot);
            }
            returned & !AGAIN != *ticket
        });
    }

    /// Makes a result known to the pool: the words that say where it is. The descriptor goes first, so
    /// that it is there when they are read. `wake` wakes the pool.
    ///
    /// # Errors
    /// If it cannot be sent: a task has closed the channel, or the pool is behind for long.
    pub(super) fn send(
        &mut self,
        lease: Lease,
        value_at: Option<usize>,
        channel: &Channel,
        wake: impl Fn(),
    ) -> io::Result<[u8; Placed::BYTES]> {
        let unsent = if self.known.has(&lease) {
            None
        } else {
            lease.descriptor()
        };
        if let Some(descriptor) = unsent {
            let number = self.descriptors_sent.to_le_bytes();
            let mut tries = 0;
            while let Err(error) = channel.send(&number, &[descriptor]) {
                tries += 1;
                if !is_passing(&error) || tries > MOST_TRIES {
                    return Err(error);
                }
                // Others wait to be read.
                wake();
                thread::sleep(Duration::from_millis(1));
            }
            self.descriptors_sent += 1;
        }
        if lease.is_for_once() {
            // The pool has it, and this process needs it no more.
            return Ok(Placed::of(&lease, value_at, 0, &mut self.known).to_bytes());
        }
        self.tickets += 1;
        let placed = Placed::of(&lease, value_at, self.tickets, &mut self.known);
        self.unread.push((lease, self.tickets));
        Ok(placed.to_bytes())
    }
}
