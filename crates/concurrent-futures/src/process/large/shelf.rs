//! Memory for large payloads that was used before, and waits to be used again.
//!
//! Always: each slot is free, taken by one lease, or empty; what the free ones hold together is bounded.
//! Memory is made and given back without the lock.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease::Place;
use super::{Lease, SLOTS};
use crate::process::sys::Writable;

/// Smaller memory is always good for a payload, however much smaller that is.
const SMALL: usize = 4 << 20;

/// Memory of one process for its large payloads.
pub(in crate::process) struct Shelf {
    slots: Mutex<[Slot; SLOTS]>,
    /// How many slots are used.
    most_slots: usize,
    /// How many bytes are kept in free ones.
    most_bytes: usize,
}

#[derive(Default)]
struct Slot {
    /// Each memory that was ever in this slot has another; 0 is none.
    generation: u64,
    free: Option<Writable>,
    is_taken: bool,
    /// When it became free, in uses of the shelf.
    free_since: u64,
}

impl Shelf {
    pub(in crate::process) fn new(most_slots: usize, most_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::new(std::array::from_fn(|_| Slot::default())),
            most_slots: most_slots.clamp(1, SLOTS),
            most_bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, [Slot; SLOTS]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes memory of at least `least` bytes. If all slots are taken it is of no slot, and used once.
    ///
    /// # Errors
    /// If there is none on the shelf, and the system has none.
    pub(in crate::process) fn take(self: &Arc<Self>, least: usize) -> io::Result<Lease> {
        match self.take_of_slot(least)? {
            Some(lease) => Ok(lease),
            None => Ok(Lease::new(Arc::clone(self), None, Writable::create(least)?)),
        }
    }

    /// The same; `None` if all slots are taken.
    ///
    /// # Errors
    /// As above.
    pub(super) fn take_of_slot(self: &Arc<Self>, least: usize) -> io::Result<Option<Lease>> {
        let lease = |slot, generation, memory| {
            let place = Place { slot, generation };
            Ok(Some(Lease::new(Arc::clone(self), Some(place), memory)))
        };
        let mut slots = self.lock();
        let most = least.saturating_mul(4).max(SMALL);
        let fitting = (0..SLOTS)
            .filter_map(|slot| Some((slots[slot].free.as_ref()?.size(), slot)))
            .filter(|(size, _)| (least..=most).contains(size))
            .min();
        if let Some((_, slot)) = fitting {
            if let Some(memory) = slots[slot].free.take() {
                slots[slot].is_taken = true;
                return lease(slot, slots[slot].generation, memory);
            }
        }
        let is_empty = |slot: &Slot| !slot.is_taken && slot.free.is_none();
        let empty = slots[..self.most_slots].iter().position(is_empty);
        let Some(slot) = empty.or_else(|| oldest(&slots[..self.most_slots])) else {
            return Ok(None);
        };
        let place = &mut slots[slot];
        place.is_taken = true;
        place.generation += 1;
        let generation = place.generation;
        let evicted = place.free.take();
        drop(slots);
        drop(evicted);
        match in_steps(least).and_then(Writable::create) {
            Ok(memory) => lease(slot, generation, memory),
            Err(error) => {
                self.lock()[slot].is_taken = false;
                Err(error)
            }
        }
    }

    /// Other memory, of at least `least` bytes, for a payload that has some of `place`. It stays there if
    /// all slots are taken.
    ///
    /// # Errors
    /// As above.
    pub(super) fn exchange(
        self: &Arc<Self>,
        place: Option<Place>,
        least: usize,
    ) -> io::Result<Exchange> {
        if let Some(lease) = self.take_of_slot(least)? {
            return Ok(Exchange::Lease(lease));
        }
        let memory = in_steps(least).and_then(Writable::create)?;
        let place = place.map(|Place { slot, .. }| {
            let taken = &mut self.lock()[slot];
            taken.generation += 1;
            let generation = taken.generation;
            Place { slot, generation }
        });
        Ok(Exchange::Memory(place, memory))
    }

    /// Whether memory of this size is kept when it is free.
    pub(super) fn keeps(&self, size: usize) -> bool {
        size <= self.most_bytes
    }

    /// Takes memory back; `None` for what is not used again.
    pub(super) fn put_back(&self, slot: usize, memory: Option<Writable>) {
        let mut gone = Vec::new();
        let mut slots = self.lock();
        let now = slots.iter().map(|slot| slot.free_since).max().unwrap_or(0) + 1;
        let memory = memory.filter(|memory| self.keeps(memory.size()));
        if let Some(memory) = &memory {
            while bytes_in(&*slots) + memory.size() > self.most_bytes {
                let Some(oldest) = oldest(&*slots) else {
                    break;
                };
                slots[oldest].generation += 1;
                gone.extend(slots[oldest].free.take());
            }
        }
        let place = &mut slots[slot];
        place.is_taken = false;
        place.free_since = now;
        match memory {
            Some(memory) => place.free = Some(memory),
            None => place.generation += 1,
        }
        drop(slots);
        drop(gone);
    }

    /// Gives all free memory back to the system.
    pub(in crate::process) fn clear(&self) {
        let mut slots = self.lock();
        let mut gone = Vec::new();
        for slot in slots.iter_mut() {
            if let Some(memory) = slot.free.take() {
                slot.generation += 1;
                gone.push(memory);
            }
        }
        drop(slots);
        drop(gone);
    }

    /// What each slot holds or last held.
    pub(super) fn generations(&self) -> [u64; SLOTS] {
        let slots = self.lock();
        std::array::from_fn(|slot| slots[slot].generation)
    }
}

/// Larger memory for a payload.
pub(super) enum Exchange {
    /// That of another slot.
    Lease(Lease),
    /// Where the old one was.
    Memory(Option<Place>, Writable),
}

/// The size of memory for so many bytes: in steps, so that the next payload, of about the same size, fits
/// too; pages that are not used cost nothing.
fn in_steps(least: usize) -> io::Result<usize> {
    let step = (least.checked_next_power_of_two().unwrap_or(least) / 8).max(1);
    let size = least.checked_next_multiple_of(step);
    size.ok_or(io::ErrorKind::OutOfMemory.into())
}

fn bytes_in(slots: &[Slot]) -> usize {
    let free = slots.iter().filter_map(|slot| slot.free.as_ref());
    free.map(Writable::size).sum()
}

/// The slot that has been free for the longest time.
fn oldest(slots: &[Slot]) -> Option<usize> {
    let free = slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.free.is_some());
    free.min_by_key(|(_, slot)| slot.free_since)
        .map(|(slot, _)| slot)
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::super::Outgoing;
    use super::*;

