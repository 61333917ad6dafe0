//! The thread that takes in what the workers say, and gives the results to the futures.
//!
//! It is the only reader of all rings of results. It copies frames and decodes errors without the
//! pool's lock, applies them in one step under it, and tells futures, observers and bells afterwards.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::large_result::{LargeResult, Ticket};
use super::relay::Relay;
use super::shared::Shared;
use super::state::Actions;
use super::wait_set::WaitSet;
use super::worker_state::{Gone, Link, Reply};
use crate::error::{Direction, TaskError};
use crate::panic;
use crate::process::call::{decode_error, encode_error};
use crate::process::clock;
use crate::process::frame::{ReplyHeader, reply};
use crate::process::items;
use crate::process::large::{Placed, Views};
use crate::process::patience::{FEW, Patience};
use crate::process::ring::{Reader, Violation};
use crate::process::sys::Foreign;
use crate::task::{Encoded, Payload};

/// How many frames of one worker are taken in at a time.
const MOST_AT_ONCE: usize = 512;

/// What is taken in of items and of large errors in one round, in bytes.
const MOST_BYTES: usize = 1 << 18;

/// Errors may be this long, whatever the limit of values is.
const LEAST_LIMIT: u64 = 16 << 20;

/// How soon a hand-over is tried again that lacked room.
const ROOM_RETRY: Duration = Duration::from_millis(1);

pub(in crate::process) fn run(pool: &Arc<Shared>) {
    let _guard = pool.guard(false);
    Collector {
        pool,
        inlets: Vec::new(),
        links: Vec::new(),
        version: 0,
        wait_set: WaitSet::new(),
        patience: Patience::new(),
    }
    .work();
}

struct Collector<'a> {
    pool: &'a Arc<Shared>,
    inlets: Vec<Inlet>,
    /// The same, for waiting.
    links: Vec<Arc<Link>>,
    version: u64,
    wait_set: WaitSet,
    patience: Patience,
}

/// One worker's ring of results.
struct Inlet {
    link: Arc<Link>,
    reader: Reader,
    buffer: Vec<u8>,
    /// No value is larger.
    most_bytes: u64,
    /// How many bytes of large errors were copied in this round.
    copied: usize,
    /// How many descriptors have come, or should have.
    files: u64,
    /// The memory of its large results.
    views: Views<Foreign>,
    /// It broke the rules: nothing more is read.
    is_closed: bool,
    /// What it tells of events and spans.
    relay: Relay,
}

/// What one worker has said in a round.
struct Said {
    launch: u64,
    replies: Vec<Reply>,
    violation: Option<Violation>,
}

