//! The loop of a worker: takes tasks from one ring, runs them, and puts the results into the other.

use std::os::fd::OwnedFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forward::Forwarding;
use crate::codec;
use crate::error::{Direction, Ran, TaskError};
use crate::id::TaskId;
use crate::process::call::encode_error;
use crate::process::frame::{ReplyHeader, TaskHeader, reply, split_u64, task};
use crate::process::patience::{FEW, Patience};
use crate::process::record::{self, Call};
use crate::process::ring::{Memory, RESULT_BYTES, Reader, Violation, Writer};
use crate::process::sys::{self, Channel, Mapped, Sealed, Segment, futex};
use crate::process::{carried, clock, items};
use crate::task::RemoteCurrent;

/// What a worker is told when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Hello {
    pub(in crate::process) max_payload: u64,
    pub(in crate::process) has_initializer: bool,
}

impl Hello {
    pub(in crate::process) fn to_bytes(&self) -> Result<Vec<u8>, TaskError> {
        let mut bytes = Vec::new();
        codec::encode(self, &mut bytes)?;
        Ok(bytes)
    }
}

/// A panic has left a note in the shared memory.
static HAS_NOTE: AtomicBool = AtomicBool::new(false);

/// Runs tasks until the pool says to leave, or is gone.
pub(in crate::process) fn serve(hello: &[u8], segment: OwnedFd, channel: Channel) -> ! {
    let Ok(hello) = codec::decode::<Hello>(hello) else {
        sys::leave(BROKEN);
    };
    let Ok(memory) = Segment::<Memory>::open(segment) else {
        sys::leave(BROKEN);
    };
    // Until the process ends: panic hook and signal handler write to it.
    let memory: &'static Memory = Box::leak(Box::new(memory));
    sys::set_overflow_note(&memory.overflown.0);
    note_panics(memory);
    let mut worker = Worker {
        memory,
        channel,
        forwarding: Forwarding::new(memory),
        max_payload: hello.max_payload,
        tasks: Reader::default(),
        results: Writer::default(),
        patience: Patience::new(),
        run_length: 0,
        now: clock::now(),
        out: Vec::new(),
        files_sent: 0,
        is_spent: false,
    };
    match worker.work(&hello) {
        Ok(()) => sys::leave(0),
        Err(violation) => {
            memory.note.write(violation.0);
            sys::leave(BROKEN)
        }
    }
}

/// The exit code of a worker that cannot make sense of what it is told.
const BROKEN: i32 = 70;

/// A panic may end the process (`panic = "abort"`, a panic in a drop while unwinding), and nobody can
/// tell before. So each is noted, and the note is wiped when the next task begins.
fn note_panics(memory: &'static Memory) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        memory.note.write(&info.to_string().replace('\n', " "));
        HAS_NOTE.store(true, Ordering::Relaxed);
        previous(info);
    }));
}

struct Worker {
    memory: &'static Memory,
    channel: Channel,
    forwarding: Forwarding,
    max_payload: u64,
    tasks: Reader,
    results: Writer,
    patience: Patience,
    /// How many tasks have come without a wait.
    run_length: u32,
    /// The clock when the last task ended, which is when the next one begins.
    now: u64,
    /// What a call has given; kept for its memory.
    out: Vec<u8>,
    /// How many results went by the channel.
    files_sent: u64,
    /// It cannot do all that a worker has to.
    is_spent: bool,
}

/// How often, a millisecond apart, a large result is tried to be sent.
const MOST_TRIES: usize = 10_000;

/// The system is short of something for the moment.
fn is_passing(error: &std::io::Error) -> bool {
    const ETOOMANYREFS: i32 = 109;
    error.kind() == std::io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ETOOMANYREFS)
}

/// Memory that a single large value has taken is given back.
const MOST_KEPT: usize = 1 << 20;

impl Worker {
    fn work(&mut self, hello: &Hello) -> Result<(), Violation> {
        if !hello.has_initializer {
            self.forwarding.settle();
            self.reply(reply::READY, &[], &[])?;
            self.tell();
        }
        let mut frame = Vec::new();
        loop {
            frame.clear();
            frame.shrink_to(MOST_KEPT);
            self.out.clear();
            self.out.shrink_to(MOST_KEPT);
            match self.next(&mut frame)? {
                task::RUN => {
                    self.run(&frame)?;
                    self.forwarding.end();
                    if self.is_spent {
                        return Ok(());
                    }
                }
                task::INITIALIZE => {
                    if !self.initialize(&frame)? {
                        return Ok(());
                    }
                }
                task::LEAVE => return Ok(()),
                _ => return Err(Violation("a frame of an unknown kind")),
            }
        }
    }

