//! Emits here what a worker process has told of its events and spans.
//!
//! Always: it runs on the collector's thread, without the pool's lock, and before the results that were
//! published after these events are given to anybody. One round takes at most what the lane holds. A
//! worker that says what cannot be is not listened to any more, which costs its events and nothing else.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tracing::span::{self, Attributes};
use tracing::{Dispatch, Event, Span, dispatcher};

use super::callsites::Announced;
use crate::codec;
use crate::panic;
use crate::process::lane::{MOST_CALLSITES, Occurrence, Parent, Record, Values};
use crate::process::ring::{LANE_BYTES, Lane, Reader};
use crate::task::CellRef;

/// How many spans of a worker are open here at a time.
const MOST_SPANS: usize = 1_024;

/// How many spans around an event are looked at, and entered while it is emitted.
const MOST_ENTERED: usize = 64;

/// The reading side of one worker's lane.
#[derive(Default)]
pub(super) struct Relay {
    reader: Reader,
    buffer: Vec<u8>,
    callsites: Vec<Announced>,
    /// By the worker's number.
    spans: BTreeMap<u64, Copied>,
    /// How many dropped records were told of.
    told: u64,
    /// What the worker says makes no sense.
    is_closed: bool,
}

/// A span of a worker, made anew here.
struct Copied {
    callsite: usize,
    task: Option<u64>,
    /// Of a span, its number is lower: so nothing is its own ancestor.
    parent: Parent,
    /// `None` if nobody here wants it; what is in it is in its parent then.
    live: Option<Live>,
}

struct Live {
    id: span::Id,
    dispatch: Dispatch,
}

impl Drop for Live {
    fn drop(&mut self) {
        // A registry closes the parent by the default of the thread.
        dispatcher::with_default(&self.dispatch, || {
            panic::contain(|| {
                self.dispatch.try_close(self.id.clone());
            });
        });
    }
}

/// The span that a task was submitted in, and whose subscriber it is.
struct Scene {
    task: Option<u64>,
    span: Option<span::Id>,
    dispatch: Dispatch,
}

impl Scene {
    fn new(task: Option<u64>, cell: Option<&CellRef>) -> Self {
        let of_span = |span: &Span| {
            span.with_subscriber(|(id, dispatch)| (Some(id.clone()), dispatch.clone()))
        };
        let (span, dispatch) = cell
            .and_then(CellRef::span)
            .and_then(of_span)
            .unwrap_or_else(|| (None, Dispatch::default()));
        Self {
            task,
            span,
            dispatch,
        }
    }
}

/// That of this task, which mostly is the one of the record before.
fn scene_of(
    task: Option<u64>,
    scene: &mut Option<Scene>,
    find: impl Fn(Option<u64>) -> Option<CellRef>,
) -> &Scene {
    scene.take_if(|scene| scene.task != task);
    scene.get_or_insert_with(|| {
        let cell = task.and_then(|task| find(Some(task)));
        Scene::new(task, cell.as_ref())
    })
}

/// Where something is emitted.
struct Place {
    dispatch: Dispatch,
    /// The innermost first.
    spans: Vec<span::Id>,
}

impl Place {
    /// Calls `emit` inside of the spans, with their subscriber as the thread's. Each call of it is
    /// contained by itself, so that a panic in one of them leaves no span entered.
    fn inside(&self, emit: impl FnOnce()) {
        dispatcher::with_default(&self.dispatch, || {
            for span in self.spans.iter().rev() {
                panic::contain(|| self.dispatch.enter(span));
            }
            panic::contain(emit);
            for span in &self.spans {
                panic::contain(|| self.dispatch.exit(span));
            }
        });
    }
}

impl Relay {
    pub(super) fn has_something(&self, lane: &Lane) -> bool {
        !self.is_closed
            && (lane.records.has_more_than(&self.reader)
                || lane.dropped.load(Ordering::Relaxed) != self.told)
    }

    /// Emits what the worker, a process of this number, has told. `find` gives the task of a number, and
    /// the one that runs for none.
    pub(super) fn drain(
        &mut self,
        lane: &Lane,
        worker: u32,
        find: impl Fn(Option<u64>) -> Option<CellRef>,
    ) {
        // Of many records in a row that are of one task it is looked for once.
        let mut scene = None;
        let mut bytes = 0;
        while bytes < LANE_BYTES {
            self.buffer.clear();
            match self.reader.read(&lane.records, &mut self.buffer) {
                Ok(Some(_)) => bytes += self.buffer.len().next_multiple_of(8) + 8,
                Ok(None) => break,
                Err(_) => return self.close(),
            }
            let Ok(record) = codec::decode(&self.buffer) else {
                return self.close();
            };
            if self.take_in(record, &mut scene, &find).is_none() {
                return self.close();
            }
        }
        let dropped = lane.dropped.load(Ordering::Relaxed);
        // Once for each burst: while the lane is full, it goes on.
        if dropped != self.told && bytes < LANE_BYTES / 2 {
            let count = dropped.wrapping_sub(self.told);
            self.told = dropped;
            let scene = scene.unwrap_or_else(|| Scene::new(None, find(None).as_ref()));
            panic::contain(|| {
                dispatcher::with_default(&scene.dispatch, || {
                    tracing::warn!(
                        worker,
                        dropped = count,
                        "events and spans of a worker process were dropped: they came too fast"
                    );
                });
            });
        }
    }

