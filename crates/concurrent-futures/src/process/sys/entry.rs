//! The life of a worker before its loop: how a program finds out that it is a worker, and what it does then.
//!
//! # Why the user's `main` never runs in a worker
//!
//! A worker is the user's own program, started again. Before `main` the C runtime calls every function in the
//! program's `.init_array`, and one of them is ours. In a worker it does not return: the process becomes the worker
//! there and ends by `_exit`. In every other process it looks for one variable in the environment, does not find
//! it, and returns.
//!
//! It believes that it is in a worker only if everything fits: the program has no more rights than who started it
//! (`AT_SECURE`), descriptor 0 is a Unix stream socket, the process at its other end is the one that the mark names
//! and is our parent, and the mark names the version and the place in the program of this very copy of the library.
//! Anybody can set a variable, so a mark without such a socket is removed, and the program goes on to `main` as if
//! it had not been there. If all fits but the parent is another process by now, the pool has died in between, and
//! this process ends at once: going on would run `main` in a process that nobody has asked for.
//!
//! # Why other constructors have run nevertheless
//!
//! The order within `.init_array` is that of linking, so those of other crates and of C++ may come after ours, and
//! tasks rely on them: they fill registries and construct statics. So in a worker our entry looks for itself
//! between the linker's `__init_array_start` and `__init_array_end` and calls every later entry itself, with the
//! arguments that it was called with, before it takes over. Those of shared libraries have run before any of the
//! program's own.
//!
//! # Without life before `main`
//!
//! Without the feature `constructor` there is no entry in `.init_array`. Then the user's `main` begins with a call of
//! [`enter_if_worker`], which does all the same checks and does not return in a worker.

use std::env;
use std::ffi::{CString, OsStr};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::stdio::stdin;

use super::channel::{Channel, MAX_MESSAGE};
use super::image::image;
use super::leave::exit_now;
use super::mark::{self, Mark};
use super::program::{ANCHOR_MAGIC, anchor_offset};
use super::{descriptors, fatal, signals, watchdog};
use crate::process::worker::serve;

/// The exit code of a worker that cannot begin its work.
const CANNOT_START: i32 = 70;

#[cfg(feature = "constructor")]
mod constructor {
    //! Our entry in `.init_array`.

    use super::{cannot_start, checked, take_over};
    use std::ffi::{c_char, c_int};

    type Constructor = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

    // SAFETY of the section: it holds pointers to functions, which the C runtime calls with these arguments (musl
    // with none, and then they are not looked at).
    #[used]
    #[unsafe(link_section = ".init_array")]
    static ENTRY: Constructor = enter;

    unsafe extern "C" fn enter(
        count: c_int,
        arguments: *const *const c_char,
        environment: *const *const c_char,
    ) {
        let Some(start) = checked() else { return };
        for constructor in later_entries() {
            // SAFETY: the C runtime would have called it next, with the same arguments, and will not do so any more,
            // since this function does not return.
            unsafe { constructor(count, arguments, environment) };
        }
        take_over(start)
    }

    /// The program's entries after our own.
    fn later_entries() -> impl Iterator<Item = Constructor> {
        let (start, end) = bounds();
        let length = end.addr().saturating_sub(start.addr()) / size_of::<Constructor>();
        let entries = if start.is_null() {
            &[]
        } else {
            // SAFETY: the linker says that the program's entries lie between these two, and a constructor that
            // changed them would have to undo the protection that the loader has put on them. An entry may be null.
            unsafe { std::slice::from_raw_parts(start, length) }
        };
        let Some(place) = entries
            .iter()
            .position(|entry| entry.is_some_and(|entry| std::ptr::fn_addr_eq(entry, ENTRY)))
        else {
            cannot_start("its entry is not among the program's constructors")
        };
        entries[place + 1..].iter().copied().flatten()
    }

