//! Starting a worker, signalling it and burying it, so that no signal ever reaches a process that is not ours.
//!
//! The number of a process may be given to another one once it was waited for. So everything that names the worker
//! or its group by number happens while the worker is a child that nobody has waited for, running or dead; the rest
//! goes by its pidfd, which is never another process's. Where there are no pidfds (Linux before 5.4, filters for
//! system calls that do not know them, valgrind) a thread waits for the worker instead and tells by a pipe.
//!
//! Nothing is done between fork and exec, so that std starts programs by `posix_spawn`: that costs the same for a
//! parent of any size.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, getpgid, kill_process,
    kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};

pub(in crate::process) use rustix::process::Signal;

use super::mark::{self, Mark};
use super::program::{self, Program};

/// The stack of the thread that runs tasks, in bytes, where nothing else is said: that of a main thread.
const DEFAULT_STACK_SIZE: usize = 8 << 20;

/// What to start a worker with.
#[derive(Debug)]
pub(in crate::process) struct Launch<'a> {
    /// What to start.
    pub(in crate::process) program: &'a Program,
    /// The name of the worker, in `ps` (its first 15 bytes) and of the thread that runs tasks.
    pub(in crate::process) name: &'a str,
    /// Variables that differ from ours: a value, or none to remove one.
    pub(in crate::process) environment: &'a [(OsString, Option<OsString>)],
    /// The directory to start in, if not ours.
    pub(in crate::process) current_dir: Option<&'a Path>,
    /// Bytes of stack for the thread that runs tasks, if not 8 MiB.
    pub(in crate::process) stack_size: Option<usize>,
    /// The worker's end of the channel, its descriptor 0.
    pub(in crate::process) stdin: OwnedFd,
    /// Its stdout and stderr, if not ours.
    pub(in crate::process) output: Option<[OwnedFd; 2]>,
}

impl Launch<'_> {
    /// Starts the worker.
    ///
    /// It dies when the calling thread's process does; the calling thread itself should live as long, since the
    /// kernel's signal for that is bound to the thread (the worker looks again when it comes, so that nothing bad
    /// happens otherwise).
    ///
    /// # Errors
    /// The system's.
    pub(in crate::process) fn launch(self) -> io::Result<Child> {
        let mark = Mark {
            version: mark::VERSION.to_owned(),
            anchor: program::anchor_offset(),
            parent: std::process::id(),
            stack_size: self.stack_size.unwrap_or(DEFAULT_STACK_SIZE),
            depth: mark::depth().saturating_add(1),
            name: OsString::from(self.name),
        };
        let mut command = Command::new(self.program.path());
        let mut arguments = std::env::args_os();
        if let Some(own_name) = arguments.next() {
            command.arg0(own_name);
        }
        command.args(arguments);
        for (key, value) in self.environment {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.env(mark::VARIABLE, mark.to_value());
        if let Some(path) = self.current_dir {
            command.current_dir(path);
        }
        if let Some([stdout, stderr]) = self.output {
            command.stdout(stdout).stderr(stderr);
        }
        let mut spawned = command
            .process_group(0)
            .stdin(Stdio::from(self.stdin))
            .spawn()?;
        let pid = Pid::from_child(&spawned);
        match Watch::new(pid) {
            Ok(watch) => Ok(Child {
                pid,
                watch,
                is_reaped: false,
            }),
            // Dead, waited for by somebody else, and perhaps its number is another process's already.
            Err(Errno::CHILD | Errno::SRCH) => Err(io::Error::other(
                "the worker process ended before it could be watched, and somebody else has waited for it",
            )),
            Err(error) => {
                // As long as it is ours to wait for, its number is nobody else's.
                if look(WaitId::Pid(pid)).is_ok() {
                    let _ = spawned.kill();
                    let _ = spawned.wait();
                }
                Err(error.into())
            }
        }
    }
}

/// What is readable once a worker has ended.
#[derive(Debug)]
enum Watch {
    Pidfd(OwnedFd),
    Pipe(OwnedFd),
}

impl Watch {
    fn new(pid: Pid) -> Result<Self, Errno> {
        let watched = pidfd_open(pid, PidfdFlags::empty()).and_then(|descriptor| {
            // Only what is our own child can be waited for, so this number was not another process's in between.
            look(WaitId::PidFd(descriptor.as_fd()))?;
            Ok(Self::Pidfd(descriptor))
        });
        match watched {
            // waitid says INVAL where it does not know pidfds.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Self::by_thread(pid),
            watched => watched,
        }
    }

