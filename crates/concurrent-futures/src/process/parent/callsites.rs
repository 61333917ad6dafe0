//! The callsites of worker processes, made anew here.
//!
//! `tracing` wants callsites that live for ever, so each is leaked. Always: there is one for each
//! description, and at most [`MOST`] in the life of this process. What workers announce beyond that
//! shares one for each level; such a one has only a message, which says all that there is.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_core::callsite::{self, Identifier};
use tracing_core::field::{FieldSet, ValueSet, display};
use tracing_core::metadata::{Kind, LevelFilter};
use tracing_core::subscriber::Interest;
use tracing_core::{Level, Metadata, dispatcher, field};

use crate::error::{RemoteError, chain};
use crate::panic;
use crate::process::lane::{Description, Value, Values, level_of};

/// How many callsites are made of what workers say.
pub(super) const MOST: usize = 1_024;

/// Where shared callsites are said to be.
const SHARED_TARGET: &str = "concurrent_futures::worker";

/// A callsite that was made while the program ran.
struct Site {
    metadata: OnceLock<Metadata<'static>>,
    interest: AtomicU8,
    /// `tracing` knows it, and asks its subscribers again whenever they change.
    is_registered: AtomicBool,
}

const SOMETIMES: u8 = 0;
const NEVER: u8 = 1;
const ALWAYS: u8 = 2;

impl callsite::Callsite for Site {
    fn set_interest(&self, interest: Interest) {
        let interest = match () {
            () if interest.is_never() => NEVER,
            () if interest.is_always() => ALWAYS,
            () => SOMETIMES,
        };
        // Relaxed: it guards nothing.
        self.interest.store(interest, Ordering::Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("it was set before it was shown")
    }
}

impl Site {
    /// Leaks a callsite. It is to be registered, which runs foreign code.
    fn new(description: Description, level: Level) -> &'static Self {
        let Description {
            is_span,
            level: _,
            name,
            target,
            module_path,
            file,
            line,
            fields,
        } = description;
        let site: &'static Self = Box::leak(Box::new(Self {
            metadata: OnceLock::new(),
            interest: AtomicU8::new(SOMETIMES),
            is_registered: AtomicBool::new(false),
        }));
        let leak = |text: String| -> &'static str { text.leak() };
        let fields: Vec<&'static str> = fields.into_iter().map(leak).collect();
        site.metadata.get_or_init(|| {
            Metadata::new(
                leak(name),
                leak(target),
                level,
                file.map(leak),
                line,
                module_path.map(leak),
                FieldSet::new(fields.leak(), Identifier(site)),
                if is_span { Kind::SPAN } else { Kind::EVENT },
            )
        });
        site
    }

    fn metadata(&'static self) -> &'static Metadata<'static> {
        self.metadata.get().expect("it was set before it was shown")
    }
}

/// The callsites that were made, by what they were made of.
static KNOWN: Mutex<Option<HashMap<Description, &'static Site>>> = Mutex::new(None);

/// The callsite for a description. `None` if there are enough.
fn own(description: &Description, level: Level) -> Option<&'static Site> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(site) = known.get(description) {
        return Some(site);
    }
    if known.len() >= MOST {
        return None;
    }
    let site = Site::new(description.clone(), level);
    known.insert(description.clone(), site);
    Some(site)
}

