//! Memory for large payloads: written by one process, read by another, and used again and again.
//!
//! Fresh memory is several times slower than memory that was used before, because the kernel has to find and clear
//! each page. So who writes keeps its memory, mapped, and so does who reads.
//!
//! Always: its size is fixed and sealed, so that nobody can take away what another has mapped, and nobody but its
//! maker can write to it. Whether the maker writes to what another looks at is the question that tells the two
//! readers apart: a worker believes its pool ([`Trusted`]), and a pool believes no worker ([`Foreign`]).

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{fcntl_add_seals, ftruncate};

use super::memory::{self, Access, Mapping, SealFlags};

/// Sizes are whole multiples of this, in bytes.
const GRAIN: usize = 64 << 10;

/// Copies from this length on get huge pages, if the system has some.
const LEAST_HUGE: usize = 4 << 20;

/// Memory of this process, to be read by others.
#[derive(Debug)]
pub(in crate::process) struct Writable {
    mapping: Mapping,
    size: usize,
    descriptor: OwnedFd,
}

impl Writable {
    /// Makes memory of at least so many bytes.
    ///
    /// # Errors
    /// The system's: no memory, no descriptors, a limit of file sizes.
    pub(in crate::process) fn create(least: usize) -> io::Result<Self> {
        let size = least
            .checked_next_multiple_of(GRAIN)
            .ok_or(io::ErrorKind::OutOfMemory)?
            .max(GRAIN);
        let descriptor = memory::create("concurrent-futures-payload", size)?;
        ftruncate(&descriptor, size as u64)?;
        let mapping = Mapping::new(&descriptor, size, Access::Shared)?;
        // From here on nobody maps it to write to it.
        fcntl_add_seals(
            &descriptor,
            SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Ok(Self {
            mapping,
            size,
            descriptor,
        })
    }

    pub(in crate::process) fn size(&self) -> usize {
        self.size
    }

    /// What to give to the process that shall read it.
    pub(in crate::process) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Copies `bytes` to `start`.
    ///
    /// # Panics
    /// If there is no room for them.
    pub(in crate::process) fn write(&mut self, start: usize, bytes: &[u8]) {
        let end = start.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.size), "beyond the end");
        // SAFETY: the range lies in the mapping, which is ours to write to, and `bytes` cannot overlap it, since
        // nobody in this process has a reference to it. That no reader looks meanwhile is up to those who agree on
        // when it is used again; a reader that does not keep to it harms itself alone.
        unsafe {
            let place = self.mapping.start().as_ptr().add(start);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        }
    }

    /// The first bytes, to be copied elsewhere.
    ///
    /// # Panics
    /// If it has fewer.
    pub(in crate::process) fn written(&self, length: usize) -> &[u8] {
        assert!(length <= self.size, "beyond the end");
        // SAFETY: the mapping has this length and lives as long as `self`; only `write` changes it in this process,
        // which needs `self` alone, and no other process can.
        unsafe { std::slice::from_raw_parts(self.mapping.start().as_ptr(), length) }
    }
}

/// Maps what another process has made, and whose size it cannot change: no more than `most` bytes of it.
fn open(
    descriptor: OwnedFd,
    (least, most): (usize, usize),
    seals: SealFlags,
) -> io::Result<(Mapping, usize)> {
    // In this order: a size that is looked at before it is sealed says nothing.
    memory::require_seals(&descriptor, seals)?;
    let size = usize::try_from(memory::size_of_file(&descriptor)?).unwrap_or(0);
    if size == 0 || size < least {
        return Err(memory::invalid(format!(
            "memory of a payload has {size} bytes, expected {least}"
        )));
    }
    let size = size.min(most.max(least));
    let mapping = Mapping::new(&descriptor, size, Access::SharedReadOnly)?;
    Ok((mapping, size))
}

/// Memory of a process that is believed not to write to it while it is read: of the pool, to a worker.
#[derive(Debug)]
pub(in crate::process) struct Trusted {
    mapping: Mapping,
    size: usize,
}

