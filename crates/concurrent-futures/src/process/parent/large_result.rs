//! A result in memory of the worker that gave it.
//!
//! Always: nothing is looked at there, all is copied first; and no more is copied than the result says
//! it has, however often a hostile worker names the same bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

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
    /// Not kept: once the worker is gone there is nobody to tell, and a result that nobody takes would
    /// keep what belongs to the worker.
    link: Weak<Link>,
    slot: usize,
    number: u64,
}

impl Ticket {
    pub(super) fn new(link: &Arc<Link>, placed: &Placed) -> Self {
        Self {
            link: Arc::downgrade(link),
            slot: placed.slot,
            number: placed.ticket & !AGAIN,
        }
    }

    /// The descriptor was not received, and has to come with the next payload in this memory.
    pub(super) fn ask_again(&mut self) {
        // Memory that is used once has no slot to ask for.
        if self.number != 0 {
            self.number |= AGAIN;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        let Some(link) = self.link.upgrade() else {
            return;
        };
        if let Some(word) = link.memory.returned.get(self.slot % LARGE_SLOTS) {
            // Release: pairs with the acquire of the worker, which may write there then.
            word.store(self.number, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use crate::process::sys::{Channel, Segment};

    fn placed(slot: usize, ticket: u64) -> Placed {
        Placed {
            slot,
            is_new: true,
            is_for_once: ticket == 0,
            value_at: None,
            length: 1,
            ticket,
            alive: 0,
        }
    }

    #[test]
    fn a_ticket_is_returned_once_it_is_dropped_and_keeps_nothing_of_the_worker() {
        let (channel, _other) = Channel::pair().expect("a pair of sockets");
        let link = Arc::new(Link {
            launch: 1,
            pid: 1,
            memory: Segment::create("ticket").expect("shared memory"),
            channel,
            has_hung_up: false.into(),
            pipes: None,
        });
        let returned = |slot: usize| link.memory.returned[slot].load(Ordering::Acquire);
        drop(Ticket::new(&link, &placed(0, 7)));
        let mut again = Ticket::new(&link, &placed(3, 8));
        again.ask_again();
        drop(again);
        assert_eq!((returned(0), returned(3)), (7, 8 | AGAIN));
        // Of memory that has no slot: the word of the first one is another result's.
        let mut once = Ticket::new(&link, &placed(0, 0));
        once.ask_again();
        drop(once);
        assert_eq!(returned(0), 7);
        let late = Ticket::new(&link, &placed(0, 9));
        assert!(Arc::into_inner(link).is_some(), "the worker is gone");
        drop(late);
    }
}
