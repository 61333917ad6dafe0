//! Which program a worker has to be: the file that this process runs, held open, so that replacing it on the disk
//! does not change what workers are.
//!
//! A worker is told functions by their distance from an anchor in the program. That works only if our code is in
//! the program itself: in a library that some other program has loaded, what `/proc/self/exe` names is that other
//! program, and starting it with our socket as its input would be a strange thing to do.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, fstat, open};

use super::image::image;

const SELF: &str = "/proc/self/exe";

/// What a copy of this library is recognised by in a program's memory.
pub(super) const ANCHOR_MAGIC: [u8; 16] = *b"\x9fcf-anchor\xe1\x07\xc4\x5b\xd2\x86";

/// The place that everything else is found from.
static ANCHOR: [u8; 16] = ANCHOR_MAGIC;

/// The address of the anchor. A process knows the place of a function or a constant by its distance from here,
/// which is the same in all processes that run this program.
#[inline]
pub(in crate::process) fn anchor() -> usize {
    (&raw const ANCHOR).addr()
}

/// The anchor's distance from the start of the program.
pub(super) fn anchor_offset() -> usize {
    anchor().wrapping_sub(image().base())
}

/// The file that this process runs.
#[derive(Debug)]
pub(in crate::process) struct Program {
    file: OwnedFd,
}

impl Program {
    /// The program of this process, opened and checked at the first call.
    ///
    /// # Errors
    /// If this library is not part of the program's own file, or if that cannot be found out.
    pub(in crate::process) fn current() -> Result<&'static Self, &'static ProgramError> {
        static PROGRAM: OnceLock<Result<Program, ProgramError>> = OnceLock::new();
        PROGRAM.get_or_init(|| Self::find(anchor())).as_ref()
    }

    /// A path by which the file can be started from a process that has its descriptors, whatever is on the disk by
    /// now.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    fn find(anchor: usize) -> Result<Self, ProgramError> {
        let unreadable = |what| move |source| ProgramError::Unreadable { what, source };
        // To be started a file need not be readable, nor to be looked at through such a descriptor.
        let file = open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .map_err(unreadable(SELF))?;
        let program = fs::read_link(SELF).map_err(unreadable(SELF))?;
        let maps = fs::read("/proc/self/maps").map_err(unreadable("/proc/self/maps"))?;
        let Some(place) = Place::of(anchor, &maps) else {
            return Err(ProgramError::NotInAFile { program });
        };
        if place.path == program || place.is_in(&file) {
            Ok(Self { file })
        } else if place.path.is_absolute() {
            Err(ProgramError::InLibrary {
                library: place.path,
                program,
            })
        } else {
            Err(ProgramError::NotInAFile { program })
        }
    }
}

/// What `/proc/self/maps` says about an address.
struct Place {
    device: u64,
    inode: u64,
    path: PathBuf,
}

impl Place {
    fn of(address: usize, maps: &[u8]) -> Option<Self> {
        maps.split(|byte| *byte == b'\n')
            .find_map(|line| Self::on_line(address, line))
    }

    /// `start-end permissions offset major:minor inode     path`
    fn on_line(address: usize, line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = field()?.split_once('-')?;
        if !(hexadecimal(start)?..hexadecimal(end)?).contains(&(address as u64)) {
            return None;
        }
        let (_permissions, _offset) = (field()?, field()?);
        let (major, minor) = field()?.split_once(':')?;
        let device = rustix::fs::makedev(
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        );
        let inode = field()?.parse().ok()?;
        let path = fields.next().unwrap_or_default().trim_ascii_start();
        Some(Self {
            device,
            inode,
            path: unescaped(path),
        })
    }

    /// Some file systems name another device here than in `fstat`, which is why the path is looked at as well.
    fn is_in(&self, file: &OwnedFd) -> bool {
        fstat(file).is_ok_and(|found| {
            self.inode != 0 && found.st_dev == self.device && found.st_ino == self.inode
        })
    }
}

