//! One large payload that nobody can change any more, handed to another process without a copy on its side.
//!
//! The receiver reads the bytes in place. That is sound only because it has checked that the sender, who may have
//! gone mad, can neither write to them nor take them away.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::fcntl_add_seals;
use rustix::io::{pwrite, retry_on_intr};

use super::memory::{self, Access, Mapping, SealFlags};

const ALL_SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A payload, complete and sealed.
#[derive(Debug)]
pub(in crate::process) struct Sealed {
    descriptor: OwnedFd,
    length: usize,
}

impl Sealed {
    /// Copies `bytes` into memory of their own and seals it.
    ///
    /// # Errors
    /// The system's: no memory, no descriptors.
    pub(in crate::process) fn of(bytes: &[u8]) -> io::Result<Self> {
        let descriptor = memory::create("concurrent-futures-payload", bytes.len())?;
        let mut written = 0;
        while written < bytes.len() {
            match retry_on_intr(|| pwrite(&descriptor, &bytes[written..], written as u64))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        fcntl_add_seals(&descriptor, ALL_SEALS)?;
        Ok(Self {
            descriptor,
            length: bytes.len(),
        })
    }

    /// What to give to the process that shall read it.
    pub(in crate::process) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The number of bytes, which the receiver has to know.
    pub(in crate::process) fn len(&self) -> usize {
        self.length
    }
}

/// A payload from another process, read in place.
#[derive(Debug)]
pub(in crate::process) struct Mapped {
    /// Nothing is mapped for no bytes.
    mapping: Option<Mapping>,
    length: usize,
}

impl Mapped {
    /// Maps a payload of `length` bytes, and gives its descriptor back to the system.
    ///
    /// # Errors
    /// Of kind `InvalidData` if the sender could still change it or if it has another length; the system's if it
    /// cannot be mapped.
    pub(in crate::process) fn accept(descriptor: OwnedFd, length: usize) -> io::Result<Self> {
        // In this order: a size that is looked at before it is sealed says nothing.
        memory::require_seals(&descriptor, ALL_SEALS)?;
        let found = memory::size_of_file(&descriptor)?;
        if found != length as u64 {
            return Err(memory::invalid(format!(
                "a payload has {found} bytes, expected {length}"
            )));
        }
        let mapping = (length > 0)
            .then(|| Mapping::new(&descriptor, length, Access::ReadOnly))
            .transpose()?;
        Ok(Self { mapping, length })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.mapping {
            None => &[],
            // SAFETY: the mapping has this length and lives as long as `self`. The seals that `accept` has checked
            // keep everybody from writing to the file and from making it shorter, for ever, and the mapping is
            // read-only.
            Some(mapping) => unsafe {
                std::slice::from_raw_parts(mapping.start().as_ptr(), self.length)
            },
        }
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use rustix::fs::ftruncate;

    fn copy_of(sealed: &Sealed) -> OwnedFd {
        sealed
            .descriptor()
            .try_clone_to_owned()
            .expect("it can be duplicated")
    }

    #[test]
    fn a_payload_arrives_as_it_was_sent() {
        for length in [0, 1, 4095, 4096, 4097, 1_000_003] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let sealed = Sealed::of(&bytes).expect("it is sealed");
            assert_eq!(sealed.len(), length);
            let mapped = Mapped::accept(copy_of(&sealed), sealed.len()).expect("it is accepted");
            drop(sealed);
            assert_eq!(*mapped, *bytes);
        }
    }

    #[test]
    fn the_sender_cannot_change_a_payload() {
        let sealed = Sealed::of(b"as it is").expect("it is sealed");
        assert!(pwrite(sealed.descriptor(), b"other", 0).is_err());
        assert!(ftruncate(sealed.descriptor(), 1).is_err());
        assert!(Mapping::new(sealed.descriptor(), 8, Access::Shared).is_err());
    }

    #[test]
    fn a_payload_that_could_change_is_refused() {
        for missing in [
            SealFlags::WRITE,
            SealFlags::SHRINK,
            SealFlags::GROW,
            SealFlags::SEAL,
        ] {
            let descriptor = memory::create("hostile", 8).expect("it is made");
            pwrite(&descriptor, b"8 bytes.", 0).expect("it is not sealed");
            fcntl_add_seals(&descriptor, ALL_SEALS.difference(missing)).expect("it can be sealed");
            let error = Mapped::accept(descriptor, 8).expect_err("a seal is missing");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{missing:?}");
        }
    }

    #[test]
    fn a_payload_of_another_length_is_refused() {
        let sealed = Sealed::of(b"four").expect("it is sealed");
        for length in [0, 3, 5, usize::MAX] {
            let error = Mapped::accept(copy_of(&sealed), length).expect_err("another length");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_file_that_is_no_memory_is_refused() {
        let file = std::fs::File::open("/proc/self/exe").expect("it can be opened");
        let length = file.metadata().expect("it has").len() as usize;
        let error = Mapped::accept(file.into(), length).expect_err("a file on disk");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
