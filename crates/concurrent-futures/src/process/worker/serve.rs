//! The loop of a worker: takes tasks from one ring, runs them, and puts the results into the other.

use std::os::fd::OwnedFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::forward::Forwarding;
use super::growth::Growth;
use crate::codec;
use crate::cpus;
use crate::error::{Direction, Ran, TaskError};
use crate::id::TaskId;
use crate::process::call::encode_error;
use crate::process::frame::{ReplyHeader, TaskHeader, reply, task};
use crate::process::large::{Lease, Outgoing, Placed};
use crate::process::patience::{FEW, Patience};
use crate::process::record::{self, Answer, Arguments, Call};
use crate::process::ring::{Memory, RESULT_BYTES, Reader, Violation, Writer};
use crate::process::sys::{self, Channel, Limits, Segment, futex};
use crate::process::{carried, clock, items};
use crate::task::RemoteCurrent;

use super::large::{Inbox, LargeArguments, Outbox};

/// What a worker is told when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Hello {
    pub(in crate::process) max_payload: u64,
    pub(in crate::process) has_initializer: bool,
    /// What a task has written is to leave the process before its result.
    pub(in crate::process) flushes: bool,
    pub(in crate::process) limits: Limits,
    /// With how many bytes of memory it begins nothing more.
    pub(in crate::process) max_memory: Option<u64>,
    /// Its share of the CPUs.
    pub(in crate::process) cpus: usize,
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
    sys::set_fatal_note(&memory.last.0.fatal);
    note_panics(memory);
    cpus::set_share(hello.cpus);
    let mut worker = Worker {
        memory,
        channel,
        forwarding: Forwarding::new(memory),
        max_payload: hello.max_payload,
        flushes: hello.flushes,
        tasks: Reader::default(),
        results: Writer::default(),
        patience: Patience::new(),
        run_length: 0,
        now: clock::now(),
        out: Vec::new(),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        is_spent: false,
        finalizer: None,
        growth: Growth::new(hello.max_memory),
        is_outgrown: false,
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
    flushes: bool,
    tasks: Reader,
    results: Writer,
    patience: Patience,
    /// How many tasks have come without a wait.
    run_length: u32,
    /// The clock when the last task ended, which is when the next one begins.
    now: u64,
    /// What a call has given; kept for its memory.
    out: Vec<u8>,
    inbox: Inbox,
    outbox: Outbox,
    /// It cannot do all that a worker has to.
    is_spent: bool,
    /// What is to be run when it leaves, with its arguments.
    finalizer: Option<(TaskHeader, Vec<u8>)>,
    growth: Growth,
    /// It has too much memory. The pool knows by the result before; it takes back what lies ready and may
    /// run elsewhere, and tells this worker to leave.
    is_outgrown: bool,
}

/// Memory that a single large value has taken is given back.
const MOST_KEPT: usize = 1 << 20;