    fn by_thread(pid: Pid) -> Result<Self, Errno> {
        look(WaitId::Pid(pid))?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        thread::Builder::new()
            .name("worker-exit".to_owned())
            .spawn(move || {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                // An error means that somebody else has waited for it, so it has ended too.
                let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
                // The reader is gone if nobody wants to know any more.
                let _ = rustix::io::write(&writer, &[0]);
            })
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Self::Pipe(reader))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pidfd(descriptor) => descriptor.as_fd(),
            Self::Pipe(reader) => reader.as_fd(),
        }
    }
}

/// Whether a child has ended, which it stays until it is waited for.
fn look(id: WaitId<'_>) -> Result<Option<WaitIdStatus>, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let id = &id;
    retry_on_intr(|| waitid(id.clone(), options))
}

/// A worker process.
///
/// Dropping it leaves the process alone. Who wants it gone signals and reaps it.
#[derive(Debug)]
pub(in crate::process) struct Child {
    pid: Pid,
    watch: Watch,
    is_reaped: bool,
}

/// How a worker process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) enum Exit {
    /// It has exited with this code.
    Code(i32),
    /// This signal has ended it.
    Signal(i32),
    /// Somebody else has waited for it: this process ignores SIGCHLD, or user code waits for any child.
    Unknown,
}