impl Collector<'_> {
    fn work(&mut self) {
        let (mut came_alone, mut goes_on) = (true, false);
        loop {
            self.wait_set.has_control(&self.pool.control);
            // Before the rings are read: what a dead worker has said is complete then.
            let exits = std::mem::take(&mut *self.pool.exits());
            // After the exits were taken: whoever is gone is listened to once more.
            let has_new_links = self.relink();
            let said: Vec<Said> = self.inlets.iter_mut().filter_map(Inlet::listen).collect();
            let is_quiet = said.is_empty() && exits.is_empty();
            let rest = self.rest_of(&exits);
            // After the results were read, which are published after the events that led to them.
            let has_events = self.relay(said.iter().chain(&rest), &exits);
            let mut actions = Actions::default();
            let mut state = self.pool.lock();
            if !is_quiet {
                let now = clock::now();
                for said in said.into_iter().chain(rest) {
                    state.apply(said.launch, said.replies.into_iter(), now, &mut actions);
                    if let Some(violation) = said.violation {
                        if let Some(index) = state.index_of(said.launch) {
                            state.violated(index, violation, &mut actions);
                        }
                    }
                }
                for gone in exits {
                    state.lost(&gone, &self.pool.options, now, &mut actions);
                }
                state.after_round(&self.pool.options, now, &mut actions);
            }
            let lacks_room = state.lacks_room;
            if lacks_room && is_quiet {
                state.try_full_again();
                state.after_round(&self.pool.options, clock::now(), &mut actions);
            }
            let is_over = state.is_over();
            if !is_quiet {
                came_alone = actions.resolved.len() <= FEW as usize;
            }
            let is_expecting = state.workers.iter().any(|worker| worker.unfinished() > 0);
            // Whoever got a single result in the round before may submit the next task at once.
            let looks = is_expecting || goes_on;
            goes_on = !is_quiet && came_alone;
            drop(state);
            // This thread knows.
            actions.retry = false;
            self.pool.act(actions);
            if is_over {
                return;
            }
            if is_quiet && !has_new_links && !has_events {
                self.rest(looks, came_alone, lacks_room);
            }
        }
    }

    /// What the dead have said beyond one round.
    fn rest_of(&mut self, exits: &[Gone]) -> Vec<Said> {
        let mut rest = Vec::new();
        for inlet in &mut self.inlets {
            if exits.iter().any(|gone| gone.launch == inlet.link.launch) {
                // No further: something that the worker has left behind may go on writing.
                let end = inlet.link.memory.results.position();
                while inlet.reader.is_before(end) {
                    let Some(said) = inlet.listen() else {
                        break;
                    };
                    rest.push(said);
                }
                if let Some(pipes) = &inlet.link.pipes {
                    pipes.close();
                }
            }
        }
        rest
    }

    /// Emits the events and spans of workers, and closes the spans of tasks that have ended. True if there
    /// were any.
    fn relay<'a>(&mut self, said: impl Iterator<Item = &'a Said> + Clone, exits: &[Gone]) -> bool {
        let mut has_events = false;
        for Inlet { link, relay, .. } in &mut self.inlets {
            if relay.has_something(&link.memory.lane) {
                has_events = true;
                // A worker that tells much may tell what nobody wants any more.
                link.tell_level();
                let find = |number| self.pool.lock().task_of(link.launch, number);
                // What is dropped there may be the last that keeps a subscriber.
                let lane = &link.memory.lane;
                if panic::guard(|| relay.drain(lane, link.pid, find)).is_err() {
                    relay.close();
                }
            }
            if relay.has_spans() {
                let own = said.clone().filter(|said| said.launch == link.launch);
                let ended = own.flat_map(|said| &said.replies);
                let last = ended
                    .filter(|reply| reply.ends_task())
                    .map(|reply| reply.number);
                panic::contain(|| match last.max() {
                    _ if exits.iter().any(|gone| gone.launch == link.launch) => relay.end(),
                    Some(last) => relay.end_tasks(last),
                    None => {}
                });
            }
        }
        has_events
    }

    /// Listens to the workers that there are. True if they have changed.
    fn relink(&mut self) -> bool {
        let state = self.pool.lock();
        if state.links_version == self.version {
            return false;
        }
        self.version = state.links_version;
        let links: Vec<_> = state
            .workers
            .iter()
            .map(|worker| Arc::clone(&worker.link))
            .collect();
        drop(state);
        self.inlets
            .retain(|inlet| links.iter().any(|link| Arc::ptr_eq(link, &inlet.link)));
        for link in &links {
            let is_known = |inlet: &Inlet| Arc::ptr_eq(&inlet.link, link);
            if !self.inlets.iter().any(is_known) {
                self.inlets.push(Inlet {
                    link: Arc::clone(link),
                    reader: Reader::default(),
                    buffer: Vec::new(),
                    copied: 0,
                    files: 0,
                    views: Views::default(),
                    most_bytes: self.pool.options.max_payload.max(LEAST_LIMIT),
                    is_closed: false,
                    relay: Relay::default(),
                });
            }
        }
        self.links = links;
        true
    }

    /// Waits until there is something.
    fn rest(&mut self, looks: bool, yields: bool, lacks_room: bool) {
        let Self {
            pool,
            inlets,
            links,
            wait_set,
            patience,
            ..
        } = self;
        let has_anything = |inlet: &Inlet| inlet.has_something() || inlet.has_events();
        let is_there = || inlets.iter().any(has_anything);
        if looks && patience.look(yields, || is_there() || wait_set.would_hear(&pool.control)) {
            return;
        }
        let timeout = lacks_room.then_some(ROOM_RETRY);
        wait_set.sleep(&pool.control, links, timeout, is_there);
    }
}