    /// `None` if the record cannot be.
    fn take_in(
        &mut self,
        record: Record,
        scene: &mut Option<Scene>,
        find: impl Fn(Option<u64>) -> Option<CellRef>,
    ) -> Option<()> {
        match record {
            Record::Callsite(description) => {
                if self.callsites.len() >= MOST_CALLSITES {
                    return None;
                }
                self.callsites.push(Announced::new(description)?);
            }
            Record::Event(event) => {
                let scene = scene_of(event.task, scene, find);
                self.emit(event, scene)?;
            }
            Record::Opened { span, what } => {
                let scene = scene_of(what.task, scene, find);
                self.open(span, what, scene)?;
            }
            Record::Recorded { span, values } => self.record(span, values),
            Record::Closed { span } => drop(self.spans.remove(&span)),
        }
        Some(())
    }

    fn callsite(&self, what: &Occurrence) -> Option<(usize, &Announced)> {
        let index = usize::try_from(what.callsite).ok()?;
        Some((index, self.callsites.get(index)?))
    }

    fn emit(&self, event: Occurrence, scene: &Scene) -> Option<()> {
        let (_, callsite) = self.callsite(&event)?;
        let metadata = callsite.metadata();
        if !metadata.is_event() {
            return None;
        }
        if !callsite.may_be_enabled() {
            return Some(());
        }
        let place = self.place(event.parent, scene);
        place.inside(|| {
            if callsite.is_enabled() {
                callsite.with_values(event.values, |values| {
                    Event::child_of(place.spans.first().cloned(), metadata, values);
                });
            }
        });
        Some(())
    }

    fn open(&mut self, span: u64, what: Occurrence, scene: &Scene) -> Option<()> {
        let (index, callsite) = self.callsite(&what)?;
        let metadata = callsite.metadata();
        let is_new = !self.spans.contains_key(&span);
        let comes_after = !matches!(what.parent, Parent::Span(parent) if parent >= span);
        if !metadata.is_span() || !is_new || !comes_after {
            return None;
        }
        if self.spans.len() >= MOST_SPANS {
            // What is in it is in the task's span.
            return Some(());
        }
        let place = self.place(what.parent, scene);
        let mut id = None;
        let may_be_enabled = callsite.may_be_enabled();
        place.inside(|| {
            if may_be_enabled && callsite.is_enabled() {
                id = callsite.with_values(what.values, |values| {
                    let attributes = match place.spans.first() {
                        Some(parent) => Attributes::child_of(parent.clone(), metadata, values),
                        None => Attributes::new_root(metadata, values),
                    };
                    Some(place.dispatch.new_span(&attributes))
                });
            }
        });
        let dispatch = place.dispatch;
        let copied = Copied {
            callsite: index,
            task: what.task,
            parent: what.parent,
            live: id.map(|id| Live { id, dispatch }),
        };
        self.spans.insert(span, copied);
        Some(())
    }

    fn record(&self, span: u64, values: Values) {
        // It may have been closed with its task.
        let Some(copied) = self.spans.get(&span) else {
            return;
        };
        if let Some(live) = &copied.live {
            let callsite = &self.callsites[copied.callsite];
            panic::contain(|| {
                callsite.with_values(values, |values| {
                    live.dispatch.record(&live.id, &span::Record::new(values));
                });
            });
        }
    }

    /// The spans around what has this parent.
    fn place(&self, parent: Parent, scene: &Scene) -> Place {
        let mut place = Place {
            dispatch: scene.dispatch.clone(),
            spans: Vec::new(),
        };
        let (mut next, mut task) = (parent, scene.task);
        for _ in 0..MOST_ENTERED {
            match next {
                Parent::Root => return place,
                Parent::Span(number) => match self.spans.get(&number) {
                    Some(copied) => {
                        if let Some(live) = &copied.live {
                            if place.spans.is_empty() {
                                place.dispatch = live.dispatch.clone();
                            }
                            place.spans.push(live.id.clone());
                        }
                        (next, task) = (copied.parent, copied.task);
                    }
                    // It was dropped, or closed with its task.
                    None => next = Parent::Task,
                },
                Parent::Task => {
                    if task == scene.task {
                        place.spans.extend(scene.span.clone());
                    }
                    return place;
                }
            }
        }
        place
    }

    pub(super) fn has_spans(&self) -> bool {
        !self.spans.is_empty()
    }

    /// The tasks up to this one have ended, and with them their spans, the innermost first.
    pub(super) fn end_tasks(&mut self, last: u64) {
        self.close_spans(|task| task.is_some_and(|task| task <= last));
    }

    /// The worker has ended.
    pub(super) fn end(&mut self) {
        self.close_spans(|_| true);
    }

    fn close_spans(&mut self, has_ended: impl Fn(Option<u64>) -> bool) {
        let spans = self.spans.iter().rev();
        let ended: Vec<u64> = spans
            .filter(|(_, copied)| has_ended(copied.task))
            .map(|(span, _)| *span)
            .collect();
        for span in ended {
            self.spans.remove(&span);
        }
    }

    /// Nothing more is read.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.end();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        panic::contain(|| self.end());
    }
}