impl Child {
    /// Its number, also that of the group that it was started in.
    pub(in crate::process) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What is readable once it has ended: its pidfd, where there are such.
    pub(in crate::process) fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn id(&self) -> WaitId<'_> {
        match &self.watch {
            Watch::Pidfd(descriptor) => WaitId::PidFd(descriptor.as_fd()),
            Watch::Pipe(_) => WaitId::Pid(self.pid),
        }
    }

    /// Whether it is running, or stopped.
    pub(in crate::process) fn is_alive(&self) -> bool {
        !self.is_reaped && matches!(look(self.id()), Ok(None))
    }

    /// The signal that has stopped it, while it is stopped. What a debugger does to it is no such stop.
    pub(in crate::process) fn stopped_by(&self) -> Option<i32> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let status = retry_on_intr(|| waitid(self.id(), options))
            .ok()
            .flatten()?;
        status.stopping_signal()
    }

    /// Whether a debugger, or a tool like one, is attached to it.
    ///
    /// To be called while it was not waited for, so that its number is its own.
    pub(in crate::process) fn is_traced(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let is_other = |line: &str| {
            line.strip_prefix("TracerPid:")
                .is_some_and(|pid| pid.trim() != "0")
        };
        status.is_ok_and(|status| status.lines().any(is_other))
    }

    /// How long its threads have run, together. It stays the same while it is stopped.
    ///
    /// To be called while it was not waited for, so that its number is its own.
    pub(in crate::process) fn cpu_time(&self) -> Option<Duration> {
        let mut clock = 0;
        // SAFETY: the place is of the right type.
        if unsafe { libc::clock_getcpuclockid(self.pid.as_raw_nonzero().get(), &raw mut clock) }
            != 0
        {
            return None;
        }
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: as above.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return None;
        }
        let (seconds, nanos) = (time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?);
        Some(Duration::new(seconds, nanos))
    }

    /// Sends a signal to the worker and everything in its group.
    ///
    /// TERM is followed by CONT, so that what is stopped gets it too.
    ///
    /// # Errors
    /// `NotFound` if the worker was waited for already, by us or by somebody else; otherwise the system's.
    pub(in crate::process) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if self.is_reaped || matches!(look(self.id()), Err(Errno::CHILD)) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the worker process has ended",
            ));
        }
        self.send(signal)?;
        if signal == Signal::TERM {
            self.send(Signal::CONT)?;
        }
        Ok(())
    }

    /// To be called while the number is the worker's.
    fn send(&self, signal: Signal) -> Result<(), Errno> {
        let to_group = kill_process_group(self.pid, signal);
        // A task may have moved the worker to another group, which is not ours to signal.
        if getpgid(Some(self.pid)).is_ok_and(|group| group == self.pid) {
            to_group
        } else {
            let to_worker = match &self.watch {
                Watch::Pidfd(descriptor) => pidfd_send_signal(descriptor, signal),
                Watch::Pipe(_) => kill_process(self.pid, signal),
            };
            match to_worker {
                // It has ended, and what was left of the group has the signal.
                Err(Errno::SRCH) => Ok(()),
                sent => sent,
            }
        }
    }

    /// Waits for the worker to end, ends what it has left behind in its group, and lets go of its number.
    ///
    /// Meant to be called once [`as_fd`](Self::as_fd) is readable; before, it blocks. A second call says the same
    /// as the first only if that was `Unknown`.
    pub(in crate::process) fn reap(&mut self) -> Exit {
        if self.is_reaped {
            return Exit::Unknown;
        }
        let wait = |options| retry_on_intr(|| waitid(self.id(), options));
        if wait(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).is_err() {
            self.is_reaped = true;
            return Exit::Unknown;
        }
        // The dead worker keeps its number from being used again, and one KILL to a group misses nobody, forking or
        // not. That the group is empty is the usual case.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = wait(WaitIdOptions::EXITED);
        self.is_reaped = true;
        match status {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            Ok(None) | Err(_) => Exit::Unknown,
        }
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::io::Read;

    type Watching = fn(Pid) -> Result<Watch, Errno>;

    /// Both ways of watching.
    const WAYS: [Watching; 2] = [Watch::new, Watch::by_thread];

    /// A program that ends as it is told, watched as a worker is.
    fn shell(script: &str, watch: Watching) -> Child {
        start(Command::new("/bin/sh").args(["-c", script]), watch)
    }

    #[expect(clippy::zombie_processes, reason = "waited for by what is tested")]
    fn start(command: &mut Command, watch: Watching) -> Child {
        let spawned = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let pid = Pid::from_child(&spawned);
        Child {
            pid,
            watch: watch(pid).expect("it is a child"),
            is_reaped: false,
        }
    }

    fn wait_until_readable(child: &Child) {
        let mut sources = [PollFd::from_borrowed_fd(child.as_fd(), PollFlags::IN)];
        retry_on_intr(|| poll(&mut sources, None)).expect("it can be polled");
        assert!(sources[0].revents().contains(PollFlags::IN));
    }

    #[test]
    fn an_exit_says_how_it_was() {
        for watch in WAYS {
            let mut child = shell("exit 3", watch);
            wait_until_readable(&child);
            assert!(!child.is_alive());
            assert_eq!(child.reap(), Exit::Code(3));
            assert_eq!(child.reap(), Exit::Unknown);
            let killed = shell("kill -USR1 $$", watch).reap();
            assert_eq!(killed, Exit::Signal(libc::SIGUSR1));
        }
    }

    #[test]
    fn a_worker_that_somebody_else_has_waited_for_is_unknown_and_not_signalled() {
        for watch in WAYS {
            let mut child = shell("read line; exit 3", watch);
            waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED).expect("it is a child");
            wait_until_readable(&child);
            assert!(!child.is_alive());
            let error = child.signal_group(Signal::KILL).expect_err("gone");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert_eq!(child.reap(), Exit::Unknown);
        }
    }

    #[test]
    fn a_stopped_worker_is_ended_by_term() {
        for watch in WAYS {
            let mut child = shell("kill -STOP $$; exit 0", watch);
            let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(child.pid), stopped).expect("it is a child");
            assert!(child.is_alive());
            child.signal_group(Signal::TERM).expect("it is alive");
            assert_eq!(child.reap(), Exit::Signal(libc::SIGTERM));
        }
    }

    #[test]
    fn a_worker_is_stopped_until_it_goes_on_and_runs_no_more_meanwhile() {
        for watch in WAYS {
            let mut child = shell("kill -STOP $$; exec sleep 1000", watch);
            let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(child.pid), stopped).expect("it is a child");
            assert_eq!(child.stopped_by(), Some(libc::SIGSTOP));
            assert_eq!(
                child.stopped_by(),
                Some(libc::SIGSTOP),
                "it was only looked at"
            );
            let time = child.cpu_time().expect("it is a child");
            assert!(time > Duration::ZERO);
            assert_eq!(child.cpu_time(), Some(time));
            child.signal_group(Signal::CONT).expect("it is alive");
            assert_eq!(child.stopped_by(), None);
            while child.cpu_time() == Some(time) {
                thread::yield_now();
            }
            child.signal_group(Signal::KILL).expect("it is alive");
            assert_eq!(child.reap(), Exit::Signal(libc::SIGKILL));
            assert_eq!(child.stopped_by(), None);
        }
    }

    #[test]
    fn what_a_worker_leaves_behind_dies_with_it() {
        for watch in WAYS {
            // The pipe is closed when the last process that holds it has ended.
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "sleep 1000 & exit 0"]).stdout(writer);
            let mut child = start(&mut command, watch);
            drop(command);
            assert_eq!(child.reap(), Exit::Code(0));
            assert_eq!(reader.read(&mut [0]).expect("it ends"), 0);
        }
    }

    #[test]
    fn a_signal_reaches_all_of_the_group() {
        for watch in WAYS {
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", "sleep 1000 & echo; wait"])
                .stdout(writer);
            let mut child = start(&mut command, watch);
            drop(command);
            reader.read_exact(&mut [0]).expect("both run");
            child.signal_group(Signal::KILL).expect("it is alive");
            assert_eq!(reader.read(&mut [0]).expect("both have ended"), 0);
            assert_eq!(child.reap(), Exit::Signal(libc::SIGKILL));
        }
    }
}