impl Inlet {
    fn has_something(&self) -> bool {
        !self.is_closed && self.link.memory.results.has_more_than(&self.reader)
    }

    fn has_events(&self) -> bool {
        self.relay.has_something(&self.link.memory.lane)
    }

    /// Reads what is there; `None` for nothing.
    fn listen(&mut self) -> Option<Said> {
        if !self.has_something() {
            return None;
        }
        let mut said = Said {
            launch: self.link.launch,
            replies: Vec::new(),
            violation: None,
        };
        let mut frames = 0;
        let mut run = Run::default();
        self.copied = 0;
        while frames < MOST_AT_ONCE && run.bytes.len() + self.copied < MOST_BYTES {
            match self.read(&mut run, &mut said.replies) {
                Ok(true) => frames += 1,
                Ok(false) => break,
                Err(violation) => {
                    self.is_closed = true;
                    said.violation = Some(violation);
                    break;
                }
            }
        }
        said.replies.extend(run.take());
        self.end_output(&mut said.replies);
        self.link.say_room();
        Some(said)
    }

    /// If the task is over that the worker had, what it has written is taken in, and its error gets the
    /// last of it.
    fn end_output(&self, replies: &mut [Reply]) {
        let Some(pipes) = &self.link.pipes else {
            return;
        };
        if let Some(reply) = replies.iter_mut().rfind(|reply| reply.ends_task()) {
            let stderr = pipes.end();
            reply.error = reply.error.take().map(|error| error.with_stderr(stderr));
        }
    }

    /// Reads one frame; false if there is none. The results of items are gathered in `run`, so that
    /// they need no step of their own.
    fn read(&mut self, run: &mut Run, replies: &mut Vec<Reply>) -> Result<bool, Violation> {
        let start = run.begin();
        let ring = &self.link.memory.results;
        let frame = match self.reader.read(ring, &mut run.bytes) {
            Ok(Some(frame)) => frame,
            nothing => {
                run.bytes.truncate(start);
                return nothing.map(|_| false);
            }
        };
        match frame.kind {
            reply::ITEM_VALUE => {
                run.end(start, items::VALUE);
                return Ok(true);
            }
            reply::ITEM_ERROR => {
                run.end(start, items::ERROR);
                return Ok(true);
            }
            _ => {}
        }
        self.buffer.clear();
        self.buffer
            .extend_from_slice(&run.bytes[start + Run::HEADER..]);
        run.bytes.truncate(start);
        let kind = frame.kind & !(reply::LARGE | reply::KEPT);
        let is_large = frame.kind & reply::LARGE != 0;
        if is_large && matches!(kind, reply::ITEM_VALUE | reply::ITEM_ERROR) {
            match self.receive(0)?.and_then(LargeResult::into_bytes) {
                Ok(bytes) if kind == reply::ITEM_VALUE => run.push(items::VALUE, &bytes),
                Ok(bytes) => run.push(items::ERROR, &bytes),
                Err(error) => run.push_error(&error),
            }
            return Ok(true);
        }
        replies.extend(run.take());
        let (header, bytes) = match kind {
            reply::VALUE | reply::ERROR | reply::END => ReplyHeader::split(&self.buffer)?,
            reply::READY | reply::NOT_READY | reply::NOT_FINALIZED | reply::NO_LIMITS => {
                (ReplyHeader::NONE, &self.buffer[..])
            }
            _ => return Err(Violation("a frame of an unknown kind")),
        };
        let (kind, value, error) = if is_large {
            let start = self.buffer.len() - bytes.len();
            match self.receive(start)? {
                Err(error) => (reply::ERROR, Payload::new().into(), Some(error)),
                Ok(large) if kind == reply::VALUE => (kind, large.into_value(), None),
                Ok(large) => match large.into_bytes() {
                    Ok(bytes) => {
                        self.copied += bytes.len();
                        (kind, Payload::from_vec(bytes).into(), None)
                    }
                    Err(error) => (reply::ERROR, Payload::new().into(), Some(error)),
                },
            }
        } else {
            (kind, Encoded::from(Payload::from_slice(bytes)), None)
        };
        let is_error = matches!(
            kind,
            reply::ERROR | reply::NOT_READY | reply::NOT_FINALIZED | reply::NO_LIMITS
        );
        let error = error.or_else(|| is_error.then(|| decode_error(&value.bytes)));
        replies.push(Reply {
            kind,
            number: header.number,
            nanos: header.nanos,
            value,
            error,
            items: 0,
            has_kept: frame.kind & reply::KEPT != 0,
        });
        Ok(true)
    }

