//! The pipes that one worker writes to, as its pool reads them.
//!
//! Always: what is read belongs to the task that the worker has, and goes into the journal in whole
//! lines; reading never waits, and takes a bounded amount at a time. The pipe's end is never waited for,
//! since something that a task has left behind may hold it open.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, pipe_with};

use super::journal::{Block, Journal, Source};
use super::lines::{Tail, end_of_lines};
use crate::task::CellRef;

/// What is read at a time of a worker that goes on writing, in bytes.
const TURN: u64 = 16 << 10;

/// What is read when a task ends, at most: as much as a process without privileges can put into a pipe.
const MOST: u64 = 1 << 20;

/// The pipes of one worker.
pub(in crate::process) struct Pipes {
    pid: u32,
    journal: Arc<Journal>,
    intake: Mutex<Intake>,
}

struct Intake {
    streams: [Stream; 2],
    /// What the worker was given to do.
    task: Option<CellRef>,
    /// The last that it has written to stderr.
    tail: Tail,
}

#[derive(Default)]
struct Stream {
    /// `None` once it has ended.
    pipe: Option<File>,
    /// The beginning of a line.
    begun: Vec<u8>,
    /// The line before was cut: if nothing but its end follows, that is no line.
    was_cut: bool,
}

impl Pipes {
    /// The pipes of the worker that is started next, as `launch`, and their other ends: its stdout and
    /// its stderr.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::process) fn open(
        journal: &Arc<Journal>,
        launch: u64,
    ) -> io::Result<(Self, [OwnedFd; 2])> {
        let (stdout, its_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, its_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        for (ours, source) in [&stdout, &stderr].into_iter().zip(Source::ALL) {
            // Of our end only: the other one has flags of its own, and blocks.
            fcntl_setfl(ours, fcntl_getfl(ours)? | OFlags::NONBLOCK)?;
            journal.watch(ours.as_fd(), launch, source)?;
        }
        let pipes = Self {
            pid: 0,
            journal: Arc::clone(journal),
            intake: Mutex::new(Intake {
                streams: [Stream::new(stdout), Stream::new(stderr)],
                task: None,
                tail: Tail::default(),
            }),
        };
        Ok((pipes, [its_stdout, its_stderr]))
    }

    /// These are of the worker with this process id.
    pub(in crate::process) fn of_worker(self, pid: u32) -> Self {
        Self { pid, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is as much to log already as there may be: the worker is to get nothing that adds to it.
    pub(in crate::process) fn is_full(&self) -> bool {
        self.journal.is_full()
    }

    /// The worker is about to get this task. What is there was written before.
    pub(in crate::process) fn begin(&self, task: CellRef) {
        let mut intake = self.lock();
        self.take_in_all(&mut intake);
        intake.task = Some(task);
        intake.tail.clear();
    }

    /// The task was taken back, and not begun.
    pub(in crate::process) fn take_back(&self) {
        let task = self.lock().task.take();
        drop(task);
    }

    /// The worker has said that it is done. Gives the last that the task has written to stderr.
    pub(in crate::process) fn end(&self) -> Option<String> {
        let mut intake = self.lock();
        self.take_in_all(&mut intake);
        let tail = intake.tail();
        let task = intake.task.take();
        drop(intake);
        drop(task);
        tail
    }

    /// The worker is gone. What something that it has left behind writes to the pipes is lost.
    pub(in crate::process) fn close(&self) {
        let mut intake = self.lock();
        self.take_in_all(&mut intake);
        for stream in &mut intake.streams {
            self.close_stream(stream);
        }
        let task = intake.task.take();
        drop(intake);
        drop(task);
    }

    /// The last that the task has written to stderr that the worker has, or had when it ended.
    pub(in crate::process) fn tail(&self) -> Option<String> {
        self.lock().tail()
    }

    /// One of the pipes has something, or has ended.
    pub(super) fn take_turn(&self, source: Source) {
        let mut intake = self.lock();
        if self.take_in(&mut intake, source, TURN, false) {
            self.close_stream(&mut intake.streams[source as usize]);
        }
    }

    fn close_stream(&self, stream: &mut Stream) {
        if let Some(pipe) = stream.pipe.take() {
            self.journal.forget(pipe.as_fd());
        }
    }

    /// Takes in what is there, and what it leaves of a line as if it were one.
    fn take_in_all(&self, intake: &mut Intake) {
        for source in Source::ALL {
            let stream = &intake.streams[source as usize];
            let waiting = stream.waiting().min(MOST);
            if waiting > 0 || stream.is_within_line() {
                self.take_in(intake, source, waiting, true);
            }
        }
    }

    /// Reads up to `most` bytes. What is left of a line is kept until more of it comes, or taken for one
    /// if this `ends_line`. True if the stream has ended.
    fn take_in(&self, intake: &mut Intake, source: Source, most: u64, ends_line: bool) -> bool {
        let Intake {
            streams,
            task,
            tail,
        } = intake;
        let stream = &mut streams[source as usize];
        let mut bytes = std::mem::take(&mut stream.begun);
        let known = bytes.len();
        let has_ended = stream.read(most, &mut bytes);
        if source == Source::Stderr && task.is_some() {
            tail.push(&bytes[known..]);
        }
        let mut was_cut = std::mem::take(&mut stream.was_cut);
        if was_cut && bytes.first() == Some(&b'\n') {
            bytes.remove(0);
            was_cut = false;
        }
        let end = if ends_line || has_ended {
            bytes.len()
        } else {
            end_of_lines(&bytes)
        };
        if !ends_line {
            let last = bytes[..end].last();
            stream.was_cut = last.map_or(was_cut, |byte| *byte != b'\n');
        }
        stream.begun = bytes.split_off(end);
        if !bytes.is_empty() {
            self.journal.push(Block {
                task: task.clone(),
                worker: self.pid,
                source,
                bytes,
            });
        }
        has_ended
    }
}

impl Intake {
    fn tail(&self) -> Option<String> {
        self.tail.text().map(Cow::into_owned)
    }
}

impl Stream {
    fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe: Some(pipe.into()),
            ..Self::default()
        }
    }

    /// A part of a line was read.
    fn is_within_line(&self) -> bool {
        self.was_cut || !self.begun.is_empty()
    }

    /// How many bytes can be read.
    fn waiting(&self) -> u64 {
        let waiting = self.pipe.as_ref().map(ioctl_fionread);
        waiting.and_then(Result::ok).unwrap_or(0)
    }

    /// Adds up to `most` bytes. True if it has ended.
    fn read(&mut self, most: u64, bytes: &mut Vec<u8>) -> bool {
        let Some(pipe) = &mut self.pipe else {
            return true;
        };
        match pipe.take(most).read_to_end(bytes) {
            Ok(read) => (read as u64) < most,
            // There is nothing more, as yet; other errors are of no pipe.
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}
