//! Sleeping until a word in shared memory changes.
//!
//! The words may be in memory that several processes map, so waiters are found by page and not by address: no flag
//! says that they are private. Every wait may end for no reason at all, so the caller looks at the word again.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, ClockId, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::clock_gettime;

/// How many words one call of [`wait_any`] can watch.
pub(in crate::process) const MAX_WORDS: usize = 128;

/// Sleeps while `word` is `expected`, until a wake-up, a signal, or the end of `timeout`.
pub(in crate::process) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // The value has changed, a signal, the timeout: the caller looks again in each case. Any other error would be a
    // mistake in the arguments, of which there is none to make.
    let _ = futex::wait(word, Flags::empty(), expected, timeout.as_ref());
}

/// Wakes one of those who sleep on `word`.
pub(in crate::process) fn wake(word: &AtomicU32) {
    // It fails for words that are not mapped only.
    let _ = futex::wake(word, Flags::empty(), 1);
}

/// Sleeps while each word is what is expected of it, until a wake-up of one of them, a signal, or the end of
/// `timeout`.
///
/// # Errors
/// `Unsupported` where the system cannot do this: Linux before 5.16, or a seccomp filter that does not know the call.
/// `InvalidInput` for no words or more than [`MAX_WORDS`].
pub(in crate::process) fn wait_any(
    words: &[(&AtomicU32, u32)],
    timeout: Option<Duration>,
) -> io::Result<()> {
    if words.is_empty() || words.len() > MAX_WORDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("cannot wait for {} words at once", words.len()),
        ));
    }
    let mut waits = [Wait::new(); MAX_WORDS];
    for (wait, (word, expected)) in waits.iter_mut().zip(words) {
        wait.val = u64::from(*expected);
        wait.uaddr = WaitPtr::new(word.as_ptr().cast());
        wait.flags = WaitFlags::SIZE_U32;
    }
    // This call wants the time at which it ends. One so far away that it cannot be said is never.
    let deadline = timeout
        .and_then(|timeout| Timespec::try_from(timeout).ok())
        .and_then(|timeout| clock_gettime(ClockId::Monotonic).checked_add(timeout));
    match futex::waitv(
        &waits[..words.len()],
        WaitvFlags::empty(),
        deadline.as_ref(),
        ClockId::Monotonic,
    ) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(error @ (Errno::NOSYS | Errno::PERM)) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, error))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::super::segment::{Segment, Shared};
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;
    use std::thread;
    use std::time::Instant;

    #[repr(C)]
    struct Words([AtomicU32; 3]);

    // SAFETY: atomics only, `repr(C)`, alignment 4.
    unsafe impl Shared for Words {}

    /// How long a wait lasts that nobody ends.
    const LONG: Duration = Duration::from_secs(10);

    /// One memory, mapped twice: the words have different addresses.
    fn twice() -> (Segment<Words>, Segment<Words>) {
        let one = Segment::<Words>::create("words").expect("it is made");
        let descriptor = one.descriptor().try_clone_to_owned().expect("duplicated");
        (one, Segment::open(descriptor).expect("it is opened"))
    }

    #[test]
    fn a_wake_up_reaches_those_who_wait_at_another_address() {
        let (ours, theirs) = twice();
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let waiter = scope.spawn(move || {
                tell.send(rustix::thread::gettid())
                    .expect("somebody listens");
                let start = Instant::now();
                while theirs.0[0].load(SeqCst) == 0 {
                    wait(&theirs.0[0], 0, Some(LONG));
                }
                start.elapsed()
            });
            // Until the waiter sleeps: a value that it sees before needs no wake-up.
            let thread = told.recv().expect("it runs").as_raw_nonzero();
            let status = format!("/proc/self/task/{thread}/stat");
            while !std::fs::read_to_string(&status)
                .expect("it runs")
                .contains(") S ")
            {
                thread::yield_now();
            }
            ours.0[0].store(5, SeqCst);
            wake(&ours.0[0]);
            assert!(waiter.join().expect("it ends") < LONG);
        });
    }

    #[test]
    fn one_of_many_words_is_enough() {
        let (ours, theirs) = twice();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                while theirs.0[2].load(SeqCst) == 0 {
                    let words = theirs.0.each_ref().map(|word| (word, 0));
                    wait_any(&words, None)?;
                }
                Ok::<_, io::Error>(())
            });
            ours.0[2].store(1, SeqCst);
            wake(&ours.0[2]);
            match waiter.join().expect("it ends") {
                Ok(()) => {}
                // A kernel before 5.16 is allowed to say so.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
            }
        });
    }

    #[test]
    fn a_timeout_ends_the_wait_and_not_before() {
        let word = AtomicU32::new(0);
        let timeout = Duration::from_millis(30);
        let start = Instant::now();
        while start.elapsed() < timeout {
            wait(&word, 0, Some(timeout - start.elapsed()));
        }
        let start = Instant::now();
        match wait_any(&[(&word, 0)], Some(timeout)) {
            // A signal may have come before.
            Ok(()) => assert!(start.elapsed() > Duration::from_millis(1)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
    }

    #[test]
    fn another_value_is_not_waited_for() {
        let word = AtomicU32::new(1);
        wait(&word, 0, None);
        if let Err(error) = wait_any(&[(&word, 0)], None) {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
    }

    #[test]
    fn too_many_words_are_refused() {
        let word = AtomicU32::new(0);
        let many = vec![(&word, 0); MAX_WORDS + 1];
        let error = wait_any(&many, None).expect_err("too many");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(wait_any(&[], None).is_err());
        let most = vec![(&word, 1); MAX_WORDS];
        if let Err(error) = wait_any(&most, None) {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
    }
}