impl Worker {
    fn work(&mut self, hello: &Hello) -> Result<(), Violation> {
        if let Err(error) = hello.limits.impose() {
            encode_error(&TaskError::failed(error), &mut self.out);
            let out = std::mem::take(&mut self.out);
            self.reply(reply::NO_LIMITS, &[], &out, None)?;
            self.tell();
            return Ok(());
        }
        if !hello.has_initializer {
            self.forwarding.settle();
            self.reply(reply::READY, &[], &[], None)?;
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
                task::FINALIZE => self.finalizer = Some(self.told(&frame)?),
                task::LEAVE => return self.finalize(),
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
        let (large, arguments) = self.receive(header, arguments)?;
        let may_begin = !self.is_outgrown || header.is_pinned;
        if !may_begin || !slot.start(header.number, self.now) {
            return Ok(());
        }
        self.clear_note();
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
            let (mut kind, mut lease) = self.call(call, &large, arguments);
            if let Err(error) = carried::leave_all() {
                if kind == reply::VALUE {
                    lease = None;
                    self.out.clear();
                    encode_error(&error, &mut self.out);
                    kind = reply::ERROR;
                }
            }
            let kind = self.bound(kind, reply::ERROR, &mut lease) | self.kept(large);
            self.flush();
            self.now = clock::now();
            if !slot.finish(number) {
                halt();
            }
            let nanos = nanos(self.now);
            // Before the result is told, so that nothing is begun after it.
            self.look_at_memory();
            let out = std::mem::take(&mut self.out);
            self.reply(kind, &nanos.to_bytes(), &out, lease)?;
            self.out = out;
        } else {
            match &large {
                Some(large) => large.with(arguments, |arguments| {
                    self.run_items(header, arguments.bytes, call)
                })?,
                None => self.run_items(header, arguments, call)?,
            }
            let left = carried::leave_all();
            let kept = self.kept(large);
            self.flush();
            self.now = clock::now();
            if !slot.finish(number) {
                halt();
            }
            let end = nanos(self.now).to_bytes();
            match left {
                Ok(()) => self.reply(reply::END | kept, &end, &[], None)?,
                Err(error) => {
                    let mut out = Vec::new();
                    encode_error(&error, &mut out);
                    self.reply(reply::ERROR | kept, &end, &out, None)?;
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
                Ok(call) if call(Arguments::whole(item.bytes), Answer::whole(&mut self.out)) => {
                    reply::ITEM_VALUE
                }
                Ok(_) => reply::ITEM_ERROR,
                Err(error) => {
                    encode_error(error, &mut self.out);
                    reply::ITEM_ERROR
                }
            };
            let kind = self.bound(kind, reply::ITEM_ERROR, &mut None);
            self.flush();
            let out = std::mem::take(&mut self.out);
            self.reply(kind, &[], &out, None)?;
            self.out = out;
            if self.growth.is_limited() {
                self.now = clock::now();
                self.look_at_memory();
                if self.is_outgrown {
                    break;
                }
            }
        }
        Ok(())
    }

    /// If this process has too much memory by now, says so, for the pool to see with the next frame.
    fn look_at_memory(&mut self) {
        if let Some(bytes) = self.growth.beyond(self.now) {
            // Relaxed: published with that frame.
            self.memory.last.0.outgrown.store(bytes, Ordering::Relaxed);
            self.is_outgrown = true;
        }
    }

    /// True if the worker is ready for tasks.
    fn initialize(&mut self, frame: &[u8]) -> Result<bool, Violation> {
        let (header, arguments) = TaskHeader::split(frame)?;
        let (large, arguments) = self.receive(header, arguments)?;
        // What it gives is nothing, so that it is not large.
        let (kind, _) = self.call(find(header), &large, arguments);
        let is_ready = kind == reply::VALUE;
        let kept = self.kept(large);
        self.forwarding.settle();
        self.flush();
        let out = std::mem::take(&mut self.out);
        if is_ready {
            self.reply(reply::READY | kept, &[], &[], None)?;
        } else {
            self.reply(reply::NOT_READY, &[], &out, None)?;
        }
        self.out = out;
        self.now = clock::now();
        self.tell();
        Ok(is_ready)
    }

    /// What is to be called later.
    fn told(&mut self, frame: &[u8]) -> Result<(TaskHeader, Vec<u8>), Violation> {
        let (header, arguments) = TaskHeader::split(frame)?;
        let (large, arguments) = self.receive(header, arguments)?;
        let arguments = match large {
            Some(large) => large.with(arguments, |arguments| arguments.bytes.to_vec()),
            None => arguments.to_vec(),
        };
        Ok((header, arguments))
    }

    /// The last thing that this process does for the pool.
    fn finalize(&mut self) -> Result<(), Violation> {
        let Some((header, arguments)) = self.finalizer.take() else {
            return Ok(());
        };
        self.clear_note();
        let (kind, _) = self.call(find(header), &None, &arguments);
        self.flush();
        if kind != reply::VALUE {
            let out = std::mem::take(&mut self.out);
            self.reply(reply::NOT_FINALIZED, &[], &out, None)?;
            self.tell();
        }
        Ok(())
    }

    /// What comes now is another one's panic.
    fn clear_note(&self) {
        if HAS_NOTE.swap(false, Ordering::Relaxed) {
            self.memory.note.clear();
        }
    }

    /// Calls a function. What it gives is in `out`, and a part of it in the lease.
    fn call(
        &mut self,
        call: Result<Call, TaskError>,
        large: &Option<LargeArguments>,
        arguments: &[u8],
    ) -> (u32, Option<Lease>) {
        let Self {
            out,
            outbox,
            memory,
            max_payload,
            ..
        } = self;
        let call = match call {
            Ok(call) => call,
            Err(error) => {
                encode_error(&error, out);
                return (reply::ERROR, None);
            }
        };
        outbox.collect(memory);
        let mut outgoing = Outgoing::new(&outbox.shelf, *max_payload);
        let answer = Answer {
            bytes: out,
            sink: Some(&mut outgoing),
        };
        let is_value = match large {
            Some(large) => large.with(arguments, |arguments| call(arguments, answer)),
            None => call(Arguments::whole(arguments), answer),
        };
        let wanted = outgoing.wanted();
        if !is_value {
            return (reply::ERROR, None);
        }
        if wanted > *max_payload {
            let size = wanted.saturating_add(out.len() as u64);
            out.clear();
            encode_error(&TaskError::too_large(size, *max_payload, Ran::Yes), out);
            return (reply::ERROR, None);
        }
        (reply::VALUE, outgoing.into_lease())
    }

    fn flush(&self) {
        if self.flushes {
            sys::flush_output();
        }
    }

    /// A value beyond the limit becomes an error.
    fn bound(&mut self, kind: u32, error_kind: u32, lease: &mut Option<Lease>) -> u32 {
        let size = (self.out.len() + lease.as_ref().map_or(0, Lease::length)) as u64;
        let limit = if error_kind == reply::ITEM_ERROR {
            self.max_payload.min(items::MOST_BYTES)
        } else {
            self.max_payload
        };
        if size <= limit || kind == error_kind {
            return kind;
        }
        *lease = None;
        self.out.clear();
        encode_error(&TaskError::too_large(size, limit, Ran::Yes), &mut self.out);
        error_kind
    }

    /// Large arguments, if these are, and what the frame has of them.
    fn receive<'a>(
        &mut self,
        header: TaskHeader,
        arguments: &'a [u8],
    ) -> Result<(Option<LargeArguments>, &'a [u8]), Violation> {
        if !header.is_large {
            return Ok((None, arguments));
        }
        let (large, rest) = self.inbox.receive(arguments, &self.channel)?;
        Ok((Some(large), rest))
    }

