//! Events and spans of worker processes, as a subscriber of the pool's process sees them.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use concurrent_futures::{Executor, ProcessPoolExecutor, TaskOptions};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Subscriber, dispatcher};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::{Door, Gate, PathGate, eventually, tests};

/// The values of an event or a span, by the names of their fields, with their types.
#[derive(Clone, Default)]
struct Values(HashMap<&'static str, String>);

impl Values {
    fn put(&mut self, field: &Field, value: String) {
        self.0.insert(field.name(), value);
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, format!("f64 {value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, format!("i64 {value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, format!("u64 {value}"));
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, format!("i128 {value}"));
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, format!("u128 {value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format!("bool {value}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format!("str {value}"));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes = std::iter::successors(Some(value), |error| (*error).source());
        let texts: Vec<String> = causes.map(ToString::to_string).collect();
        self.put(field, format!("error {}", texts.join(", ")));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// What a subscriber was told.
#[derive(Clone)]
struct Note {
    metadata: &'static tracing::Metadata<'static>,
    values: Values,
    /// The names of the spans around it, the innermost first.
    scope: Vec<&'static str>,
}

impl Note {
    fn value(&self, field: &str) -> &str {
        self.values.0.get(field).map_or("", String::as_str)
    }
}

/// Everything that a subscriber was told.
#[derive(Default)]
struct Diary {
    events: Mutex<Vec<Note>>,
    spans: Mutex<HashMap<u64, Note>>,
    closed: Mutex<Vec<&'static str>>,
    /// Each event waits here.
    gate: Option<Gate>,
}

impl Diary {
    fn events(&self) -> Vec<Note> {
        self.events.lock().unwrap().clone()
    }

    fn event(&self, message: &str) -> Note {
        let mut events = self.events().into_iter();
        let found = events.find(|event| event.value("message") == message);
        found.unwrap_or_else(|| panic!("no event {message}"))
    }

    fn messages(&self) -> Vec<String> {
        let events = self.events().into_iter();
        events
            .map(|event| event.value("message").to_owned())
            .collect()
    }

    fn span(&self, name: &str) -> Note {
        let spans = self.spans.lock().unwrap();
        let found = spans.values().find(|span| span.metadata.name() == name);
        found.unwrap_or_else(|| panic!("no span {name}")).clone()
    }

    fn closed(&self) -> Vec<&'static str> {
        self.closed.lock().unwrap().clone()
    }
}

/// Writes into a diary.
struct Writes(Arc<Diary>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Writes {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut values = Values::default();
        span.record(&mut values);
        let scope = context.span_scope(id).expect("it is there").skip(1);
        let note = Note {
            metadata: span.metadata(),
            values,
            scope: scope.map(|span| span.name()).collect(),
        };
        self.0.spans.lock().unwrap().insert(id.into_u64(), note);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.spans.lock().unwrap();
        let note = spans.get_mut(&id.into_u64()).expect("it is there");
        values.record(&mut note.values);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let scope = context.event_scope(event).into_iter().flatten();
        let note = Note {
            metadata: event.metadata(),
            values,
            scope: scope.map(|span| span.name()).collect(),
        };
        if let Some(gate) = &self.0.gate {
            gate.pass();
        }
        self.0.events.lock().unwrap().push(note);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let name = context.span(&id).expect("it is there").name();
        self.0.closed.lock().unwrap().push(name);
    }
}

/// Calls `test` with a subscriber that lets through what `filter` does, and its diary.
fn recorded(filter: &str, test: impl FnOnce(&Diary)) {
    recorded_by(Diary::default(), filter, test);
}

fn recorded_by(diary: Diary, filter: &str, test: impl FnOnce(&Diary)) {
    let diary = Arc::new(diary);
    let filter = EnvFilter::new(filter);
    let layers = tracing_subscriber::registry()
        .with(filter)
        .with(Writes(Arc::clone(&diary)));
    dispatcher::with_default(&Dispatch::new(layers), || test(&diary));
}

/// What a worker finds enabled.
fn enabled() -> (bool, bool) {
    (
        tracing::enabled!(Level::ERROR),
        tracing::enabled!(Level::DEBUG),
    )
}

fn say(text: String) {
    tracing::info!("{text}");
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no number")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn every_type() {
    let error = Outer("seven".parse::<u8>().unwrap_err());
    tracing::warn!(
        target: "some::target",
        signed = -7_i64,
        unsigned = u64::MAX,
        wide = i128::MIN,
        unsigned.wide = u128::MAX,
        float = f64::MIN_POSITIVE,
        truth = true,
        text = "blå",
        debugged = ?Some("a"),
        displayed = %"b",
        absent = tracing::field::Empty,
        error = &error as &(dyn Error + 'static),
        "all of them",
    );
}

fn tree() {
    let outer = tracing::info_span!("outer", user = 7, found = tracing::field::Empty);
    let _outer = outer.enter();
    outer.record("found", "late");
    tracing::info!("in outer");
    tracing::debug_span!("inner", depth = 2_u64).in_scope(|| {
        tracing::info!("in inner");
        tracing::info!(parent: None, "in nothing");
        tracing::info!(parent: &outer, "said to be in outer");
    });
}

/// Opens a span that is never closed, and ends as `how` says.
fn leaves_a_span_open(is_to_abort: bool) {
    std::mem::forget(tracing::info_span!("left open").entered());
    tracing::info!("last words");
    if is_to_abort {
        std::process::abort();
    }
}

struct Rude;

impl fmt::Debug for Rude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tracing::info!(again = ?Rude, "from inside");
        f.write_str("as far as ")?;
        panic!("a text that panics")
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Count(usize);

/// So many events, and then says at the door that they are out.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn flood(count: Count, door: Door) {
    for number in 0..count.0 {
        tracing::info!(number, "one of many");
    }
    door.arrive();
}

/// What the subscriber that the initializer sets was told.
static OWN: AtomicUsize = AtomicUsize::new(0);

fn sets_its_own_subscriber() {
    struct Counts;
    impl<S: Subscriber> Layer<S> for Counts {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            OWN.fetch_add(1, Ordering::SeqCst);
        }
    }
    let subscriber = tracing_subscriber::registry().with(Counts);
    tracing::subscriber::set_global_default(subscriber).expect("nobody else has set one");
}

fn pool() -> ProcessPoolExecutor {
    ProcessPoolExecutor::new(1)
}

tests! {
    fn an_event_of_a_worker_is_emitted_in_the_span_of_its_task_with_all_that_is_known_of_it() {
        recorded("trace", |diary| {
            let request = tracing::info_span!("request");
            let future = request.in_scope(|| pool().submit(every_type, ()));
            future.result().unwrap();
            // Whoever has seen the result finds the event.
            let event = diary.event("all of them");
            assert_eq!(event.scope, ["request"]);
            let metadata = event.metadata;
            assert_eq!((*metadata.level(), metadata.target()), (Level::WARN, "some::target"));
            assert_eq!(metadata.module_path(), Some(module_path!()));
            assert_eq!(metadata.file(), Some(file!()));
            assert!(metadata.name().starts_with("event ") && metadata.line().is_some());
            let expected = [
                ("signed", "i64 -7".to_owned()),
                ("unsigned", format!("u64 {}", u64::MAX)),
                ("wide", format!("i128 {}", i128::MIN)),
                ("unsigned.wide", format!("u128 {}", u128::MAX)),
                ("float", format!("f64 {}", f64::MIN_POSITIVE)),
                ("truth", "bool true".to_owned()),
                ("text", "str blå".to_owned()),
                ("debugged", "Some(\"a\")".to_owned()),
                ("displayed", "b".to_owned()),
                ("error", "error no number, invalid digit found in string".to_owned()),
            ];
            for (field, value) in &expected {
                assert_eq!(event.value(field), value, "{field}");
            }
            // The message, and nothing for the field that was left empty.
            assert_eq!(event.values.0.len(), expected.len() + 1);
        });
    }

    fn spans_of_a_worker_make_one_tree_with_that_of_the_submitter() {
        recorded("trace", |diary| {
            let request = tracing::info_span!("request");
            request.in_scope(|| pool().submit(tree, ()).result()).unwrap();
            assert_eq!(diary.event("in outer").scope, ["outer", "request"]);
            assert_eq!(diary.event("in inner").scope, ["inner", "outer", "request"]);
            assert!(diary.event("in nothing").scope.is_empty());
            assert_eq!(diary.event("said to be in outer").scope, ["outer", "request"]);
            let (outer, inner) = (diary.span("outer"), diary.span("inner"));
            assert_eq!((outer.value("user"), outer.value("found")), ("i64 7", "str late"));
            assert_eq!((inner.value("depth"), *inner.metadata.level()), ("u64 2", Level::DEBUG));
            assert_eq!(inner.scope, ["outer", "request"]);
            assert_eq!(diary.closed(), ["inner", "outer"]);
        });
    }

    fn what_is_current_after_the_submit_makes_no_difference() {
        recorded("info", |diary| {
            let pool = pool();
            let gate = PathGate::new();
            pool.submit(crate::harness::pass, gate.door()).detach();
            let request = tracing::info_span!("request");
            let future = request.in_scope(|| pool.submit(say, "now".to_owned()));
            tracing::info_span!("later").in_scope(|| {
                gate.open();
                future.result().unwrap();
            });
            assert_eq!(diary.event("now").scope, ["request"]);
        });
    }

    fn a_filter_of_the_pools_process_decides_by_target_span_and_field() {
        fn emits() {
            tracing::info!(target: "hidden::part", "hidden");
            tracing::info!("shown");
            tracing::debug!("too fine outside");
            tracing::info_span!("request").in_scope(|| {
                tracing::debug!("fine inside");
                tracing::trace!("too fine inside");
            });
            tracing::info_span!("about", user = "me").in_scope(|| tracing::trace!("about me"));
            tracing::info_span!(target: "hidden::part", "in between").in_scope(|| {
                tracing::info!("inside of what is hidden");
            });
        }
        recorded("info,hidden=off,[request]=debug,[{user}]=trace", |diary| {
            let service = tracing::info_span!("service");
            service.in_scope(|| pool().submit(emits, ()).result()).unwrap();
            let expected = ["shown", "fine inside", "about me", "inside of what is hidden"];
            assert_eq!(diary.messages(), expected);
            assert_eq!(diary.event("about me").scope, ["about", "service"]);
            assert_eq!(diary.event("inside of what is hidden").scope, ["service"]);
        });
    }

    fn a_worker_is_told_of_each_change_of_the_level() {
        let pool = pool();
        // Whatever keeps the subscriber before this one may go a little later.
        let finds = |filter: &str, expected: (bool, bool)| {
            eventually(filter, || {
                let mut found = None;
                recorded(filter, |_| found = pool.submit(enabled, ()).result().ok());
                found == Some(expected)
            });
        };
        // Nobody wants anything: a worker does not even make the event.
        finds("off", (false, false));
        finds("debug", (true, true));
        finds("off", (false, false));
        finds("info", (true, false));
        recorded("info", |diary| {
            tracing::info_span!("request")
                .in_scope(|| pool.submit(say, "heard".to_owned()).result())
                .unwrap();
            assert_eq!(diary.messages(), ["heard"]);
        });
        finds("off", (false, false));
    }

    fn events_that_come_too_fast_are_dropped_counted_and_told_once() {
        const MANY: usize = 20_000;
        let gate = Gate::default();
        let diary = Diary {
            gate: Some(gate.clone()),
            ..Diary::default()
        };
        recorded_by(diary, "info", |diary| {
            let pool = pool();
            let out = PathGate::new();
            let request = tracing::info_span!("request");
            let future = request.in_scope(|| pool.submit(flood, (Count(MANY), out.door())));
            // The first event keeps the thread that takes them in, and the worker does not wait for it.
            gate.wait_for(1);
            out.wait_for(1);
            let dropped = pool.worker_stats()[0].dropped_events();
            assert!(dropped > 0);
            gate.open();
            future.result().unwrap();
            let events = diary.events();
            let (told, emitted): (Vec<Note>, Vec<Note>) =
                events.into_iter().partition(|event| event.value("message") != "one of many");
            assert_eq!(told.len(), 1, "{:?}", told[1].value("message"));
            assert_eq!(told[0].value("dropped"), format!("u64 {dropped}"));
            assert_eq!(emitted.len() as u64 + dropped, MANY as u64);
            assert!(emitted.len() > 500, "few of them fit: {}", emitted.len());
        });
    }

    fn a_subscriber_that_the_initializer_sets_stays() {
        recorded("trace", |diary| {
            let pool = ProcessPoolExecutor::builder()
                .max_workers(1)
                .initializer(sets_its_own_subscriber, ())
                .build()
                .unwrap();
            let request = tracing::info_span!("request");
            request.in_scope(|| pool.submit(say, "to whom".to_owned()).result()).unwrap();
            let own = pool.submit(|| OWN.load(Ordering::SeqCst), ()).result().unwrap();
            assert_eq!((own, diary.events().len()), (1, 0));
        });
    }

    fn what_a_task_says_before_its_worker_dies_is_heard_and_its_spans_are_closed() {
        recorded("info", |diary| {
            let pool = pool();
            let request = tracing::info_span!("request");
            let future = request.in_scope(|| pool.submit(leaves_a_span_open, true));
            assert!(future.result().unwrap_err().is_worker_lost());
            assert_eq!(diary.event("last words").scope, ["left open", "request"]);
            assert_eq!(diary.closed(), ["left open"]);
        });
    }

    fn a_span_that_a_task_leaves_open_is_closed_with_it() {
        recorded("info", |diary| {
            let pool = pool();
            let request = tracing::info_span!("request");
            request.in_scope(|| pool.submit(leaves_a_span_open, false).result()).unwrap();
            assert_eq!(diary.closed(), ["left open"]);
            // The worker is still in that span; here it is in that of the next task.
            let second = tracing::info_span!("second");
            second.in_scope(|| pool.submit(say, "after it".to_owned()).result()).unwrap();
            assert_eq!(diary.event("after it").scope, ["second"]);
        });
    }

    fn items_of_a_map_speak_in_the_span_of_the_map() {
        recorded("info", |diary| {
            let pool = ProcessPoolExecutor::new(2);
            let all: Result<Vec<()>, _> = tracing::info_span!("mapping").in_scope(|| {
                let items = (0..200).map(|item| format!("item {item}"));
                pool.map(say, items).into_iter().collect()
            });
            all.unwrap();
            let mut messages = diary.messages();
            messages.sort_unstable();
            let mut expected: Vec<String> = (0..200).map(|item| format!("item {item}")).collect();
            expected.sort_unstable();
            assert_eq!(messages, expected);
            assert!(diary.events().iter().all(|event| event.scope == ["mapping"]));
        });
    }

    fn threads_that_a_task_starts_speak_in_its_span() {
        fn starts_a_thread() {
            std::thread::spawn(|| tracing::info!("from a thread")).join().unwrap();
        }
        recorded("info", |diary| {
            tracing::info_span!("request").in_scope(|| pool().submit(starts_a_thread, ()).result()).unwrap();
            assert_eq!(diary.event("from a thread").scope, ["request"]);
        });
    }

    fn workers_of_a_worker_speak_through_it() {
        fn starts_a_pool() {
            let _span = tracing::info_span!("between").entered();
            pool().submit(tree, ()).result().unwrap();
        }
        recorded("info", |diary| {
            tracing::info_span!("request").in_scope(|| pool().submit(starts_a_pool, ()).result()).unwrap();
            assert_eq!(diary.event("in inner").scope, ["outer", "between", "request"]);
            assert_eq!(diary.span("outer").value("found"), "str late");
        });
    }

    fn a_copy_that_a_task_has_forked_is_silent_and_lives() {
        fn forks() -> i32 {
            // SAFETY: the copy runs what needs no other thread, and ends.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                tracing::info_span!("in the copy").in_scope(|| tracing::error!("from the copy"));
                // SAFETY: it ends the copy.
                unsafe { libc::_exit(7) };
            }
            let mut status = 0;
            // SAFETY: the status is written to a place of its own.
            unsafe { libc::waitpid(copy, &raw mut status, 0) };
            tracing::info!("from the task");
            status
        }
        recorded("info", |diary| {
            let request = tracing::info_span!("request");
            let status = request.in_scope(|| pool().submit(forks, ()).result()).unwrap();
            assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 7));
            assert_eq!(diary.messages(), ["from the task"]);
        });
    }

    fn a_text_that_emits_or_panics_harms_nobody() {
        fn rude() -> u8 {
            tracing::info!(rude = ?Rude, polite = 1, "with a rude text");
            7
        }
        recorded("info", |diary| {
            let request = tracing::info_span!("request");
            assert_eq!(request.in_scope(|| pool().submit(rude, ()).result()).unwrap(), 7);
            let event = diary.event("with a rude text");
            assert_eq!(event.value("rude"), "as far as (panicked: a text that panics)");
            assert_eq!(event.value("polite"), "i64 1");
            assert_eq!(diary.events().len(), 1);
        });
    }

    fn a_subscriber_that_panics_harms_no_task() {
        struct Panics(Arc<AtomicBool>);
        impl<S: Subscriber> Layer<S> for Panics {
            fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
                assert!(!self.0.load(Ordering::SeqCst), "a new span");
            }
            fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
                panic!("an event");
            }
            fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
                panic!("a record");
            }
            fn on_enter(&self, _: &Id, _: Context<'_, S>) {
                assert!(!self.0.load(Ordering::SeqCst), "an enter");
            }
            fn on_exit(&self, _: &Id, _: Context<'_, S>) {
                assert!(!self.0.load(Ordering::SeqCst), "an exit");
            }
            fn on_close(&self, _: Id, _: Context<'_, S>) {
                assert!(!self.0.load(Ordering::SeqCst), "a close");
            }
        }
        let is_on = Arc::new(AtomicBool::new(false));
        let layers = tracing_subscriber::registry().with(Panics(Arc::clone(&is_on)));
        dispatcher::with_default(&Dispatch::new(layers.with(LevelFilter::INFO)), || {
            let pool = pool();
            let request = tracing::info_span!("request");
            let futures: Vec<_> = request.in_scope(|| (0..10).map(|_| pool.submit(tree, ())).collect());
            is_on.store(true, Ordering::SeqCst);
            let last = pool.with(TaskOptions::new().name("last")).submit(|| 7, ());
            for future in futures {
                future.result().unwrap();
            }
            assert_eq!(last.result().unwrap(), 7);
            // Here nobody contains what the end of a span does.
            is_on.store(false, Ordering::SeqCst);
        });
    }

    fn a_long_task_is_heard_while_it_runs() {
        fn waits_and_says_and_waits(before: Door, after: Door) {
            before.pass();
            tracing::info!("in between");
            after.pass();
        }
        recorded("info", |diary| {
            let (before, after) = (PathGate::new(), PathGate::new());
            let request = tracing::info_span!("request");
            let doors = (before.door(), after.door());
            let future = request.in_scope(|| pool().submit(waits_and_says_and_waits, doors));
            before.wait_for(1);
            // By now nobody looks for anything any more: who wants to be heard has to ring.
            std::thread::sleep(std::time::Duration::from_millis(20));
            before.open();
            eventually("it is heard", || diary.messages() == ["in between"]);
            after.open();
            future.result().unwrap();
        });
    }
}
