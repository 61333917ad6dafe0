//! The signals of a worker, as a Rust program has them in `main`, and a little safer.
//!
//! A program starts with the mask and the ignored signals of the thread that started it, so these are set to what
//! tasks can rely on: nothing blocked, SIGPIPE ignored as std does, TERM and the like at their defaults.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};

use super::leave::exit_now;

/// Signals that must do what they do by default, even where this process was started by one that ignores them.
const AT_DEFAULT: [libc::c_int; 8] = [
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGCHLD,
    libc::SIGABRT,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGBUS,
];

/// The process that started this one; it never changes after it was set.
static PARENT: AtomicU32 = AtomicU32::new(0);
/// This process; a forked copy has another number.
static SELF: AtomicU32 = AtomicU32::new(0);

pub(super) type Handler =
    unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs a handler that takes the signal's information, and gives what was there before.
pub(super) fn handle(signal: libc::c_int, handler: Handler, flags: libc::c_int) -> libc::sigaction {
    set(
        signal,
        handler as *const () as libc::sighandler_t,
        flags | libc::SA_SIGINFO,
    )
}

fn set(
    signal: libc::c_int,
    disposition: libc::sighandler_t,
    flags: libc::c_int,
) -> libc::sigaction {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zero is a valid `sigaction`, with an empty mask. The handlers of this crate do only what is
    // allowed in a handler. For a signal that cannot be handled nothing is written and the zeroes stay, which mean
    // the default.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = disposition;
        action.sa_flags = flags;
        libc::sigaction(signal, &raw const action, before.as_mut_ptr());
        before.assume_init()
    }
}

fn disposition(signal: libc::c_int) -> libc::sighandler_t {
    let mut current = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it only reads, into a place of the right type, for which all zero is valid too.
    unsafe {
        libc::sigaction(signal, ptr::null(), current.as_mut_ptr());
        current.assume_init().sa_sigaction
    }
}

/// Puts the signals of this process and this thread in order. Threads that are started later have the same.
pub(super) fn set_up() {
    for signal in AT_DEFAULT {
        // A handler belongs to a constructor of the user's and stays.
        if disposition(signal) == libc::SIG_IGN {
            set(signal, libc::SIG_DFL, 0);
        }
    }
    set(libc::SIGPIPE, libc::SIG_IGN, 0);
    // What Ctrl-C means is the pool's to decide. A handler and not SIG_IGN, which the programs that tasks start would
    // inherit.
    survive(libc::SIGINT);
    // A worker is not in the terminal's foreground group, so a task that reads from the terminal or sets it up
    // would be stopped. Ignored, reading fails and setting up succeeds. A handler would not do: the call is started
    // again after it, and again.
    set(libc::SIGTTIN, libc::SIG_IGN, 0);
    set(libc::SIGTTOU, libc::SIG_IGN, 0);
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is made empty before it is read.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Makes a signal that would end this process do nothing. Programs that tasks start have its default.
pub(super) fn survive(signal: libc::c_int) {
    handle(signal, do_nothing, libc::SA_RESTART);
}

/// Never called in a forked copy that matters, and touches nothing.
unsafe extern "C" fn do_nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Has the kernel tell this process when `parent` has died, and ends the whole group then.
///
/// As plain SIGKILL the kernel's signal would end this process and leave alone what tasks have started. Whoever calls
/// this compares the parent afterwards, which may have died before.
pub(super) fn follow(parent: u32) {
    PARENT.store(parent, Relaxed);
    SELF.store(std::process::id(), Relaxed);
    // The last real-time signals are the least likely to be in use.
    let signal = libc::SIGRTMAX() - 1;
    handle(
        signal,
        parent_may_have_died,
        libc::SA_RESTART | libc::SA_ONSTACK,
    );
    // SAFETY: it takes a number, and the handler for it is installed. A filter may refuse it; then the watchdog is
    // what remains.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) };
}

/// Whether this process is not the worker, but one that a task has made by `fork`.
pub(super) fn is_forked() -> bool {
    std::process::id() != SELF.load(Relaxed)
}

/// Whether the process that started this one is still its parent.
pub(super) fn has_parent() -> bool {
    std::os::unix::process::parent_id() == PARENT.load(Relaxed)
}

/// The kernel sends the signal also when only the thread that started this process has ended, and anybody else may
/// send it too; a forked copy of this process has another parent. So it is a reason to look, and no more.
unsafe extern "C" fn parent_may_have_died(
    _: libc::c_int,
    _: *mut libc::siginfo_t,
    _: *mut libc::c_void,
) {
    // Only system calls, which are allowed here; `errno` is not touched, since rustix calls the kernel itself and
    // these two of libc cannot fail.
    if !is_forked() && !has_parent() {
        end_group();
    }
}

/// Ends this process and all in its group, at once.
pub(super) fn end_group() -> ! {
    // Not if a task has moved this process to a group that is not its own.
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    exit_now(1)
}
