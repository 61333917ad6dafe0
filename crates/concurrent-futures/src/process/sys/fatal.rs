//! Noting why this process is about to die of a signal, as far as it can know: that the thread that runs tasks has
//! used up its stack, or that memory was refused just before.
//!
//! The signal is handled on a stack of its own. The handler writes one word of shared memory, says on stderr that the
//! stack has overflowed, as std's handler would, puts back what handled the signal before, and returns, so that the
//! fault happens again and ends the process as it would have without us.
//!
//! Who is refused memory by the system finds ENOMEM in `errno`, and programs that cannot go on then abort (as Rust's
//! do) or follow a null pointer. So ENOMEM in `errno` of the thread that dies is evidence. It is no proof, since the
//! program may have lived with the refusal for long; nor is something else there, since a program may do a lot before it
//! gives up, such as to print a backtrace.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use super::signals;

/// Where to write, or null.
static NOTE: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
/// The addresses at which a fault of the watched thread is an overflow.
static GUARD_START: AtomicUsize = AtomicUsize::new(0);
static GUARD_END: AtomicUsize = AtomicUsize::new(0);

const TEXT: &[u8] =
    b"\na worker process has overflowed the stack of the thread that runs its tasks\n";

/// The signals by which the kernel tells of a fault, and the one by which a program gives up.
const SIGNALS: [libc::c_int; 3] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT];

/// What a worker knows of its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::process) enum FatalNote {
    /// The stack of the thread that runs tasks has overflowed.
    StackOverflow = 1,
    /// Memory was refused, probably just before.
    OutOfMemory = 2,
}

impl FatalNote {
    /// What was noted in the word that was given to [`set_fatal_note`], if anything.
    pub(in crate::process) fn read(word: &AtomicU32) -> Option<Self> {
        // Relaxed: it is read when the process that wrote it is dead.
        match word.load(Relaxed) {
            1 => Some(Self::StackOverflow),
            2 => Some(Self::OutOfMemory),
            _ => None,
        }
    }

    /// Only what is allowed in a handler.
    fn write(self) {
        // The memory is not mapped in a forked copy, whose death is not the worker's either.
        if signals::is_forked() {
            return;
        }
        // Acquire: pairs with the Release of `set_fatal_note`.
        let word = NOTE.load(Acquire);
        // SAFETY: the pointer is null or was made from a reference that is valid as long as this process lives.
        if let Some(word) = unsafe { word.as_ref() } {
            // The first is the cause: who overflows the stack may abort then.
            let _ = word.compare_exchange(0, self as u32, Release, Relaxed);
        }
    }
}

static BEFORE: Before = Before {
    actions: UnsafeCell::new(MaybeUninit::uninit()),
    is_set: AtomicBool::new(false),
};

/// What handled the signals before, in the order of [`SIGNALS`].
struct Before {
    actions: UnsafeCell<MaybeUninit<[libc::sigaction; SIGNALS.len()]>>,
    is_set: AtomicBool,
}

// SAFETY: the actions are written once, before `is_set` (`install`), and only read after it.
unsafe impl Sync for Before {}

/// Sets the word in which this process notes why it dies.
pub(in crate::process) fn set_fatal_note(word: &'static AtomicU32) {
    // Release: pairs with the handler's Acquire. The word itself has been there for long.
    NOTE.store(ptr::from_ref(word).cast_mut(), Release);
}

/// Makes an overflow of the calling thread's stack be noted. Only one thread of a process is watched.
pub(super) fn watch_this_thread() -> io::Result<()> {
    let (start, end) = guard_of_this_thread()?;
    GUARD_START.store(start, Relaxed);
    GUARD_END.store(end, Relaxed);
    use_alternate_stack()?;
    install();
    Ok(())
}

