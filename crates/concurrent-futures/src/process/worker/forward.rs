//! The subscriber of a worker process: it puts events and spans into the lane, for the pool to emit.
//!
//! Always: nobody waits for room in the lane; what does not fit is dropped and counted. No code of the
//! user's runs under a lock. What a `Debug` emits while it is asked for the text of a field is not
//! recorded: it could be asked again for that.
//!
//! # What a disabled event costs
//! The highest level that anybody wants is a word in the shared memory. It is this subscriber's
//! `max_level_hint`, so `tracing` compares an event with its own copy of it and looks no further. The
//! copy is made anew when a task begins and the word has changed. Callsites are of interest
//! *sometimes*, so that a level that was lowered counts at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_core::callsite::{self, Identifier};
use tracing_core::dispatcher::{self, DefaultGuard, Dispatch};
use tracing_core::field::{Field, Visit};
use tracing_core::metadata::LevelFilter;
use tracing_core::span::{self, Attributes, Current, Id};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, Metadata, Subscriber};

use super::serve::tell_pool;
use crate::codec;
use crate::panic;
use crate::process::lane::{
    self, Description, MOST_CALLSITES, MOST_CAUSES, MOST_FIELDS, MOST_NAME, MOST_TEXT, Occurrence,
    Parent, Record, Value, Values,
};
use crate::process::ring::{Memory, Writer};
use crate::process::sys;

/// The number of the task that this process runs, and 1; or 0.
static TASK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// A record is being made on this thread.
    static IS_RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// What a worker has to do so that its events reach the pool.
pub(super) struct Forwarding {
    memory: &'static Memory,
    dispatch: Option<Dispatch>,
    /// While the initializer may set a subscriber of its own.
    scope: Option<DefaultGuard>,
    level: u32,
}

impl Forwarding {
    /// On this thread, for the time being.
    pub(super) fn new(memory: &'static Memory) -> Self {
        let dispatch = Dispatch::new(Forwarder {
            memory,
            generation: sys::generation(),
            spans: Mutex::default(),
            next_span: AtomicU64::new(1),
            outlet: Mutex::default(),
        });
        Self {
            memory,
            scope: Some(dispatcher::set_default(&dispatch)),
            dispatch: Some(dispatch),
            level: memory.lane.level.load(Ordering::Relaxed),
        }
    }

    /// On all threads from now on, unless the initializer has set another subscriber for them.
    pub(super) fn settle(&mut self) {
        self.scope = None;
        if let Some(dispatch) = self.dispatch.take() {
            // Refused if there is one: then events go where the user wants them.
            let _ = dispatcher::set_global_default(dispatch);
        }
    }

    /// What is emitted from now on is the task's.
    pub(super) fn begin(&mut self, task: u64) {
        TASK.store(task + 1, Ordering::Relaxed);
        let level = self.memory.lane.level.load(Ordering::Relaxed);
        if level != self.level {
            self.level = level;
            // It asks all subscribers, also those of the user's.
            panic::contain(callsite::rebuild_interest_cache);
        }
    }

    /// What is emitted from now on is no task's.
    pub(super) fn end(&self) {
        TASK.store(0, Ordering::Relaxed);
    }
}

struct Forwarder {
    memory: &'static Memory,
    /// Of this process: a copy that a task has forked does not have the memory.
    generation: u32,
    /// The spans that there are.
    spans: Mutex<HashMap<u64, Open>>,
    next_span: AtomicU64,
    outlet: Mutex<Outlet>,
}

struct Open {
    references: usize,
    metadata: &'static Metadata<'static>,
}

/// The writing side of the lane.
#[derive(Default)]
struct Outlet {
    writer: Writer,
    callsites: HashMap<Identifier, u32>,
}

