//! The descriptors of a worker: the standard three as tasks expect them, and our own out of the way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::process::{Resource, getrlimit};
use rustix::stdio::{dup2_stdin, stdin};

use super::memory;

/// The number that our descriptors are above, if the limit allows it: out of the way of tasks that count on low ones.
const HIGH: u64 = 960;

/// Takes what was given as descriptor 0, and leaves an input there that is at its end.
pub(super) fn take_input() -> io::Result<OwnedFd> {
    // The lowest number that is free is given out, so these fill what the parent has closed.
    while [1, 2].into_iter().any(is_closed) {
        std::mem::forget(null()?);
    }
    let taken = moved_up(stdin())?;
    // Where there are no devices, say in a bare root directory, an empty file serves as well.
    let empty =
        null().or_else(|_| memory::create("concurrent-futures-no-input", 0).map(File::from))?;
    dup2_stdin(empty)?;
    Ok(taken)
}

/// A copy of a descriptor with a high number, which programs that tasks start do not inherit.
pub(super) fn moved_up(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let lowest = HIGH.min(limit.saturating_sub(limit / 8 + 1)).max(3);
    match fcntl_dupfd_cloexec(descriptor, lowest as i32) {
        Err(Errno::INVAL | Errno::MFILE) => Ok(fcntl_dupfd_cloexec(descriptor, 3)?),
        moved => Ok(moved?),
    }
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

fn is_closed(number: i32) -> bool {
    // SAFETY: the descriptor is only asked about, and that it may be closed is the question.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(descriptor) == Err(Errno::BADF)
}
