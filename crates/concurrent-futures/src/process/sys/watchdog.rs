//! What a worker's main thread does: it ends the worker and all that its tasks have started when the pool is gone.
//!
//! The pool is gone when the other end of the channel is closed, or when the process that has it is dead, since a
//! program that it has started may hold the socket open. Tasks can close or replace any descriptor, so what the
//! kernel reports is believed only about what is still ours; the signal that `signals::follow` has asked for needs
//! none.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::descriptors;
use super::signals::{end_group, has_parent};

/// A descriptor that is watched as long as it is what it was.
struct Watched {
    /// Never closed here: by then the number may be that of a task's own file.
    descriptor: ManuallyDrop<OwnedFd>,
    identity: Option<(u64, u64)>,
    events: PollFlags,
}

impl Watched {
    fn new(descriptor: OwnedFd, events: PollFlags) -> Self {
        let identity = identity(&descriptor);
        Self {
            descriptor: ManuallyDrop::new(descriptor),
            identity,
            events,
        }
    }

    fn is_ours(&self) -> bool {
        self.identity.is_some() && identity(&*self.descriptor) == self.identity
    }
}

fn identity(descriptor: impl AsFd) -> Option<(u64, u64)> {
    let status = fstat(descriptor).ok()?;
    Some((status.st_dev, status.st_ino))
}

/// Watches over the parent until the end of this process. `socket` is a descriptor of the channel that nobody else
/// uses.
pub(super) fn watch(socket: OwnedFd, parent: u32) -> ! {
    // Nothing is asked for: the end is always told.
    let mut watched = vec![Watched::new(socket, PollFlags::empty())];
    let process = i32::try_from(parent)
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|parent| pidfd_open(parent, PidfdFlags::empty()).ok());
    if let Some(process) = process {
        let process = descriptors::moved_up(process.as_fd()).unwrap_or(process);
        watched.push(Watched::new(process, PollFlags::IN));
    }
    // After the pidfd is there, or it might be that of another process with the same number.
    loop {
        if !has_parent() {
            end_group();
        }
        let mut sources: Vec<_> = watched
            .iter()
            .map(|watched| PollFd::new(&*watched.descriptor, watched.events))
            .collect();
        // With nothing left to watch it sleeps until a signal.
        if poll(&mut sources, None).is_err() {
            continue;
        }
        let told: Vec<_> = sources.iter().map(PollFd::revents).collect();
        let mut told = told.into_iter();
        let is_socket_first = watched.first().is_some_and(|first| first.events.is_empty());
        let is_hung_up = told.as_slice().first().is_some_and(|told| {
            is_socket_first && told.intersects(PollFlags::HUP | PollFlags::ERR)
        });
        if is_hung_up && watched[0].is_ours() {
            end_group();
        }
        // Whatever else is told is of a descriptor that a task has closed or replaced, or of the parent's end, which
        // is seen above. Never again, so that this does not spin.
        watched.retain(|_| told.next().is_none_or(|told| told.is_empty()));
    }
}