fn install() {
    // Release and Acquire are the handler's business; here it only keeps a second call from writing.
    if BEFORE.is_set.load(Acquire) {
        return;
    }
    let actions = SIGNALS.map(|signal| signals::handle(signal, note, libc::SA_ONSTACK));
    // SAFETY: only the one thread that is watched calls this, once, and nobody reads before `is_set`. A fault of some
    // other thread in between finds it unset, and gets the default.
    unsafe { (*BEFORE.actions.get()).write(actions) };
    // Release: pairs with the handler's Acquire, so that it reads whole actions.
    BEFORE.is_set.store(true, Release);
}

/// The handler. It may run on any thread, at any place.
unsafe extern "C" fn note(
    signal: libc::c_int,
    information: *mut libc::siginfo_t,
    _: *mut libc::c_void,
) {
    // SAFETY: the kernel passes the information of a signal, which has an address if its code is the kernel's.
    let (code, address) = unsafe { ((*information).si_code, (*information).si_addr().addr()) };
    // 0 or less: sent by a program and not by a fault, so there is no address.
    let is_fault = code > 0;
    if is_fault && (GUARD_START.load(Relaxed)..GUARD_END.load(Relaxed)).contains(&address) {
        FatalNote::StackOverflow.write();
        // SAFETY: the bytes are a static's. The call is allowed in a handler, and `errno` does not matter any more.
        unsafe { libc::write(libc::STDERR_FILENO, TEXT.as_ptr().cast(), TEXT.len()) };
    } else if io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM) {
        FatalNote::OutOfMemory.write();
    }
    let default = MaybeUninit::<libc::sigaction>::zeroed();
    // Acquire: pairs with the Release in `install`.
    let before = if BEFORE.is_set.load(Acquire) {
        // SAFETY: it is set, so the actions are written and do not change any more.
        unsafe { (*BEFORE.actions.get()).assume_init_ref() }
            .iter()
            .zip(SIGNALS)
            .find(|(_, known)| *known == signal)
            .map_or(default.as_ptr(), |(before, _)| ptr::from_ref(before))
    } else {
        default.as_ptr()
    };
    // SAFETY: it is a valid action, or all zero, which is the default one; both calls are allowed in a handler.
    unsafe {
        libc::sigaction(signal, before, null_mut());
        if !is_fault {
            // It does not happen again by itself. It is blocked until this returns.
            libc::raise(signal);
        }
    }
}

/// Where the guard of this thread's stack is. Versions of the C library differ in whether the guard is part of the
/// stack, so what lies on either side of the stack's lower end counts, as std does it.
fn guard_of_this_thread() -> io::Result<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the attributes are filled for the calling thread, which exists, before they are read, and given back
    // after; all pointers are to places of the right type.
    unsafe {
        let check = |code| match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        };
        check(libc::pthread_getattr_np(
            libc::pthread_self(),
            attributes.as_mut_ptr(),
        ))?;
        let (mut start, mut size, mut guard) = (null_mut(), 0, 0);
        let stack = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size);
        let guarded = libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        check(stack)?;
        check(guarded)?;
        let guard = guard.max(rustix::param::page_size());
        Ok((
            start.addr().saturating_sub(guard),
            start.addr().saturating_add(guard),
        ))
    }
}

/// Gives the calling thread a stack for handlers, with a guard of its own, for as long as the process lives.
fn use_alternate_stack() -> io::Result<()> {
    /// What the handler here needs is little; what was there before may need more.
    const USUAL_SIZE: usize = 64 << 10;
    let page = rustix::param::page_size();
    // SAFETY: it reads a table that the kernel has filled. 0 if it says nothing.
    let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let size = (least + USUAL_SIZE).next_multiple_of(page);
    // SAFETY: with a null address the kernel chooses a free place. The lowest page of it is made the guard, and the
    // rest is used for nothing else.
    unsafe {
        let start = mmap_anonymous(
            null_mut(),
            page + size,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?;
        mprotect(start, page, MprotectFlags::empty())?;
        let stack = libc::stack_t {
            ss_sp: start.byte_add(page),
            ss_flags: 0,
            ss_size: size,
        };
        if libc::sigaltstack(&raw const stack, null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
