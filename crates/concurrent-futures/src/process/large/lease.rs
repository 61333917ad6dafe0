//! Memory that is filled with one payload, and kept until nobody reads it any more.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Shelf;
use super::shelf::Exchange;
use crate::codec::Sink;
use crate::process::sys::Writable;

/// Where each run of bytes begins: on a cache line.
const ALIGNMENT: usize = 64;

/// Which memory it is, to those who know the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Place {
    pub(in crate::process) slot: usize,
    pub(super) generation: u64,
}

/// The right to use memory of a shelf. Dropped, the memory goes back there.
pub(in crate::process) struct Lease {
    shelf: Arc<Shelf>,
    /// Where it is on the shelf; `None` for memory that has no place there.
    place: Option<Place>,
    /// There until it is dropped.
    memory: Option<Writable>,
    length: usize,
    /// Its reader has kept a part of it.
    is_abandoned: AtomicBool,
}

impl Lease {
    pub(super) fn new(shelf: Arc<Shelf>, place: Option<Place>, memory: Writable) -> Self {
        Self {
            shelf,
            place,
            memory: Some(memory),
            length: 0,
            is_abandoned: AtomicBool::new(false),
        }
    }

    pub(in crate::process) fn place(&self) -> Option<Place> {
        self.place
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The bytes that were written, and those between them.
    pub(in crate::process) fn length(&self) -> usize {
        self.length
    }

    #[cfg(all(test, not(concurrent_futures_loom)))]
    pub(super) fn written(&self) -> &[u8] {
        let memory = self.memory.as_ref();
        memory.map_or(&[], |memory| memory.written(self.length))
    }

    fn size(&self) -> usize {
        self.memory.as_ref().map_or(0, Writable::size)
    }

    /// What to give to the process that shall read it.
    pub(in crate::process) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(Writable::descriptor)
    }

    /// The memory goes back to the system once this is dropped.
    pub(in crate::process) fn is_for_once(&self) -> bool {
        self.place.is_none() || !self.shelf.keeps(self.size())
    }

    /// Nobody uses the memory again: its reader has kept a part of it.
    pub(in crate::process) fn abandon(&self) {
        // Relaxed: it is dropped by whoever has the last reference.
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// Adds bytes, and says where they are. Memory that is too small is exchanged for larger.
    ///
    /// # Errors
    /// If the system has none.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let start = self.length.next_multiple_of(ALIGNMENT);
        let end = start.checked_add(bytes.len());
        let end = end.ok_or(io::ErrorKind::OutOfMemory)?;
        if end > self.size() {
            let written = |memory: &mut Writable| {
                if let Some(old) = &self.memory {
                    memory.write(0, old.written(self.length));
                }
            };
            match self.shelf.exchange(self.place, end.saturating_mul(2))? {
                Exchange::Lease(mut larger) => {
                    larger.memory.iter_mut().for_each(written);
                    larger.length = self.length;
                    *self = larger;
                }
                Exchange::Memory(place, mut memory) => {
                    written(&mut memory);
                    self.place = place;
                    self.memory = Some(memory);
                }
            }
        }
        if let Some(memory) = &mut self.memory {
            memory.write(start, bytes);
        }
        self.length = end;
        Ok(start)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let memory = self.memory.take();
        let is_abandoned = *self.is_abandoned.get_mut();
        if let Some(Place { slot, .. }) = self.place {
            self.shelf.put_back(slot, memory.filter(|_| !is_abandoned));
        }
    }
}

/// The bytes of a payload on their way out, where the long runs go into memory of a shelf.
pub(in crate::process) struct Outgoing<'a> {
    shelf: &'a Arc<Shelf>,
    lease: Option<Lease>,
    /// Memory of no slot will do.
    may_be_for_once: bool,
    /// More is not written.
    most: u64,
    wanted: u64,
}

impl<'a> Outgoing<'a> {
    /// Of a payload of at most so many bytes.
    pub(in crate::process) fn new(shelf: &'a Arc<Shelf>, most: u64) -> Self {
        Self {
            shelf,
            lease: None,
            may_be_for_once: true,
            most,
            wanted: 0,
        }
    }

    /// Of a payload that may have to wait: only as many do so as the shelf has slots.
    pub(in crate::process) fn of_slot(self) -> Self {
        Self {
            may_be_for_once: false,
            ..self
        }
    }

    /// Of a payload that has memory already, perhaps.
    pub(in crate::process) fn with(self, lease: Option<Lease>) -> Self {
        Self { lease, ..self }
    }

    /// How many bytes went out, or would have gone if they were not too many.
    pub(in crate::process) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// The memory, if any was needed.
    pub(in crate::process) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    /// Writes bytes, whatever their number, and says where they are.
    ///
    /// # Errors
    /// If the system has no memory, or all slots are taken and there has to be one.
    pub(in crate::process) fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None if self.may_be_for_once => self.shelf.take(bytes.len())?,
            None => self
                .shelf
                .take_of_slot(bytes.len())?
                .ok_or(io::ErrorKind::WouldBlock)?,
        };
        let start = lease.append(bytes);
        self.lease = Some(lease);
        start
    }
}

impl Sink for Outgoing<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<usize> {
        let wanted = self.wanted.saturating_add(bytes.len() as u64);
        if wanted > self.most {
            self.wanted = wanted;
            // Who encodes looks at the sum, and throws all of it away.
            return Some(0);
        }
        let start = self.append(bytes).ok()?;
        self.wanted = wanted;
        Some(start)
    }
}