impl Trusted {
    /// Maps memory of at least `least` bytes, and gives its descriptor back to the system.
    ///
    /// # Errors
    /// Of kind `InvalidData` if others than its maker could write to it, or it has another size; the system's if it
    /// cannot be mapped.
    pub(in crate::process) fn open(descriptor: OwnedFd, least: usize) -> io::Result<Self> {
        let seals = SealFlags::FUTURE_WRITE | SealFlags::SHRINK;
        let (mapping, size) = open(descriptor, (least, usize::MAX), seals)?;
        Ok(Self { mapping, size })
    }
}

impl Deref for Trusted {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has this length and lives as long as `self`; the seals keep the file from getting
        // shorter. Nobody but the pool can write to it, and the pool writes only to what no worker has: it waits
        // until the task is over, and the worker says if a `Blob` of it is still there then.
        unsafe { std::slice::from_raw_parts(self.mapping.start().as_ptr(), self.size) }
    }
}

/// Memory that its maker may write to at any moment: never looked at, only copied.
#[derive(Debug)]
pub(in crate::process) struct Foreign {
    mapping: Mapping,
    size: usize,
}

impl Foreign {
    /// Maps memory of at least `least` bytes, and gives its descriptor back to the system. Of what is larger
    /// than `most`, of which nobody has use, no more is mapped: a file may be as large as all addresses.
    ///
    /// # Errors
    /// Of kind `InvalidData` if its maker could make it shorter, or it has another size; the system's if it cannot be
    /// mapped.
    pub(in crate::process) fn open(
        descriptor: OwnedFd,
        least: usize,
        most: usize,
    ) -> io::Result<Self> {
        let (mapping, size) = open(descriptor, (least, most), SealFlags::SHRINK)?;
        Ok(Self { mapping, size })
    }

    pub(in crate::process) fn size(&self) -> usize {
        self.size
    }

    /// A copy of bytes; `None` for those beyond the end.
    pub(in crate::process) fn copy(&self, start: usize, length: usize) -> Option<Vec<u8>> {
        if start.checked_add(length)? > self.size {
            return None;
        }
        let mut copy = roomy(length)?;
        // SAFETY: `start` lies in the mapping or just behind it.
        let from = unsafe { self.mapping.start().add(start) };
        let into = NonNull::new(copy.as_mut_ptr())?;
        // SAFETY: the source lies in the mapping, which the seals keep whole; the destination has room for `length`
        // bytes, is ours alone, and holds them afterwards, whichever they are.
        unsafe {
            copy_changing(from, into, length);
            copy.set_len(length);
        }
        Some(copy)
    }
}

/// A copy of bytes that nobody changes; `None` if there is no memory for it.
pub(in crate::process) fn copy_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = roomy(bytes.len())?;
    copy.extend_from_slice(bytes);
    Some(copy)
}

/// An empty vector with room, in huge pages if it is large: those are several times faster to get.
fn roomy(length: usize) -> Option<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(length).ok()?;
    if length >= LEAST_HUGE {
        memory::prefer_huge_pages(room.spare_capacity_mut());
    }
    Some(room)
}