    /// What is said at the end of a task that has kept a part of its arguments.
    fn kept(&mut self, large: Option<LargeArguments>) -> u32 {
        let has_kept = large.is_some_and(|large| self.inbox.has_kept(large));
        if has_kept { reply::KEPT } else { 0 }
    }

    /// Puts a frame into the ring of results, as soon as there is room.
    fn reply(
        &mut self,
        kind: u32,
        header: &[u8],
        bytes: &[u8],
        lease: Option<Lease>,
    ) -> Result<(), Violation> {
        if lease.is_none() && bytes.len() <= RESULT_BYTES {
            return self.write(kind, &[header, bytes]);
        }
        match self.send_large(bytes, lease) {
            Ok((placed, true)) => self.write(kind | reply::LARGE, &[header, &placed]),
            Ok((placed, false)) => self.write(kind | reply::LARGE, &[header, &placed, bytes]),
            Err(error) => {
                // A task has closed the channel, maybe: the next one gets another worker.
                // Not if the next one would have the same limit.
                self.is_spent = error.kind() != std::io::ErrorKind::FileTooLarge;
                let error =
                    TaskError::codec("a large result", error).going(Direction::EncodeResult);
                let mut out = Vec::new();
                encode_error(&error, &mut out);
                let flags = kind & reply::KEPT;
                let kind = match kind & !reply::KEPT {
                    reply::VALUE => reply::ERROR,
                    reply::ITEM_VALUE => reply::ITEM_ERROR,
                    other => other,
                };
                self.write(kind | flags, &[header, &out])
            }
        }
    }

    /// Makes a large result known to the pool. True if all of it lies in the memory.
    fn send_large(
        &mut self,
        bytes: &[u8],
        lease: Option<Lease>,
    ) -> std::io::Result<([u8; Placed::BYTES], bool)> {
        self.outbox.collect(self.memory);
        let mut outgoing = Outgoing::new(&self.outbox.shelf, u64::MAX).with(lease);
        let value_at = match bytes.len() > RESULT_BYTES {
            true => Some(outgoing.append(bytes)?),
            false => None,
        };
        let lease = outgoing.into_lease().ok_or(std::io::ErrorKind::NotFound)?;
        let bell = &self.memory.results_bell.0;
        let wake = || {
            if bell.ring() {
                futex::wake(bell.word().0);
            }
        };
        let placed = self.outbox.send(lease, value_at, &self.channel, wake)?;
        Ok((placed, value_at.is_some()))
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

    /// Wakes the pool if it sleeps.
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
