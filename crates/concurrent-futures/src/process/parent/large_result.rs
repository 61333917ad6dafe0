//! A result in memory of the worker that gave it.
//!
//! Always: nothing is looked at there, all is copied first; and no more is copied than the result says
//! it has, however often a hostile worker names the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::worker_state::Link;
use crate::codec::Outside;
use crate::error::{Direction, TaskError};
use crate::process::large::Placed;
use crate::process::ring::{AGAIN, LARGE_SLOTS};
use crate::process::sys::Foreign;
use crate::task::{Elsewhere, Encoded, Payload};

pub(super) struct LargeResult {
    part: Part,
    bytes: Payload,
    /// Where the value lies in the memory, and how long it is.
    value: Option<(usize, usize)>,
}

/// The part that lies in the worker's memory.
struct Part {
    memory: Arc<Foreign>,
    length: usize,
    /// How many bytes may still be copied.
    left: AtomicUsize,
    _ticket: Ticket,
}

impl LargeResult {
    pub(super) fn new(memory: Arc<Foreign>, ticket: Ticket, placed: &Placed, bytes: &[u8]) -> Self {
        let length = placed.length;
        Self {
            part: Part {
                memory,
                length,
                left: AtomicUsize::new(length),
                _ticket: ticket,
            },
            bytes: Payload::from_slice(bytes),
            value: placed.value_at.map(|start| (start, length - start)),
        }
    }

    /// For who takes the result.
    pub(super) fn into_value(self) -> Encoded {
        let elsewhere = Elsewhere {
            outside: Box::new(self.part),
            value: self.value,
        };
        Encoded {
            bytes: self.bytes,
            elsewhere: Some(Box::new(elsewhere)),
        }
    }

    /// The encoded value, of which nothing lies outside.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, TaskError> {
        let Some((start, length)) = self.value else {
            return Ok(self.bytes.into_vec());
        };
        let copy = self.part.copy(start, length);
        copy.ok_or_else(|| {
            TaskError::codec("a large result", "there is no memory for a copy of it")
                .going(Direction::DecodeResult)
        })
    }
}

impl Outside for Part {
    /// Never: the worker may write there.
    fn in_place(&self, _start: usize, _length: usize) -> Option<&[u8]> {
        None
    }

    fn copy(&self, start: usize, length: usize) -> Option<Vec<u8>> {
        if start.checked_add(length)? > self.length {
            return None;
        }
        // Relaxed: the number guards nothing but itself.
        let spend = |left: usize| left.checked_sub(length);
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.ok()?;
        self.memory.copy(start, length)
    }
}

/// Tells the worker, when dropped, that its memory is not read any more.
pub(super) struct Ticket {
    link: Arc<Link>,
    slot: usize,
    number: u64,
}

impl Ticket {
    pub(super) fn new(link: &Arc<Link>, placed: &Placed) -> Self {
        Self {
            link: Arc::clone(link),
            slot: placed.slot,
            number: placed.ticket & !AGAIN,
        }
    }

    /// The descriptor was not received, and has to come with the next payload in this memory.
    pub(super) fn ask_again(&mut self) {
        self.number |= AGAIN;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        if let Some(word) = self.link.memory.returned.get(self.slot % LARGE_SLOTS) {
            // Release: pairs with the acquire of the worker, which may write there then.
            word.store(self.number, Ordering::Release);
        }
    }
}