/// Copies bytes that another process may change at the same time.
///
/// # Safety
/// `from` is good for reads of `length` bytes and `into` for writes, and they do not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_changing(from: NonNull<u8>, into: NonNull<u8>, length: usize) {
    // SAFETY: as the caller vouches. The compiler knows nothing of what the instruction reads, so that it cannot be
    // misled by memory that changes, as it could by a copy of its own making.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from.as_ptr() => _,
            inout("rdi") into.as_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_changing(from: NonNull<u8>, into: NonNull<u8>, length: usize) {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    let word = size_of::<u64>();
    let mut done = 0;
    while done < length {
        // SAFETY: `done` is less than `length`, for which the caller vouches.
        let (source, place) = unsafe { (from.add(done), into.add(done)) };
        if source.cast::<u64>().is_aligned() && length - done >= word {
            // SAFETY: aligned, and whole within the source; an atomic may change at any moment.
            let value = unsafe { source.cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed);
            // SAFETY: whole within the destination.
            unsafe { place.cast::<u64>().write_unaligned(value) };
            done += word;
        } else {
            // SAFETY: as above, for one byte.
            let value = unsafe { source.cast::<AtomicU8>().as_ref() }.load(Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { place.write(value) };
            done += 1;
        }
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use rustix::io::pwrite;

    fn copy_of_descriptor(memory: &Writable) -> OwnedFd {
        memory
            .descriptor()
            .try_clone_to_owned()
            .expect("it can be duplicated")
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_is_written_is_read_again_and_again() {
        let mut memory = Writable::create(100_000).expect("it is made");
        let trusted = Trusted::open(copy_of_descriptor(&memory), 100_000).expect("it is opened");
        let foreign =
            Foreign::open(copy_of_descriptor(&memory), 100_000, usize::MAX).expect("it is opened");
        for (start, length) in [(0, 1), (7, 9), (3, 99_997), (99_999, 1), (5, 0)] {
            let bytes = pattern(length);
            memory.write(start, &bytes);
            assert_eq!(trusted[start..][..length], bytes);
            assert_eq!(foreign.copy(start, length).expect("it is there"), bytes);
            assert_eq!(memory.written(start + length)[start..], bytes);
        }
    }

    #[test]
    fn nothing_beyond_the_end_is_copied() {
        let memory = Writable::create(1).expect("it is made");
        let foreign =
            Foreign::open(copy_of_descriptor(&memory), 1, usize::MAX).expect("it is opened");
        let size = foreign.size();
        for (start, length) in [(0, size + 1), (size, 1), (usize::MAX, 2), (1, usize::MAX)] {
            assert!(foreign.copy(start, length).is_none());
        }
        assert_eq!(foreign.copy(size, 0), Some(Vec::new()));
    }

    #[test]
    fn a_large_copy_is_whole() {
        let bytes = pattern(LEAST_HUGE + 12_345);
        let mut memory = Writable::create(bytes.len()).expect("it is made");
        memory.write(0, &bytes);
        let foreign =
            Foreign::open(copy_of_descriptor(&memory), 1, usize::MAX).expect("it is opened");
        assert!(foreign.copy(0, bytes.len()).expect("it is there") == bytes);
        assert!(copy_of(&bytes).expect("there is memory") == bytes);
    }

    #[test]
    fn nobody_else_writes_to_it_or_changes_its_size() {
        let memory = Writable::create(8).expect("it is made");
        assert!(pwrite(memory.descriptor(), b"other", 0).is_err());
        assert!(ftruncate(memory.descriptor(), 1).is_err());
        assert!(ftruncate(memory.descriptor(), 1 << 30).is_err());
        assert!(Mapping::new(memory.descriptor(), 8, Access::Shared).is_err());
    }

    #[test]
    fn what_could_change_or_shrink_is_refused() {
        let unsealed = || {
            let descriptor = memory::create("hostile", 8).expect("it is made");
            ftruncate(&descriptor, 8).expect("it is not sealed");
            descriptor
        };
        for seals in [SealFlags::empty(), SealFlags::SHRINK] {
            let descriptor = unsealed();
            fcntl_add_seals(&descriptor, seals).expect("it can be sealed");
            let error = Trusted::open(descriptor, 8).expect_err("it can be written to");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let error = Foreign::open(unsealed(), 8, usize::MAX).expect_err("it can shrink");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let memory = Writable::create(8).expect("it is made");
        let most = memory.size();
        let error = Foreign::open(copy_of_descriptor(&memory), most + 1, usize::MAX)
            .expect_err("too small");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn of_memory_that_is_far_too_large_no_more_is_mapped_than_is_of_use() {
        let descriptor = memory::create("hostile", 8).expect("it is made");
        ftruncate(&descriptor, 1 << 60).expect("nothing of it is there yet");
        fcntl_add_seals(&descriptor, SealFlags::SHRINK).expect("it can be sealed");
        let foreign = Foreign::open(descriptor, 8, 100_000).expect("it is opened");
        assert_eq!(foreign.size(), 100_000);
        assert_eq!(foreign.copy(99_999, 1), Some(vec![0]));
        assert!(foreign.copy(99_999, 2).is_none());
    }

    #[test]
    fn a_file_that_is_no_memory_is_refused() {
        let file = std::fs::File::open("/proc/self/exe").expect("it can be opened");
        let error = Foreign::open(file.into(), 1, usize::MAX).expect_err("a file on disk");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let error = Foreign::open(reader.into(), 1, usize::MAX).expect_err("a pipe");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