    /// Where the linker has put the program's entries; null in a shared library, for which it does not say so. That
    /// is why the symbols are weak, and why they are taken from the table that a null fits into.
    fn bounds() -> (*const Option<Constructor>, *const Option<Constructor>) {
        let (start, end);
        // SAFETY: it reads two addresses from the global offset table.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!(
                ".weak __init_array_start",
                ".hidden __init_array_start",
                ".weak __init_array_end",
                ".hidden __init_array_end",
                "mov {start}, qword ptr [rip + __init_array_start@GOTPCREL]",
                "mov {end}, qword ptr [rip + __init_array_end@GOTPCREL]",
                start = out(reg) start,
                end = out(reg) end,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!(
                ".weak __init_array_start",
                ".hidden __init_array_start",
                ".weak __init_array_end",
                ".hidden __init_array_end",
                "adrp {start}, :got:__init_array_start",
                "ldr {start}, [{start}, :got_lo12:__init_array_start]",
                "adrp {end}, :got:__init_array_end",
                "ldr {end}, [{end}, :got_lo12:__init_array_end]",
                start = out(reg) start,
                end = out(reg) end,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        (start, end)
    }
}

/// Becomes a worker if this process was started as one, and returns otherwise. To be called first in `main`.
///
/// With the feature `constructor` that has happened before `main`, and this returns at once.
pub(in crate::process) fn enter_if_worker() {
    if cfg!(not(feature = "constructor")) {
        if let Some(start) = checked() {
            take_over(start);
        }
    }
}

/// A worker that all is right with, its descriptors in order, before it takes over.
struct Start {
    mark: Mark,
    socket: UnixStream,
}

/// What the mark is worth.
enum Verdict {
    /// Everything fits.
    Ours(Mark),
    /// Everything fits, for another copy of this library in the same program.
    AnotherCopys,
    /// Everything fits, but the pool has died.
    Orphan,
    /// A variable that somebody has set.
    Forged,
}

/// Finds out whether this process is a worker, and secures what makes it one.
fn checked() -> Option<Start> {
    let value = env::var_os(mark::VARIABLE)?;
    match judge(&value) {
        Verdict::Ours(mark) => {
            remove_mark();
            Some(secured(mark))
        }
        Verdict::AnotherCopys => None,
        Verdict::Orphan => exit_now(0),
        Verdict::Forged => {
            remove_mark();
            None
        }
    }
}

fn judge(value: &OsStr) -> Verdict {
    // SAFETY: it reads a table that the kernel has filled.
    let is_privileged = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    let Some(mark) = Mark::from_value(value) else {
        return Verdict::Forged;
    };
    if is_privileged || peer_of(stdin()) != Some(mark.parent) || mark.parent == 0 {
        return Verdict::Forged;
    }
    if mark.anchor != anchor_offset() || mark.version != mark::VERSION {
        return if is_anchor(mark.anchor) {
            Verdict::AnotherCopys
        } else {
            Verdict::Forged
        };
    }
    if std::os::unix::process::parent_id() == mark.parent {
        Verdict::Ours(mark)
    } else {
        Verdict::Orphan
    }
}

/// Whether a copy of this library, of whatever version, has its anchor at this distance from the program's start.
fn is_anchor(offset: usize) -> bool {
    let start = image().base().wrapping_add(offset);
    let Some(end) = start.checked_add(ANCHOR_MAGIC.len()) else {
        return false;
    };
    offset != anchor_offset() && image().is_readable(start..end) && {
        // SAFETY: all of it lies in a readable segment of the program, and bytes need no alignment. If something
        // writes there at this moment it is no anchor, and before `main` hardly anything does.
        let found: [u8; 16] =
            unsafe { std::ptr::with_exposed_provenance::<[u8; 16]>(start).read_volatile() };
        found == ANCHOR_MAGIC
    }
}

/// The process at the other end, if this is a Unix stream socket that two processes share.
fn peer_of(descriptor: BorrowedFd<'_>) -> Option<u32> {
    let domain: libc::c_int = option(descriptor, libc::SO_DOMAIN)?;
    let kind: libc::c_int = option(descriptor, libc::SO_TYPE)?;
    if domain != libc::AF_UNIX || kind != libc::SOCK_STREAM {
        return None;
    }
    // Not by rustix, whose type for it has no place for the 0 of a process outside of our namespace.
    let peer: libc::ucred = option(descriptor, libc::SO_PEERCRED)?;
    u32::try_from(peer.pid).ok().filter(|pid| *pid != 0)
}

/// An option of a socket, of a type that the kernel fills.
fn option<T: PlainOption>(descriptor: BorrowedFd<'_>, name: libc::c_int) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the place, and says how many.
    let code = unsafe {
        libc::getsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // SAFETY: all of it has been written, and any bytes are valid (`PlainOption`).
    (code == 0 && length as usize == size_of::<T>()).then(|| unsafe { value.assume_init() })
}

/// # Safety
/// Any bytes are a valid value.
unsafe trait PlainOption {}

// SAFETY: an integer.
unsafe impl PlainOption for libc::c_int {}
// SAFETY: three integers.
unsafe impl PlainOption for libc::ucred {}

/// Removes the mark, so that no program started from here sees it.
fn remove_mark() {
    // Without the constructor this runs in `main`, where other threads may read the environment by C's `getenv`,
    // which knows no lock. The mark is worth nothing in another process, so it can stay.
    let is_safe = cfg!(feature = "constructor") || is_only_thread();
    if is_safe {
        // SAFETY: either this is the only thread, or it is before `main`: then other threads are those of libraries'
        // constructors, which have had the environment since before this program's own code began to run, and no code
        // of the program's own is on them.
        unsafe { env::remove_var(mark::VARIABLE) };
    }
}

fn is_only_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Takes the socket away from descriptor 0 before anything reads from it, and ties this process to its parent.
fn secured(mark: Mark) -> Start {
    let socket = match descriptors::take_input() {
        Ok(socket) => socket,
        Err(error) => cannot_start(&format!("its channel cannot be kept: {error}")),
    };
    signals::follow(mark.parent);
    // It may have died just before that.
    if !signals::has_parent() {
        exit_now(0);
    }
    Start {
        mark,
        socket: UnixStream::from(socket),
    }
}

/// The rest of this process's life: this thread becomes the watchdog, and another one runs tasks.
fn take_over(start: Start) -> ! {
    let Start { mark, socket } = start;
    mark::set_depth(mark.depth);
    signals::set_up();
    set_name(&mark.name);
    let watched = match descriptors::moved_up(socket.as_fd()) {
        Ok(watched) => watched,
        Err(error) => cannot_start(&format!("its channel cannot be watched: {error}")),
    };
    let channel = Channel::from(socket);
    let body = thread::Builder::new()
        .name(mark.name.to_string_lossy().into_owned())
        .stack_size(mark.stack_size)
        .spawn(move || run(channel));
    if let Err(error) = body {
        cannot_start(&format!("it cannot start a thread: {error}"));
    }
    watchdog::watch(watched, mark.parent)
}

/// The thread that runs tasks.
fn run(channel: Channel) -> ! {
    /// Ends the process if this thread does, which must not leave a worker that does nothing.
    struct EndWithThread;

    impl Drop for EndWithThread {
        fn drop(&mut self) {
            exit_now(CANNOT_START);
        }
    }

    let _end = EndWithThread;
    if let Err(error) = fatal::watch_this_thread() {
        cannot_start(&format!("its stack cannot be watched: {error}"));
    }
    let mut hello = vec![0; MAX_MESSAGE];
    let (length, descriptors) = match channel.receive(&mut hello, true) {
        // The pool has changed its mind, or has died.
        Ok((0, _)) => exit_now(0),
        Ok(message) => message,
        Err(error) => cannot_start(&format!("the pool's first message is broken: {error}")),
    };
    hello.truncate(length);
    let Ok([segment]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        cannot_start("the pool's first message is without shared memory")
    };
    serve(&hello, segment, channel)
}

fn set_name(name: &OsStr) {
    // The kernel keeps the first 15 bytes.
    if let Ok(name) = CString::new(name.as_bytes()) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Says why on stderr, which is where a program says so, and ends; the pool sees the exit code.
fn cannot_start(why: &str) -> ! {
    use io::Write;
    // There may be no stderr.
    let _ = writeln!(
        io::stderr(),
        "concurrent-futures: a worker process cannot start: {why}"
    );
    exit_now(CANNOT_START)
}