/// The kernel writes a line's end in a path as `\012`, and leaves everything else as it is.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(br"\012") {
            bytes.push(b'\n');
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Why this process's program cannot be started as a worker.
#[derive(Debug)]
pub(in crate::process) enum ProgramError {
    /// The code that would run is in `library`, but what would be started is `program`.
    InLibrary {
        /// The file that this library is in.
        library: PathBuf,
        /// The file that the process runs.
        program: PathBuf,
    },
    /// The code that would run is in no file at all.
    NotInAFile {
        /// The file that the process runs.
        program: PathBuf,
    },
    /// What has to be looked at cannot be.
    Unreadable {
        /// The path.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for ProgramError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InLibrary { library, program } => write!(
                formatter,
                "worker processes run the program of this process, {}, but this code is in {}, which that program has \
                 loaded: {}",
                program.display(),
                library.display(),
                if is_loader(program) {
                    "start the executable itself and not through the loader"
                } else {
                    "make the pool in an executable of its own"
                }
            ),
            Self::NotInAFile { program } => write!(
                formatter,
                "worker processes run the program of this process, {}, but this code is in no file: make the pool in a \
                 plain executable",
                program.display()
            ),
            Self::Unreadable { what, .. } => write!(
                formatter,
                "worker processes run the program of this process, but {what} cannot be read to find it"
            ),
        }
    }
}

impl std::error::Error for ProgramError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::InLibrary { .. } | Self::NotInAFile { .. } => None,
        }
    }
}

fn is_loader(program: &Path) -> bool {
    program.file_name().is_some_and(|name| {
        name.as_bytes().starts_with(b"ld-") || name.as_bytes().starts_with(b"ld.")
    })
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_its_own_program() {
        let program = Program::current().expect("a plain executable");
        let ours = fs::read_link(SELF).expect("it can be read");
        assert_eq!(fs::read_link(program.path()).expect("it is open"), ours);
    }

    #[test]
    fn the_anchor_lies_in_the_program() {
        let image = image();
        assert!(image.is_readable(anchor()..anchor() + ANCHOR_MAGIC.len()));
        assert_eq!(image.base().wrapping_add(anchor_offset()), anchor());
    }

    #[test]
    fn code_in_a_library_is_refused_with_both_files() {
        // SAFETY: it reads a table that the kernel has filled.
        let loader = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
        if loader == 0 {
            // A static program has no libraries.
            return;
        }
        let error = Program::find(loader).expect_err("a library");
        let ProgramError::InLibrary { library, program } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*program, fs::read_link(SELF).expect("it can be read"));
        assert!(library.is_absolute() && library != program);
        assert!(error.to_string().contains(&library.display().to_string()));
    }

    #[test]
    fn code_in_no_file_is_refused() {
        let local = 0_u8;
        let error = Program::find((&raw const local).addr()).expect_err("a stack");
        assert!(
            matches!(error, ProgramError::NotInAFile { .. }),
            "{error:?}"
        );
        let error = Program::find(0).expect_err("nothing is there");
        assert!(
            matches!(error, ProgramError::NotInAFile { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn lines_of_maps_are_read_as_the_kernel_writes_them() {
        let maps = b"55d0c8a00000-55d0c8a10000 r--p 00000000 fd:10 1234                       /tmp/a b (deleted)\n\
            7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
            7f0000002000-7f0000003000 r-xp 00000000 103:02 99    /x\\012y\n";
        let place = Place::of(0x55d0_c8a0_ffff, maps).expect("the first line");
        assert_eq!(place.path, Path::new("/tmp/a b (deleted)"));
        assert_eq!(place.inode, 1234);
        assert_eq!(place.device, rustix::fs::makedev(0xfd, 0x10));
        assert!(Place::of(0x55d0_c8a1_0000, maps).is_none());
        assert_eq!(
            Place::of(0x7f00_0000_0000, maps).expect("anonymous").path,
            Path::new("")
        );
        let place = Place::of(0x7f00_0000_2000, maps).expect("the last line");
        assert_eq!(place.path, Path::new("/x\ny"));
        assert_eq!(place.device, rustix::fs::makedev(0x103, 2));
    }
}