impl Outlet {
    /// False if there is no room.
    fn write(&mut self, memory: &Memory, record: &Record) -> bool {
        let mut bytes = Vec::new();
        // A cursor that cannot be is the pool's defect: it gets nothing.
        codec::encode(record, &mut bytes).is_ok()
            && matches!(
                self.writer.write(&memory.lane.records, 0, &[&bytes]),
                Ok(true)
            )
    }

    /// The number of a callsite, which is announced before it is used.
    fn callsite(&mut self, memory: &Memory, metadata: &'static Metadata<'static>) -> Option<u32> {
        let identifier = metadata.callsite();
        if let Some(number) = self.callsites.get(&identifier) {
            return Some(*number);
        }
        if self.callsites.len() >= MOST_CALLSITES {
            return None;
        }
        let number = u32::try_from(self.callsites.len()).ok()?;
        if !self.write(memory, &Record::Callsite(describe(metadata))) {
            return None;
        }
        self.callsites.insert(identifier, number);
        Some(number)
    }
}

fn describe(metadata: &Metadata<'_>) -> Description {
    let cut = |text: &str| lane::cut(text, MOST_NAME).to_owned();
    let fields = metadata.fields().iter().take(MOST_FIELDS);
    Description {
        is_span: metadata.is_span(),
        level: lane::word_of(LevelFilter::from_level(*metadata.level())),
        name: cut(metadata.name()),
        target: cut(metadata.target()),
        module_path: metadata.module_path().map(cut),
        file: metadata.file().map(cut),
        line: metadata.line(),
        fields: fields.map(|field| cut(field.name())).collect(),
    }
}