    /// A value of which a part lies in the worker's memory, as the buffer says from `start` on. Inside,
    /// what this process lacks for it.
    fn receive(&mut self, start: usize) -> Result<Result<LargeResult, TaskError>, Violation> {
        let (placed, bytes) = Placed::split(&self.buffer[start..])?;
        if placed.length as u64 > self.most_bytes {
            return Err(Violation("a result is larger than the limit"));
        }
        let mut ticket = Ticket::new(&self.link, &placed);
        let most = usize::try_from(self.most_bytes).unwrap_or(usize::MAX);
        let Self {
            link, files, views, ..
        } = self;
        let found = views.find(&placed, || {
            let descriptor = next_descriptor(link, files)?;
            Foreign::open(descriptor, placed.length, most).map_err(|error| {
                if is_ours(&error) {
                    Refused::Lacking(error)
                } else {
                    Refused::Missing
                }
            })
        });
        let memory = match found {
            Ok(Some(memory)) if memory.size() >= placed.length => memory,
            Ok(Some(_)) | Err(Refused::Missing) => return Err(MISSING),
            // It did not come before, for want of something.
            Ok(None) => {
                ticket.ask_again();
                let why = std::io::Error::other("its memory could not be received before");
                return Ok(Err(lacking(why)));
            }
            Err(Refused::Lacking(error)) => {
                views.forget(placed.slot);
                ticket.ask_again();
                return Ok(Err(lacking(error)));
            }
        };
        Ok(Ok(LargeResult::new(memory, ticket, &placed, bytes)))
    }
}

enum Refused {
    /// This process lacks something.
    Lacking(std::io::Error),
    /// It is not what it has to be.
    Missing,
}

/// The descriptor that belongs to the frame that was just read.
fn next_descriptor(link: &Link, files: &mut u64) -> Result<OwnedFd, Refused> {
    let mut number = [0; 8];
    let expected = *files;
    *files += 1;
    let (_, mut descriptors) = match link.channel.receive(&mut number, false) {
        Ok(received) => received,
        Err(error) if is_ours(&error) => return Err(Refused::Lacking(error)),
        Err(_) => return Err(Refused::Missing),
    };
    if u64::from_le_bytes(number) != expected {
        return Err(Refused::Missing);
    }
    descriptors.pop().ok_or(Refused::Missing)
}

const MISSING: Violation = Violation("a large result did not come with its frame");

/// This process lacks descriptors or memory, which is not the worker's fault.
fn is_ours(error: &std::io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    error.kind() == std::io::ErrorKind::OutOfMemory
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

fn lacking(error: std::io::Error) -> TaskError {
    TaskError::codec("a large result", error).going(Direction::DecodeResult)
}

/// The results of items one after the other, as the buffer of a chunk has them.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    items: usize,
}

impl Run {
    const HEADER: usize = items::HEADER;

    /// Makes room for the header of an item that is to be appended.
    fn begin(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; Self::HEADER]);
        start
    }

    /// What was appended since is an item.
    fn end(&mut self, start: usize, kind: u32) {
        items::finish(&mut self.bytes, start, kind);
        self.items += 1;
    }

    fn push(&mut self, kind: u32, bytes: &[u8]) {
        items::push(&mut self.bytes, kind, bytes);
        self.items += 1;
    }

    fn push_error(&mut self, error: &TaskError) {
        items::push_with(&mut self.bytes, |out| {
            encode_error(error, out);
            items::ERROR
        });
        self.items += 1;
    }

    fn take(&mut self) -> Option<Reply> {
        let items = std::mem::take(&mut self.items);
        (items > 0).then(|| Reply {
            kind: reply::ITEM_VALUE,
            number: 0,
            nanos: 0,
            value: Payload::from_vec(std::mem::take(&mut self.bytes)).into(),
            error: None,
            items,
            has_kept: false,
        })
    }
}
