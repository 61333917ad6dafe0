//! What goes to a worker: tasks and other calls, in frames of its ring, and what is too large for them in
//! memory of the pool.

use std::sync::Arc;

use super::{Entry, Handed, Refusal, Worker};
use crate::error::{Direction, TaskError};
use crate::process::frame::{TaskHeader, task};
use crate::process::large::{Lease, Outgoing, Placed, Shelf};
use crate::process::parent::task::{Arguments, RemoteTask};
use crate::process::record::Name;
use crate::process::ring::{SLOTS, TASK_BYTES, Violation};

impl Worker {
    /// Writes the call of the initializer, which runs before all tasks, or of the finalizer, which runs
    /// after them.
    pub(in crate::process) fn send_call(
        &mut self,
        kind: u32,
        call: Name,
        argument: &[u8],
        shelf: &Arc<Shelf>,
    ) -> Result<(), Refusal> {
        let header = TaskHeader {
            number: 0,
            call,
            items: 0,
            is_large: false,
            is_timed: false,
            is_pinned: false,
            carried: 0,
            id: 0,
        };
        let lease = self.send(kind, header, &[], argument, shelf)?;
        self.told.extend(lease);
        self.has_initializer |= kind == task::INITIALIZE;
        Ok(())
    }

    /// Hands a task over, with up to `most` items of a chunk.
    pub(in crate::process) fn hand_over(
        &mut self,
        mut task: RemoteTask,
        most: usize,
        shelf: &Arc<Shelf>,
        now: u64,
    ) -> Result<u64, Box<(RemoteTask, Refusal)>> {
        if self.entries.len() >= SLOTS {
            return Err(Box::new((task, Refusal::Full)));
        }
        let number = self.next_number();
        self.link.tell_level();
        if let Some(pipes) = &self.link.pipes {
            pipes.begin(task.cell().clone());
        }
        let lease = match self.send_task(&mut task, number, most, shelf) {
            Ok(lease) => lease,
            Err(refusal) => {
                self.has_no_task();
                return Err(Box::new((task, refusal)));
            }
        };
        self.given += task.chunk.as_ref().map_or(1, |chunk| chunk.handed);
        self.unfinished += 1;
        self.entries.push_back(Entry::Task(Handed {
            task,
            at: now,
            timer: None,
            clock_settings: 0,
            lease,
        }));
        Ok(number)
    }

    fn send_task(
        &mut self,
        task: &mut RemoteTask,
        number: u64,
        most: usize,
        shelf: &Arc<Shelf>,
    ) -> Result<Option<Arc<Lease>>, Refusal> {
        self.link.memory.slot(number).hand_over(number);
        task.prepare(most, TASK_BYTES)?;
        let items = task.chunk.as_ref().map_or(0, |chunk| chunk.handed);
        let header = TaskHeader {
            number,
            call: task.call,
            items: u32::try_from(items).unwrap_or(u32::MAX),
            is_large: false,
            is_timed: task.run_timeout().is_some(),
            is_pinned: task.pinned_to().is_some(),
            carried: u16::try_from(task.carried().len()).unwrap_or(0),
            id: task.cell().id().get(),
        };
        if let Arguments::Large(large) = &task.arguments {
            let (bytes, lease) = (&large.bytes, &large.lease);
            let at = large.value_at;
            self.send_large(task::RUN, header, task.carried(), bytes, lease, at)?;
            return Ok(None);
        }
        self.send(task::RUN, header, task.carried(), task.outgoing(), shelf)
    }

    /// Bytes that are too long for a frame are put into memory of their own, which is given back.
    fn send(
        &mut self,
        kind: u32,
        header: TaskHeader,
        carried: &[u8],
        bytes: &[u8],
        shelf: &Arc<Shelf>,
    ) -> Result<Option<Arc<Lease>>, Refusal> {
        if bytes.len() > TASK_BYTES {
            let mut outgoing = Outgoing::new(shelf, u64::MAX);
            let at = outgoing.append(bytes).map_err(Self::refusal)?;
            let Some(lease) = outgoing.into_lease() else {
                return Err(Refusal::Full);
            };
            self.send_large(kind, header, carried, &[], &lease, Some(at))?;
            return Ok(Some(Arc::new(lease)));
        }
        let ring = &self.link.memory.tasks;
        match self
            .writer
            .write(ring, kind, &[&header.to_bytes(), carried, bytes])?
        {
            true => Ok(None),
            false => Err(Refusal::Full),
        }
    }

    /// What a failure to get or send memory means.
    fn refusal(error: std::io::Error) -> Refusal {
        // The worker has some that it has not received, or is about to be found dead.
        if matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::BrokenPipe
        ) {
            return Refusal::Full;
        }
        let error = TaskError::codec("the arguments", error).going(Direction::EncodeArguments);
        Refusal::Lacking(error)
    }

    /// The descriptor goes first, so that it is there when its frame is read; and only if the frame
    /// can follow.
    fn send_large(
        &mut self,
        kind: u32,
        mut header: TaskHeader,
        carried: &[u8],
        bytes: &[u8],
        lease: &Lease,
        value_at: Option<usize>,
    ) -> Result<(), Refusal> {
        let ring = &self.link.memory.tasks;
        let needed = TaskHeader::BYTES + carried.len() + Placed::BYTES + bytes.len();
        if !self.writer.has_room(ring, needed)? {
            return Err(Refusal::Full);
        }
        if !self.known.has(lease) {
            if let Some(descriptor) = lease.descriptor() {
                let sent = self.link.channel.send(&[0], &[descriptor]);
                sent.map_err(Self::refusal)?;
            }
        }
        let placed = Placed::of(lease, value_at, 0, &mut self.known).to_bytes();
        header.is_large = true;
        let parts = [&header.to_bytes()[..], carried, &placed, bytes];
        let written = self.writer.write(ring, kind, &parts)?;
        debug_assert!(written, "there was room");
        Ok(())
    }

    /// Tells the worker to leave, once it has nothing more to do. False if there is no room.
    pub(in crate::process) fn tell_to_leave(&mut self) -> Result<bool, Violation> {
        self.writer.write(&self.link.memory.tasks, task::LEAVE, &[])
    }
}