impl Forwarder {
    /// The most verbose level that anybody wants.
    fn level(&self) -> u32 {
        if self.generation == sys::generation() {
            self.memory.lane.level.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// Calls `record`, unless this thread is inside of such a call.
    fn recording(&self, record: impl FnOnce()) {
        if self.generation != sys::generation() {
            return;
        }
        // A thread that ends has no place to note it, and records nothing any more.
        let _ = IS_RECORDING.try_with(|is_recording| {
            if !is_recording.replace(true) {
                record();
                is_recording.set(false);
            }
        });
    }

    fn spans(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what `write` writes into the lane, and tells the pool.
    fn send(&self, write: impl FnOnce(&mut Outlet) -> bool) {
        let mut outlet = self.outlet.lock().unwrap_or_else(PoisonError::into_inner);
        let is_written = write(&mut outlet);
        drop(outlet);
        if !is_written {
            self.memory.lane.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Also if there was no room: the pool makes some.
        tell_pool(self.memory);
    }

    /// Sends what `collect` visits of an event or a span, which is `record` then.
    fn occur(
        &self,
        metadata: &'static Metadata<'static>,
        parent: Parent,
        collect: impl FnOnce(&mut Collected),
        record: impl FnOnce(Occurrence) -> Record,
    ) {
        self.recording(|| {
            let values = collected(collect);
            let task = TASK.load(Ordering::Relaxed).checked_sub(1);
            self.send(|outlet| {
                let Some(callsite) = outlet.callsite(self.memory, metadata) else {
                    return false;
                };
                let occurrence = Occurrence {
                    callsite,
                    task,
                    parent,
                    values,
                };
                outlet.write(self.memory, &record(occurrence))
            });
        });
    }
}

fn parent_of(explicit: Option<&Id>, is_root: bool) -> Parent {
    match explicit {
        Some(id) => Parent::Span(id.into_u64()),
        None if is_root => Parent::Root,
        None => entered().map_or(Parent::Task, Parent::Span),
    }
}

/// The span that this thread is in.
fn entered() -> Option<u64> {
    let last = ENTERED.try_with(|entered| entered.borrow().last().copied());
    last.ok().flatten()
}

impl Subscriber for Forwarder {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(lane::filter_of(self.level()))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = LevelFilter::from_level(*metadata.level());
        lane::word_of(level) <= self.level()
            && IS_RECORDING.try_with(|is_recording| !is_recording.get()) == Ok(true)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let number = self.next_span.fetch_add(1, Ordering::Relaxed);
        let open = Open {
            references: 1,
            metadata: span.metadata(),
        };
        self.spans().insert(number, open);
        let parent = parent_of(span.parent(), span.is_root());
        let opened = |what| Record::Opened { span: number, what };
        self.occur(span.metadata(), parent, |all| span.record(all), opened);
        Id::from_u64(number)
    }

    fn record(&self, span: &Id, values: &span::Record<'_>) {
        let span = span.into_u64();
        self.recording(|| {
            let values = collected(|all| values.record(all));
            self.send(|outlet| outlet.write(self.memory, &Record::Recorded { span, values }));
        });
    }

    /// Does not travel.
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let parent = parent_of(event.parent(), event.is_root());
        let collect = |all: &mut Collected| event.record(all);
        self.occur(event.metadata(), parent, collect, Record::Event);
    }

    fn enter(&self, span: &Id) {
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let span = span.into_u64();
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            if let Some(place) = entered.iter().rposition(|entered| *entered == span) {
                entered.remove(place);
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(open) = self.spans().get_mut(&id.into_u64()) {
            open.references += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let span = id.into_u64();
        let mut spans = self.spans();
        let Some(open) = spans.get_mut(&span) else {
            return false;
        };
        open.references -= 1;
        if open.references > 0 {
            return false;
        }
        spans.remove(&span);
        drop(spans);
        self.recording(|| {
            self.send(|outlet| outlet.write(self.memory, &Record::Closed { span }));
        });
        true
    }

    fn current_span(&self) -> Current {
        let Some(span) = entered() else {
            return Current::none();
        };
        let metadata = self.spans().get(&span).map(|open| open.metadata);
        metadata.map_or_else(Current::none, |metadata| {
            Current::new(Id::from_u64(span), metadata)
        })
    }
}

fn collected(collect: impl FnOnce(&mut Collected)) -> Values {
    let mut all = Collected {
        values: Vec::new(),
        left: MOST_TEXT,
    };
    collect(&mut all);
    all.values
}

/// The values of one record, with at most so many bytes of text as are left.
struct Collected {
    values: Values,
    left: usize,
}

impl Collected {
    fn push(&mut self, field: &Field, value: Value) {
        let Ok(index) = u32::try_from(field.index()) else {
            return;
        };
        if field.index() < MOST_FIELDS {
            self.values.push((index, value));
        }
    }

    /// What `value` shows. A panic in it goes no further, and says so in its place.
    fn shown(&mut self, value: fmt::Arguments<'_>) -> String {
        let mut shown = Bounded {
            text: String::new(),
            left: self.left,
        };
        let written = panic::guard(|| shown.write_fmt(value));
        if let Err(panic) = written {
            let _ = write!(shown, "(panicked: {})", panic.message);
        }
        self.left -= shown.text.len();
        shown.text
    }
}

impl Visit for Collected {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, Value::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, Value::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = lane::cut(value, self.left).to_owned();
        self.left -= text.len();
        self.push(field, Value::Text(text));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut texts = Vec::new();
        let mut next = Some(value);
        while let Some(error) = next.filter(|_| texts.len() <= MOST_CAUSES) {
            texts.push(self.shown(format_args!("{error}")));
            next = panic::guard(|| error.source()).unwrap_or(None);
        }
        self.push(field, Value::Error(texts));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = self.shown(format_args!("{value:?}"));
        self.push(field, Value::Shown(text));
    }
}

/// Takes the beginning of what is written, and lets the rest go.
struct Bounded {
    text: String,
    left: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = lane::cut(text, self.left);
        self.text.push_str(fits);
        // After a cut nothing follows, also not what is short enough.
        self.left = if fits.len() == text.len() {
            self.left - fits.len()
        } else {
            0
        };
        Ok(())
    }
}
