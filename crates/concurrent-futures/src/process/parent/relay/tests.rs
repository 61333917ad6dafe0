//! What a hostile worker can put into its lane.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};

use super::super::callsites::MOST;
use super::*;
use crate::process::lane::{Description, MOST_FIELDS, MOST_NAME, Value};
use crate::process::ring::{Memory, Writer};
use crate::process::sys::Segment;

/// Counts what it is told, and looks at all of it.
#[derive(Default)]
struct Witness(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    spans: u64,
    entered: u64,
    closed: u64,
    events: Vec<(&'static Metadata<'static>, String)>,
}

struct Text(String);

impl Visit for Text {
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let chain = std::iter::successors(Some(value), |error| (*error).source());
        self.record_debug(field, &chain.count());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?};"));
    }
}

impl Subscriber for Witness {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Text(String::new()));
        let mut told = self.0.lock().unwrap();
        told.spans += 1;
        Id::from_u64(told.spans)
    }

    fn record(&self, _: &Id, values: &span::Record<'_>) {
        values.record(&mut Text(String::new()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0
            .lock()
            .unwrap()
            .events
            .push((event.metadata(), text.0));
    }

    fn enter(&self, _: &Id) {
        self.0.lock().unwrap().entered += 1;
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered -= 1;
    }

    fn try_close(&self, _: Id) -> bool {
        self.0.lock().unwrap().closed += 1;
        true
    }
}

fn memory() -> Segment<Memory> {
    Segment::create("concurrent-futures-test").expect("it is made")
}

fn write(lane: &Lane, writer: &mut Writer, record: &Record) {
    let mut bytes = Vec::new();
    codec::encode(record, &mut bytes).expect("a record");
    assert_eq!(writer.write(&lane.records, 0, &[&bytes]), Ok(true));
}

/// What a subscriber was told while `test` ran.
fn witnessed(test: impl FnOnce()) -> Told {
    let told = Arc::<Mutex<Told>>::default();
    let dispatch = Dispatch::new(Witness(Arc::clone(&told)));
    dispatcher::with_default(&dispatch, test);
    std::mem::take(&mut told.lock().unwrap())
}

fn drain(relay: &mut Relay, lane: &Lane) {
    relay.drain(lane, 1, |_| None);
}

fn description(name: impl Into<String>) -> Description {
    Description {
        is_span: false,
        level: 1,
        name: name.into(),
        target: "a::target".to_owned(),
        module_path: None,
        file: None,
        line: None,
        fields: vec!["message".to_owned(), "count".to_owned()],
    }
}

fn event(callsite: u32) -> Record {
    let values = vec![(0, Value::Shown("hello".to_owned())), (1, Value::U64(7))];
    Record::Event(Occurrence {
        callsite,
        task: None,
        parent: Parent::Task,
        values,
    })
}

#[test]
fn callsites_beyond_the_most_share_one_that_says_all_in_its_message() {
    let memory = memory();
    let mut writer = Writer::default();
    let mut relay = Relay::default();
    let announced = u32::try_from(MOST).expect("few") + 10;
    let told = witnessed(|| {
        for callsite in 0..announced {
            let name = format!("callsite {callsite}");
            write(
                &memory.lane,
                &mut writer,
                &Record::Callsite(description(name)),
            );
            write(&memory.lane, &mut writer, &event(callsite));
            drain(&mut relay, &memory.lane);
        }
    });
    assert!(!relay.is_closed);
    assert_eq!(told.events.len(), announced as usize);
    let is_own = |metadata: &Metadata<'_>| metadata.target() == "a::target";
    let own = told
        .events
        .iter()
        .filter(|(metadata, _)| is_own(metadata))
        .count();
    assert!(own <= MOST, "{own} were made");
    let (last, text) = told.events.last().expect("there are some");
    assert_eq!(
        (*last.level(), last.fields().len()),
        (tracing::Level::ERROR, 1)
    );
    assert_eq!(text, "message=a::target: hello count=7;");
}

#[test]
fn what_no_callsite_can_be_ends_the_lane() {
    let long = "x".repeat(MOST_NAME + 1);
    let wrong = [
        Description {
            level: 0,
            ..description("off")
        },
        Description {
            level: 6,
            ..description("beyond")
        },
        Description {
            target: long.clone(),
            ..description("far")
        },
        Description {
            fields: vec![long.clone()],
            ..description("wide")
        },
        Description {
            fields: vec![String::new(); MOST_FIELDS + 1],
            ..description("many")
        },
        description(long),
    ];
    for description in wrong {
        let memory = memory();
        let mut relay = Relay::default();
        write(
            &memory.lane,
            &mut Writer::default(),
            &Record::Callsite(description.clone()),
        );
        drain(&mut relay, &memory.lane);
        assert!(relay.is_closed, "{description:?}");
        assert!(!relay.has_something(&memory.lane));
    }
}

#[test]
fn live_spans_are_bounded_and_closed_with_the_worker() {
    let memory = memory();
    let mut writer = Writer::default();
    let mut relay = Relay::default();
    let told = witnessed(|| {
        let callsite = Description {
            is_span: true,
            ..description("a span")
        };
        write(&memory.lane, &mut writer, &Record::Callsite(callsite));
        for span in 1..=2 * MOST_SPANS as u64 {
            let parent = if span == 1 {
                Parent::Task
            } else {
                Parent::Span(span - 1)
            };
            let what = Occurrence {
                callsite: 0,
                task: Some(3),
                parent,
                values: vec![],
            };
            write(&memory.lane, &mut writer, &Record::Opened { span, what });
            drain(&mut relay, &memory.lane);
        }
        assert_eq!(relay.spans.len(), MOST_SPANS);
        relay.end_tasks(2);
        assert_eq!(relay.spans.len(), MOST_SPANS);
        relay.end_tasks(3);
        assert!(!relay.has_spans());
    });
    assert_eq!(
        (told.spans, told.closed, told.entered),
        (MOST_SPANS as u64, MOST_SPANS as u64, 0)
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<i128>().prop_map(Value::I128),
        any::<u128>().prop_map(Value::U128),
        any::<f64>().prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(Value::Text),
        any::<String>().prop_map(Value::Shown),
        vec(any::<String>(), 0..40).prop_map(Value::Error),
    ]
}

fn any_values() -> impl Strategy<Value = Values> {
    vec((prop_oneof![0_u32..4, any::<u32>()], any_value()), 0..4)
}

fn any_occurrence() -> impl Strategy<Value = Occurrence> {
    let parent = prop_oneof![
        Just(Parent::Root),
        Just(Parent::Task),
        any_span().prop_map(Parent::Span),
    ];
    let task = option::of(0_u64..4);
    (0_u32..6, task, parent, any_values()).prop_map(|(callsite, task, parent, values)| Occurrence {
        callsite,
        task,
        parent,
        values,
    })
}

fn any_span() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..8, any::<u64>()]
}