    /// The next frame's kind; its payload is in `frame`.
    fn next(&mut self, frame: &mut Vec<u8>) -> Result<u32, Violation> {
        let ring = &self.memory.tasks;
        let mut has_waited = false;
        let is_alone = self.run_length <= FEW;
        loop {
            if let Some(found) = self.tasks.read(ring, frame)? {
                self.run_length += 1;
                if has_waited {
                    self.now = clock::now();
                }
                return Ok(found.kind);
            }
            has_waited = true;
            self.run_length = 0;
            let reader = &self.tasks;
            if self.patience.look(is_alone, || ring.has_more_than(reader)) {
                continue;
            }
            let bell = &self.memory.tasks_bell.0;
            bell.lie_down();
            if !ring.has_more_than(reader) {
                let (word, asleep) = bell.word();
                futex::wait(word, asleep, None);
            }
            bell.get_up();
        }
    }

    fn run(&mut self, frame: &[u8]) -> Result<(), Violation> {
        let (header, rest) = TaskHeader::split(frame)?;
        let (carried, arguments) = header.split_rest(rest)?;
        let slot = self.memory.slot(header.number);
        // Also if it was taken back: what comes by the channel keeps to the order of the frames. If it
        // does not come, this worker is of no use any more, and another one gets the task.
        let large = match header.is_large {
            true => Some(self.receive(arguments)?),
            false => None,
        };
        let arguments = large.as_deref().unwrap_or(arguments);
        if !slot.start(header.number, self.now) {
            return Ok(());
        }
        if HAS_NOTE.swap(false, Ordering::Relaxed) {
            self.memory.note.clear();
        }
        let begun = self.now;
        let number = header.number;
        self.forwarding.begin(number);
        let name = carried::name_in(carried)?;
        let _current = TaskId::from_number(header.id)
            .map(|id| RemoteCurrent::enter(id, name, number, self.memory));
        if header.items > 0 && !slot.start_item(number, 1, begun) {
            halt();
        }
        // Not before the first item has begun: a context that ends the process costs that one.
        let call = carried::enter_all(carried).and_then(|()| find(header));
        let nanos = |end: u64| ReplyHeader {
            number,
            nanos: end.saturating_sub(begun),
        };
        if header.items == 0 {
            let mut kind = match call {
                Ok(call) if call(arguments, &mut self.out) => reply::VALUE,
                Ok(_) => reply::ERROR,
                Err(error) => {
                    encode_error(&error, &mut self.out);
                    reply::ERROR
                }
            };
            if let Err(error) = carried::leave_all()
                && kind == reply::VALUE
            {
                self.out.clear();
                encode_error(&error, &mut self.out);
                kind = reply::ERROR;
            }
            drop(large);
            let kind = self.bound(kind, reply::ERROR);
            self.now = clock::now();
            if !slot.finish(number) {
                halt();
            }
            let out = std::mem::take(&mut self.out);
            self.reply(kind, &nanos(self.now).to_bytes(), &out)?;
            self.out = out;
        } else {
            self.run_items(header, arguments, call)?;
            let left = carried::leave_all();
            self.now = clock::now();
            if !slot.finish(number) {
                halt();
            }
            let end = nanos(self.now).to_bytes();
            match left {
                Ok(()) => self.reply(reply::END, &end, &[])?,
                Err(error) => {
                    let mut out = Vec::new();
                    encode_error(&error, &mut out);
                    self.reply(reply::ERROR, &end, &out)?;
                }
            }
        }
        self.tell();
        Ok(())
    }

    /// Each item's result is published before the next one is said to have begun, so that a death
    /// costs the one item that had begun and has no result.
    fn run_items(
        &mut self,
        header: TaskHeader,
        arguments: &[u8],
        call: Result<Call, TaskError>,
    ) -> Result<(), Violation> {
        let slot = self.memory.slot(header.number);
        let mut rest = arguments;
        for begun in 1..=u64::from(header.items) {
            if slot.is_asked_to_stop(header.number) {
                break;
            }
            if header.is_timed && begun > 1 {
                self.now = clock::now();
            }
            if !slot.start_item(header.number, begun, self.now) {
                halt();
            }
            let Some((item, after)) = items::split_first(rest)? else {
                return Err(Violation("there are fewer items than said"));
            };
            rest = after;
            self.out.clear();
            let kind = match &call {
                // It could not be encoded; the error takes the place of its result.
                _ if item.kind == items::ERROR => {
                    self.out.extend_from_slice(item.bytes);
                    reply::ITEM_ERROR
                }
                Ok(call) if call(item.bytes, &mut self.out) => reply::ITEM_VALUE,
                Ok(_) => reply::ITEM_ERROR,
                Err(error) => {
                    encode_error(error, &mut self.out);
                    reply::ITEM_ERROR
                }
            };
            let kind = self.bound(kind, reply::ITEM_ERROR);
            let out = std::mem::take(&mut self.out);
            self.reply(kind, &[], &out)?;
            self.out = out;
        }
        Ok(())
    }

