//! Memory that a pool and one worker share for as long as both live.
//!
//! The pool makes it, fixes its size and seals the size, so that a worker can write whatever it likes into it but
//! cannot shrink it, which would end the pool by SIGBUS. A type in it is made of atomics only, so that what the other
//! side writes at the same time is never undefined behaviour, whatever it is.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{fcntl_add_seals, ftruncate};

use super::memory::{self, Access, Mapping, SealFlags};

/// A type that can lie in memory that a foreign process writes to.
///
/// # Safety
/// The type is `repr(C)`, and all of it is atomics or arrays and structures of atomics, for which all bytes are
/// valid, zero included; code that uses it through a shared reference uses the atomics only. It has no `Drop`, and
/// its alignment is at most a page's, 4 KiB.
pub(in crate::process) unsafe trait Shared {}

/// Shared memory that holds one `T`, all zero in the beginning.
///
/// The memory is sparse: a page costs something once it is written to.
pub(in crate::process) struct Segment<T: Shared> {
    mapping: Mapping,
    descriptor: OwnedFd,
    shared: PhantomData<T>,
}

// SAFETY: a `T` is made of atomics only (`Shared`), which all threads may use.
unsafe impl<T: Shared> Send for Segment<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Segment<T> {}

impl<T: Shared> Segment<T> {
    const LAYOUT_FITS: () = assert!(
        align_of::<T>() <= 4096 && size_of::<T>() > 0 && !std::mem::needs_drop::<T>(),
        "a shared type has a size, at most a page's alignment, and no Drop"
    );

    /// Makes a segment with a size that nobody can change. `name` is for those who look at `/proc/PID/maps`.
    ///
    /// # Errors
    /// The system's, for instance when there are no descriptors left.
    pub(in crate::process) fn create(name: &str) -> io::Result<Self> {
        let size = Self::size();
        let descriptor = memory::create(name, size)?;
        ftruncate(&descriptor, size as u64)?;
        fcntl_add_seals(
            &descriptor,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Self::map(descriptor, size)
    }

    /// Maps a segment that another process has made.
    ///
    /// # Errors
    /// Of kind `InvalidData` if it is not the sealed memory of a `T`; the system's if it cannot be mapped.
    pub(in crate::process) fn open(descriptor: OwnedFd) -> io::Result<Self> {
        memory::require_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW)?;
        let size = Self::size();
        let found = memory::size_of_file(&descriptor)?;
        if found != size as u64 {
            return Err(memory::invalid(format!(
                "a segment has {found} bytes, expected {size}"
            )));
        }
        Self::map(descriptor, size)
    }

    /// What to give to the process that shall open it.
    pub(in crate::process) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn size() -> usize {
        let () = Self::LAYOUT_FITS;
        size_of::<T>().next_multiple_of(rustix::param::page_size())
    }

    fn map(descriptor: OwnedFd, size: usize) -> io::Result<Self> {
        let mapping = Mapping::new(&descriptor, size, Access::Shared)?;
        Ok(Self {
            mapping,
            descriptor,
            shared: PhantomData,
        })
    }
}

impl<T: Shared> Deref for Segment<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as `self`, has the size of a `T` at least, which the seals keep, and
        // begins at a page, which is alignment enough (checked at compile time). All bytes are a valid `T`, and it
        // may change under a shared reference, since it is made of atomics (`Shared`).
        unsafe { self.mapping.start().cast::<T>().as_ref() }
    }
}

impl<T: Shared> fmt::Debug for Segment<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Segment")
            .field("mapping", &self.mapping)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

    #[repr(C)]
    struct Numbers {
        count: AtomicU32,
        values: [AtomicU64; 1000],
    }

    // SAFETY: atomics only, `repr(C)`, alignment 8.
    unsafe impl Shared for Numbers {}

    #[repr(C)]
    struct More([AtomicU64; 5000]);

    // SAFETY: atomics only, `repr(C)`, alignment 8.
    unsafe impl Shared for More {}

    fn copy_of(descriptor: BorrowedFd<'_>) -> OwnedFd {
        descriptor
            .try_clone_to_owned()
            .expect("it can be duplicated")
    }

    #[test]
    fn both_sides_see_what_either_writes() {
        let pool = Segment::<Numbers>::create("numbers").expect("it is made");
        let worker = Segment::<Numbers>::open(copy_of(pool.descriptor())).expect("it is opened");
        assert_eq!(worker.values[999].load(Relaxed), 0);
        pool.values[999].store(7, Relaxed);
        worker.count.store(1, Relaxed);
        assert_eq!(worker.values[999].load(Relaxed), 7);
        assert_eq!(pool.count.load(Relaxed), 1);
    }

    #[test]
    fn nobody_can_change_the_size_of_a_segment() {
        let pool = Segment::<Numbers>::create("numbers").expect("it is made");
        for size in [0, 1, 1 << 20] {
            let error = ftruncate(pool.descriptor(), size).expect_err("the size is sealed");
            assert_eq!(error, rustix::io::Errno::PERM);
        }
        let error =
            fcntl_add_seals(pool.descriptor(), SealFlags::WRITE).expect_err("the seals are sealed");
        assert_eq!(error, rustix::io::Errno::PERM);
    }

    #[test]
    fn memory_of_another_size_or_without_seals_is_refused() {
        let other = Segment::<More>::create("more").expect("it is made");
        let error = Segment::<Numbers>::open(copy_of(other.descriptor())).expect_err("other size");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let size = size_of::<Numbers>().next_multiple_of(rustix::param::page_size());
        let unsealed = memory::create("unsealed", size).expect("it is made");
        ftruncate(&unsealed, size as u64).expect("it is not sealed");
        let error = Segment::<Numbers>::open(unsealed).expect_err("no seals");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let error = Segment::<Numbers>::open(reader.into()).expect_err("no memory");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_mapping_outlives_the_descriptor_and_not_the_segment() {
        let segment =
            Segment::<Numbers>::create("concurrent-futures-test-lifetime").expect("it is made");
        let is_mapped = || {
            std::fs::read_to_string("/proc/self/maps")
                .expect("it can be read")
                .contains("concurrent-futures-test-lifetime")
        };
        assert!(is_mapped());
        drop(segment);
        assert!(!is_mapped());
    }
}
