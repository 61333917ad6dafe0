//! The end of a worker that nobody has killed, and what is buffered until then.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long the end may take because some other thread holds an output buffer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ends this process after writing what is buffered for stdout and stderr, by std and by C.
///
/// Destructors of statics and what is registered with `atexit` do not run: they belong to a `main` that never ran.
///
/// A thread that the user has started may hold the lock of a buffer for ever, say because it waits for input, so the
/// writing has a second and then is given up.
pub(in crate::process) fn leave(code: i32) -> ! {
    let (done, is_done) = mpsc::channel::<()>();
    let flusher = thread::Builder::new()
        .name("flush".to_owned())
        .spawn(move || {
            flush();
            drop(done);
        });
    match flusher {
        // It ends when the other end is dropped.
        Ok(_) => drop(is_done.recv_timeout(PATIENCE)),
        Err(_) => flush(),
    }
    exit_now(code)
}

/// Ends this process without writing anything.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: it takes no pointers and runs no code of this process.
    unsafe { libc::_exit(code) }
}

/// Writes what is buffered for stdout and stderr, by std and by C.
///
/// Other streams of C are left alone: one that a thread reads from is locked for as long as it waits.
pub(in crate::process) fn flush_output() {
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
        static stderr: *mut libc::FILE;
    }
    // There is nobody to tell that it failed.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    // SAFETY: the C library has set both before any code of the program runs, to statics of its own, which stay where
    // they are when a task closes them. A null, if a task sets them to that, means all streams.
    unsafe {
        libc::fflush(stdout);
        libc::fflush(stderr);
    }
}

fn flush() {
    flush_output();
    // SAFETY: a null pointer means all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}