    #[test]
    fn memory_is_used_again_and_what_is_kept_is_bounded() {
        let shelf = Shelf::new(4, 3 << 20);
        let take = |bytes| shelf.take(bytes).expect("there is memory");
        let first = take(1 << 20);
        let place = first.place();
        drop(first);
        let again = take(1_000_000);
        assert_eq!(again.place(), place);
        let others = [take(1 << 20), take(1 << 20), take(1 << 20)];
        let none = shelf.take_of_slot(1).expect("no error");
        assert!(none.is_none(), "all slots are taken");
        let once = take(1);
        assert!(once.place().is_none() && once.is_for_once());
        drop((once, others, again));
        assert!(bytes_in(&*shelf.lock()) <= 3 << 20);
        drop(take(8 << 20));
        assert!(
            bytes_in(&*shelf.lock()) <= 3 << 20,
            "it was too large to be kept"
        );
        shelf.clear();
        assert_eq!(bytes_in(&*shelf.lock()), 0);
    }

    #[test]
    fn a_payload_that_grows_keeps_its_slot_where_all_are_taken() {
        let shelf = Shelf::new(2, 8 << 20);
        let first = [1; 1_000];
        let then = vec![2; 100_000];
        let full = |at: usize| {
            let mut outgoing = Outgoing::new(&shelf, u64::MAX).of_slot();
            let begins = [outgoing.append(&first), outgoing.append(&then)];
            let begins = begins.map(|begin| begin.expect("there is a slot"));
            let lease = outgoing.into_lease().expect("it has memory");
            assert_eq!(lease.place().map(|place| place.slot), Some(at));
            let memory = lease.written();
            assert_eq!(memory[begins[0]..][..first.len()], first);
            assert_eq!(memory[begins[1]..][..then.len()], then);
            lease
        };
        // The first goes where there is more, and leaves its slot to the other one.
        let leases = [full(1), full(0)];
        let more = Outgoing::new(&shelf, u64::MAX).of_slot().append(&first);
        assert_eq!(
            more.map_err(|error| error.kind()),
            Err(io::ErrorKind::WouldBlock)
        );
        let places = leases.each_ref().map(Lease::place);
        drop(leases);
        let again = [shelf.take(then.len()), shelf.take(then.len())];
        for lease in again {
            assert!(places.contains(&lease.expect("there is memory").place()));
        }
    }

    #[test]
    fn memory_that_is_not_used_again_is_of_another_generation() {
        let shelf = Shelf::new(1, 1 << 20);
        let lease = shelf.take(10).expect("memory");
        let place = lease.place();
        lease.abandon();
        drop(lease);
        assert_ne!(shelf.take(10).expect("memory").place(), place);
    }
}