    /// True if the worker is ready for tasks.
    fn initialize(&mut self, frame: &[u8]) -> Result<bool, Violation> {
        let (header, arguments) = TaskHeader::split(frame)?;
        let large = match header.is_large {
            true => Some(self.receive(arguments)?),
            false => None,
        };
        let arguments = large.as_deref().unwrap_or(arguments);
        let is_ready = match find(header) {
            Ok(call) => call(arguments, &mut self.out),
            Err(error) => {
                encode_error(&error, &mut self.out);
                false
            }
        };
        self.forwarding.settle();
        let out = std::mem::take(&mut self.out);
        if is_ready {
            self.reply(reply::READY, &[], &[])?;
        } else {
            self.reply(reply::NOT_READY, &[], &out)?;
        }
        self.out = out;
        self.now = clock::now();
        self.tell();
        Ok(is_ready)
    }

    /// A value beyond the limit becomes an error.
    fn bound(&mut self, kind: u32, error_kind: u32) -> u32 {
        let size = self.out.len() as u64;
        let limit = if error_kind == reply::ITEM_ERROR {
            self.max_payload.min(items::MOST_BYTES)
        } else {
            self.max_payload
        };
        if size <= limit || kind == error_kind {
            return kind;
        }
        self.out.clear();
        encode_error(&TaskError::too_large(size, limit, Ran::Yes), &mut self.out);
        error_kind
    }

    /// Arguments that came as a file of their own.
    fn receive(&mut self, length: &[u8]) -> Result<Mapped, Violation> {
        let (length, _) = split_u64(length)?;
        let length = usize::try_from(length).map_err(|_| Violation("a length beyond memory"))?;
        let mut byte = [0; 1];
        let received = self.channel.receive(&mut byte, true);
        let descriptor = received.ok().and_then(|(_, mut all)| all.pop());
        descriptor
            .and_then(|descriptor| Mapped::accept(descriptor, length).ok())
            .ok_or(Violation("the arguments did not come with their frame"))
    }

    /// Puts a frame into the ring of results, as soon as there is room.
    fn reply(&mut self, kind: u32, header: &[u8], bytes: &[u8]) -> Result<(), Violation> {
        if bytes.len() > RESULT_BYTES {
            return self.reply_large(kind, header, bytes);
        }
        self.write(kind, &[header, bytes])
    }

    fn write(&mut self, kind: u32, parts: &[&[u8]]) -> Result<(), Violation> {
        let ring = &self.memory.results;
        while !self.results.write(ring, kind, parts)? {
            // The pool may sleep: then nobody makes room.
            self.tell();
            let bell = &self.memory.room_bell.0;
            bell.lie_down();
            let size = parts.iter().map(|part| part.len()).sum();
            if !self.results.has_room(ring, size)? {
                let (word, asleep) = bell.word();
                futex::wait(word, asleep, None);
            }
            bell.get_up();
        }
        Ok(())
    }

    /// The file goes first, so that it is there when its frame is read.
    fn reply_large(&mut self, kind: u32, header: &[u8], bytes: &[u8]) -> Result<(), Violation> {
        let number = self.files_sent.to_le_bytes();
        let sent = Sealed::of(bytes).and_then(|sealed| {
            for _ in 0..MOST_TRIES {
                match self.channel.send(&number, &[sealed.descriptor()]) {
                    // Others wait to be read: the pool is behind.
                    Err(error) if is_passing(&error) => {
                        self.tell();
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    result => return result,
                }
            }
            Err(std::io::ErrorKind::TimedOut.into())
        });
        match sent {
            Ok(()) => {
                self.files_sent += 1;
                let length = (bytes.len() as u64).to_le_bytes();
                self.write(kind | reply::LARGE, &[header, &length])
            }
            Err(error) => {
                // A task has closed the channel, maybe: the next one gets another worker.
                self.is_spent = true;
                let error =
                    TaskError::codec("a large result", error).going(Direction::EncodeResult);
                let mut out = Vec::new();
                encode_error(&error, &mut out);
                let kind = match kind {
                    reply::VALUE => reply::ERROR,
                    reply::ITEM_VALUE => reply::ITEM_ERROR,
                    other => other,
                };
                self.write(kind, &[header, &out])
            }
        }
    }

    fn tell(&self) {
        tell_pool(self.memory);
    }
}

/// Wakes the pool if it sleeps.
pub(super) fn tell_pool(memory: &Memory) {
    let bell = &memory.results_bell.0;
    if bell.ring() {
        futex::wake(bell.word().0);
    }
}

fn find(header: TaskHeader) -> Result<Call, TaskError> {
    record::find(header.call).ok_or_else(|| {
        TaskError::codec(
            "the function",
            "its name is of no record of this program, so nothing was called",
        )
        .going(Direction::DecodeArguments)
    })
}

/// The pool is about to end this process. Nothing may begin before it has.
fn halt() -> ! {
    loop {
        std::thread::park();
    }
}
