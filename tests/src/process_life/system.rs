//! What the kernel says of processes, and signals to them. A process is held by its pidfd, so that
//! none is taken for another that has got its number.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What must end does so within this time.
pub(super) const SOON: Duration = Duration::from_secs(2);

pub(super) struct Process {
    pid: u32,
    /// None if it had ended, and was waited for, before it was looked at.
    descriptor: Option<OwnedFd>,
}

impl Process {
    pub(super) fn of(pid: u32) -> Self {
        let number = Pid::from_raw(pid.cast_signed()).expect("a process id");
        let descriptor = pidfd_open(number, PidfdFlags::empty()).ok();
        Self { pid, descriptor }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn signal(&self, signal: Signal) {
        let descriptor = self.descriptor.as_ref().expect("it was alive");
        match pidfd_send_signal(descriptor, signal) {
            // It has ended in between.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Kills it if it is a child of this process, and not one that has got the number of a child.
    pub(super) fn kill_if_ours(&self) -> bool {
        let is_ours = children_of(std::process::id()).contains(&self.pid);
        is_ours && self.is_alive() && {
            self.kill();
            true
        }
    }

    /// Whether it ends within the time.
    pub(super) fn ends_within(&self, limit: Duration) -> bool {
        let Some(descriptor) = &self.descriptor else {
            return true;
        };
        let limit = Timespec::try_from(limit).expect("a short time");
        let mut sources = [PollFd::new(descriptor, PollFlags::IN)];
        poll(&mut sources, Some(&limit)).expect("it can be watched") == 1
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// How many processes there are below it.
    pub(super) fn descendants(&self) -> usize {
        children_of(self.pid)
            .into_iter()
            .map(|child| 1 + Self::of(child).descendants())
            .sum()
    }

    /// Whether none of its threads runs.
    pub(super) fn is_asleep(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return false;
        };
        threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok())
            .all(|stat| {
                let state = stat
                    .rsplit(") ")
                    .next()
                    .and_then(|rest| rest.chars().next());
                matches!(state, Some('S' | 'T'))
            })
    }
}

/// The children of a process, as far as the kernel tells; none if it is gone.
pub(super) fn children_of(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|line| {
            let children = line
                .split_whitespace()
                .map(|child| child.parse().expect("a process id"));
            children.collect::<Vec<_>>()
        })
        .collect()
}

/// Each must end soon.
pub(super) fn assert_ended(processes: &[Process]) {
    for process in processes {
        let has_ended = process.ends_within(SOON);
        let what = fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        assert!(has_ended, "process {} lives on: {what:?}", process.pid);
    }
}

/// The other end of a pipe must be closed soon: nobody may be left who holds it. Gives what came.
pub(super) fn read_to_its_end(mut pipe: impl Read + std::os::fd::AsFd) -> String {
    let limit = Timespec::try_from(SOON).expect("a short time");
    let mut text = Vec::new();
    loop {
        let mut sources = [PollFd::new(&pipe, PollFlags::IN)];
        let is_told = poll(&mut sources, Some(&limit)).expect("a pipe");
        let so_far = String::from_utf8_lossy(&text);
        assert!(
            is_told == 1,
            "a process is left that holds the pipe; it has said {so_far:?}"
        );
        let mut part = [0; 4096];
        match pipe.read(&mut part).expect("a pipe") {
            0 => return String::from_utf8(text).expect("text"),
            length => text.extend_from_slice(&part[..length]),
        }
    }
}
