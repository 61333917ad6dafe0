//! Anonymous files in memory, and mappings that are undone when dropped.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, fcntl_get_seals, fstat, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::process::{Resource, getrlimit};

pub(super) use rustix::fs::SealFlags;

/// Makes an empty file in memory that can be sealed. `size` is what the caller is about to give it.
pub(super) fn create(name: &str, size: usize) -> io::Result<OwnedFd> {
    // Beyond this limit the kernel does not only refuse, it sends SIGXFSZ, which ends the process.
    if getrlimit(Resource::Fsize)
        .current
        .is_some_and(|limit| size as u64 > limit)
    {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes of shared memory exceed the limit of file sizes (RLIMIT_FSIZE)"),
        ));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        made => Ok(made?),
    }
}

/// The size in bytes of the file behind `descriptor`.
pub(super) fn size_of_file(descriptor: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(descriptor)?.st_size).unwrap_or(0))
}

/// Fails unless the file is memory that carries all of `wanted`.
pub(super) fn require_seals(descriptor: impl AsFd, wanted: SealFlags) -> io::Result<()> {
    let seals = match fcntl_get_seals(descriptor) {
        Ok(seals) => seals,
        Err(Errno::INVAL) => return Err(invalid("the descriptor is no shared memory".to_owned())),
        Err(error) => return Err(error.into()),
    };
    if seals.contains(wanted) {
        Ok(())
    } else {
        Err(invalid(format!(
            "shared memory is sealed by {:#x}, expected {:#x}",
            seals.bits(),
            wanted.bits()
        )))
    }
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// How a file is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads and writes, seen by everybody who maps the file. A copy of this process made by `fork` does not have the
    /// mapping: it would be a second writer with the same cursors.
    Shared,
    /// Reads what others write.
    SharedReadOnly,
}

/// Mapped memory of at least one byte, given back when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// The process that made the mapping. A forked copy must not give back what it never had: something else of its
    /// own may be at that place.
    process: u32,
}

// SAFETY: a mapping belongs to the process, not to a thread; what is inside is not touched by this type.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared access gives out an address only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of a file, at least one.
    pub(super) fn new(descriptor: impl AsFd, length: usize, access: Access) -> io::Result<Self> {
        let (protection, flags) = match access {
            Access::Shared => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Access::SharedReadOnly => (ProtFlags::READ, MapFlags::SHARED),
        };
        // SAFETY: with a null address the kernel chooses a free place, so no memory of ours is replaced.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                protection,
                flags,
                descriptor,
                0,
            )
        }?;
        let Some(start) = NonNull::new(start.cast()) else {
            return Err(io::Error::other("the kernel mapped memory at address 0"));
        };
        let mapping = Self {
            start,
            length,
            process: std::process::id(),
        };
        if access == Access::Shared {
            // SAFETY: the range is the mapping just made, and the advice changes nothing in this process.
            unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxDontFork) }?;
        }
        Ok(mapping)
    }

    /// The first byte. It is readable, and in a shared mapping writable, as long as the mapping lives and the file is
    /// not made shorter.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            // SAFETY: this process made the mapping, and borrows of its contents end before it is dropped. A failure
            // leaves it in place, which harms nobody.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

/// Asks for huge pages where this memory lies, which holds nothing yet. It is a wish only.
pub(super) fn prefer_huge_pages(room: &mut [MaybeUninit<u8>]) {
    let page = rustix::param::page_size();
    let range = room.as_mut_ptr_range();
    let start = range
        .start
        .map_addr(|address| address.next_multiple_of(page));
    let length = (range.end.addr() / page * page).saturating_sub(start.addr());
    if length > 0 {
        // SAFETY: whole pages within the range; the advice changes nothing that a program can see.
        let _ = unsafe { madvise(start.cast(), length, Advice::LinuxHugepage) };
    }
}