/// The callsite that all of this kind and level share.
fn shared(description: &Description, level: Level) -> &'static Site {
    static SHARED: [[OnceLock<&'static Site>; 6]; 2] =
        [const { [const { OnceLock::new() }; 6] }; 2];
    let place = &SHARED[usize::from(description.is_span)][description.level.min(5) as usize];
    place.get_or_init(|| {
        let kind = if description.is_span { "span" } else { "event" };
        let shared = Description {
            is_span: description.is_span,
            level: description.level,
            name: format!("{kind} of a worker process"),
            target: SHARED_TARGET.to_owned(),
            module_path: None,
            file: None,
            line: None,
            fields: vec!["message".to_owned()],
        };
        Site::new(shared, level)
    })
}

/// A callsite as a worker has announced it.
pub(super) struct Announced {
    site: &'static Site,
    /// It shares its callsite with others.
    shared: Option<Description>,
}

impl Announced {
    /// `None` if no callsite can be like that.
    pub(super) fn new(description: Description) -> Option<Self> {
        let level = level_of(description.level).filter(|_| description.is_valid())?;
        Some(match own(&description, level) {
            Some(site) => Self { site, shared: None },
            None => Self {
                site: shared(&description, level),
                shared: Some(description),
            },
        })
    }

    pub(super) fn metadata(&self) -> &'static Metadata<'static> {
        self.site.metadata()
    }

    /// Whether anybody may want it: what the macros look at before they ask.
    pub(super) fn may_be_enabled(&self) -> bool {
        *self.metadata().level() <= LevelFilter::current()
            && self.site.interest.load(Ordering::Relaxed) != NEVER
    }

    /// Whether the thread's subscriber wants it, now and here. It runs foreign code.
    pub(super) fn is_enabled(&self) -> bool {
        // Not before a subscriber is that of the thread: as long as there is but one, `tracing` asks no
        // other than this.
        if !self.site.is_registered.swap(true, Ordering::Relaxed) {
            panic::contain(|| callsite::register(self.site));
        }
        self.site.interest.load(Ordering::Relaxed) == ALWAYS
            || dispatcher::get_default(|dispatch| dispatch.enabled(self.metadata()))
    }

    /// Calls `take` with the values of an event or a span, as its own fields or in its message.
    pub(super) fn with_values<T>(
        &self,
        values: Values,
        take: impl FnOnce(&ValueSet<'_>) -> T,
    ) -> T {
        let fields = self.metadata().fields();
        let mut slots: Vec<Option<Box<dyn field::Value>>> = Vec::new();
        slots.resize_with(fields.len(), || None);
        if let Some(description) = &self.shared {
            slots[0] = Some(Box::new(display(told(description, values))));
        } else {
            for (index, value) in values {
                let slot = usize::try_from(index)
                    .ok()
                    .and_then(|index| slots.get_mut(index));
                if let Some(slot) = slot {
                    *slot = Some(as_field(value));
                }
            }
        }
        let slots: Vec<Option<&dyn field::Value>> = slots.iter().map(Option::as_deref).collect();
        take(&fields.value_set_all(&slots))
    }
}

fn as_field(value: Value) -> Box<dyn field::Value> {
    match value {
        Value::I64(value) => Box::new(value),
        Value::U64(value) => Box::new(value),
        Value::I128(value) => Box::new(value),
        Value::U128(value) => Box::new(value),
        Value::F64(value) => Box::new(value),
        Value::Bool(value) => Box::new(value),
        Value::Text(value) => Box::new(value),
        Value::Shown(value) => Box::new(display(value)),
        Value::Error(texts) => {
            let error: Option<Box<RemoteError>> = chain(texts);
            Box::new(error.map(|error| error as Box<dyn std::error::Error>))
        }
    }
}

/// All that an event or a span says, in a line.
fn told(description: &Description, values: Values) -> String {
    let mut line = format!("{}:", description.target);
    if description.is_span {
        let _ = write!(line, " {}", description.name);
    }
    for (index, value) in values {
        let name = usize::try_from(index)
            .ok()
            .and_then(|index| description.fields.get(index));
        let Some(name) = name else { continue };
        if name != "message" {
            let _ = write!(line, " {name}=");
        } else {
            line.push(' ');
        }
        let _ = match value {
            Value::I64(value) => write!(line, "{value}"),
            Value::U64(value) => write!(line, "{value}"),
            Value::I128(value) => write!(line, "{value}"),
            Value::U128(value) => write!(line, "{value}"),
            Value::F64(value) => write!(line, "{value}"),
            Value::Bool(value) => write!(line, "{value}"),
            Value::Text(value) | Value::Shown(value) => write!(line, "{value}"),
            Value::Error(texts) => write!(line, "{}", texts.join(": ")),
        };
    }
    line
}