fn any_record() -> impl Strategy<Value = Record> {
    let name = || prop_oneof![Just(String::new()), "[a-c]{1,2}", any::<String>()];
    let texts = (name(), name(), option::of(name()), option::of(name()));
    let callsite = (
        any::<bool>(),
        0_u32..7,
        texts,
        option::of(any::<u32>()),
        vec(name(), 0..3),
    );
    let callsite = callsite.prop_map(
        |(is_span, level, (name, target, module_path, file), line, fields)| {
            Record::Callsite(Description {
                is_span,
                level,
                name,
                target,
                module_path,
                file,
                line,
                fields,
            })
        },
    );
    prop_oneof![
        2 => callsite,
        4 => any_occurrence().prop_map(Record::Event),
        4 => (any_span(), any_occurrence()).prop_map(|(span, what)| Record::Opened { span, what }),
        1 => (any_span(), any_values()).prop_map(|(span, values)| Record::Recorded { span, values }),
        1 => any_span().prop_map(|span| Record::Closed { span }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_comes_back_as_it_was_written(record in any_record()) {
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes).expect("a record");
        // NaN is no NaN.
        let back: Record = codec::decode(&bytes).expect("what was encoded");
        prop_assert_eq!(format!("{back:?}"), format!("{record:?}"));
    }

    #[test]
    fn records_in_any_order_do_no_harm(records in vec(any_record(), 0..40)) {
        let memory = memory();
        let mut writer = Writer::default();
        let mut relay = Relay::default();
        let told = witnessed(|| {
            for record in &records {
                write(&memory.lane, &mut writer, record);
                drain(&mut relay, &memory.lane);
            }
            drop(relay);
        });
        prop_assert_eq!((told.entered, told.closed), (0, told.spans));
    }

    #[test]
    fn any_bytes_in_the_lane_do_no_harm(
        cursor in prop_oneof![0_u64..64, any::<u64>()],
        words in vec(prop_oneof![any::<u64>(), 0_u64..64], 0..64),
        dropped in any::<u64>(),
    ) {
        let memory = memory();
        memory.lane.records.scribble(cursor, cursor, |index| words.get(index).copied());
        memory.lane.dropped.store(dropped, Ordering::Relaxed);
        let mut relay = Relay::default();
        witnessed(|| drain(&mut relay, &memory.lane));
        prop_assert!(cursor == 0 || relay.is_closed || !memory.lane.records.has_more_than(&relay.reader));
    }
}
