//! The races over the memory that pool and worker share, checked in every interleaving.
//!
//! Here both sides are threads and the rings are of four words, so that every frame comes to the edge.
//! Each model says what it shows, and which weakening it notices. A process that ends is a thread that
//! is joined: all that it wrote is seen afterwards, and it writes nothing more.

use loom::sync::atomic::Ordering;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::bell::Bell;
use super::queue::{Reader, Ring, Writer};
use super::slot::{Phase, Slot};

/// Every interleaving with at most this many switches away from a thread that could have gone on,
/// where all of them are too many.
const SWITCHES: usize = 3;

fn bounded(switches: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

/// A kernel's futex: the look at the word and the sleep are one step under the lock that a waker takes.
/// A wake-up that is lost is a deadlock, which loom reports.
struct Futex {
    lock: Mutex<()>,
    woken: Condvar,
}

impl Futex {
    fn new() -> Self {
        Self {
            lock: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    fn wait(&self, bell: &Bell) {
        let guard = self.lock.lock().unwrap();
        let (word, asleep) = bell.word();
        if word.load(Ordering::Relaxed) == asleep {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn wake(&self) {
        let guard = self.lock.lock().unwrap();
        self.woken.notify_all();
        drop(guard);
    }
}

/// One direction between two sides: a ring, a bell for the reader and one for the writer.
struct Lane {
    ring: Ring<4>,
    work: (Bell, Futex),
    room: (Bell, Futex),
}

impl Lane {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: Ring::new(),
            work: (Bell::new(), Futex::new()),
            room: (Bell::new(), Futex::new()),
        })
    }

    /// Sleeps as a worker does, unless there is work.
    fn rest(&self, reader: &Reader) {
        let (bell, futex) = &self.work;
        bell.lie_down();
        if !self.ring.has_more_than(reader) {
            futex.wait(bell);
        }
        bell.get_up();
    }

    fn rest_for_room(&self, writer: &mut Writer, bytes: usize) {
        let (bell, futex) = &self.room;
        bell.lie_down();
        if !writer.has_room(&self.ring, bytes).unwrap() {
            futex.wait(bell);
        }
        bell.get_up();
    }
}

/// The next frame's kind.
fn take(ring: &Ring<4>, reader: &mut Reader) -> Option<u32> {
    let frame = reader.read(ring, &mut Vec::new()).unwrap();
    frame.map(|frame| frame.kind)
}

/// How many frames there are now.
fn drain(ring: &Ring<4>, reader: &mut Reader) -> u64 {
    let frames = std::iter::from_fn(|| take(ring, reader));
    frames.count() as u64
}

fn tell((bell, futex): &(Bell, Futex)) {
    if bell.ring() {
        futex.wake();
    }
}

/// Bytes of which no two words, in no two frames, are alike.
fn payload(frame: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|index| frame * 16 + u8::try_from(index).unwrap() + 1)
        .collect()
}

/// Frames of two, one and two words go through four words: none is lost, torn or doubled, and their
/// order holds; the third crosses the edge and needs the room of those before.
///
/// No word is overwritten before it was copied, since the accesses to each word are ordered. Notices
/// each of the four orderings of the cursors made relaxed, and room reckoned one word too large.
#[test]
fn loom_frames_cross_whole_and_in_order() {
    const LENGTHS: [usize; 3] = [3, 0, 8];
    bounded(SWITCHES, || {
        let ring = Arc::new(Ring::<4>::new());
        let writing = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut writer = Writer::default();
                for (number, bytes) in (0..).zip(LENGTHS) {
                    let payload = payload(number, bytes);
                    let kind = u32::from(number);
                    while !writer.write(&ring, kind, &[&payload]).unwrap() {
                        thread::yield_now();
                    }
                }
            })
        };
        let mut reader = Reader::default();
        for (number, bytes) in (0..).zip(LENGTHS) {
            let mut found = Vec::new();
            let frame = loop {
                match reader.read(&ring, &mut found).unwrap() {
                    Some(frame) => break frame,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(frame.kind, u32::from(number));
            assert_eq!(found, payload(number, bytes));
        }
        writing.join().unwrap();
        assert!(!ring.has_more_than(&reader), "nothing came twice");
    });
}

/// Who sleeps for work is rung by who brings it: for the first frame, and for the second, whether or
/// not the sleeper has got up in between.
///
/// One of the two fences is first. If it is the sleeper's, the ring finds it asleep; if not, the
/// sleeper finds the work. Notices either fence left out, the look after lying down left out, and a
/// sleep that does not compare the word.
#[test]
fn loom_a_sleeper_is_rung_for_work() {
    loom::model(|| {
        let lane = Lane::new();
        let other = Arc::clone(&lane);
        let sleeping = thread::spawn(move || {
            let mut reader = Reader::default();
            for kind in 1..=2 {
                let frame = loop {
                    match take(&other.ring, &mut reader) {
                        Some(frame) => break frame,
                        None => other.rest(&reader),
                    }
                };
                assert_eq!(frame, kind);
            }
        });
        let mut writer = Writer::default();
        for kind in 1..=2 {
            assert!(writer.write(&lane.ring, kind, &[]).unwrap());
            tell(&lane.work);
        }
        sleeping.join().unwrap();
    });
}

/// Who sleeps for room is rung by who makes it: the argument of the model before, with the head of the
/// ring in the place of its tail. And both directions at once, since a full writer and an idle reader
/// are asleep at the same time only if one of them was not rung.
#[test]
fn loom_a_sleeper_is_rung_for_room() {
    bounded(SWITCHES, || {
        let lane = Lane::new();
        let other = Arc::clone(&lane);
        let writing = thread::spawn(move || {
            let mut writer = Writer::default();
            for kind in 1..=2_u8 {
                let payload = payload(kind, 16);
                // Three of four words: the second has to wait for the first.
                while !writer
                    .write(&other.ring, u32::from(kind), &[&payload])
                    .unwrap()
                {
                    tell(&other.work);
                    other.rest_for_room(&mut writer, payload.len());
                }
            }
            tell(&other.work);
        });
        let mut reader = Reader::default();
        for kind in 1..=2 {
            let frame = loop {
                match take(&lane.ring, &mut reader) {
                    Some(frame) => break frame,
                    None => lane.rest(&reader),
                }
            };
            assert_eq!(frame, kind);
            tell(&lane.room);
        }
        writing.join().unwrap();
    });
}

/// A task is taken back or begun, and never both or neither.
///
/// Notices a step that is a load and a store, and a tail that does not publish the slot.
#[test]
fn loom_take_back_against_start() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let lane = Lane::new();
        let mut writer = Writer::default();
        let worker = {
            let (slot, lane) = (Arc::clone(&slot), Arc::clone(&lane));
            thread::spawn(move || {
                let mut reader = Reader::default();
                let is_there = take(&lane.ring, &mut reader).is_some();
                is_there.then(|| slot.start(7, 100))
            })
        };
        slot.hand_over(7);
        assert!(writer.write(&lane.ring, 1, &[]).unwrap());
        let is_taken = slot.take_back(7);
        match worker.join().unwrap() {
            Some(has_begun) => assert_ne!(is_taken, has_begun),
            // It had looked too early.
            None => assert!(is_taken),
        }
        let phase = if is_taken {
            Phase::Taken
        } else {
            Phase::Running
        };
        assert_eq!(slot.phase(7), Some(phase));
    });
}

/// A task is stopped or gives its result, and never both or neither; who sees it running sees when it
/// began.
///
/// Notices a step that is relaxed. (Of two threads that each load and then store one word, loom does not
/// try all orders; the other models notice such a step.)
#[test]
fn loom_stop_against_finish() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        slot.hand_over(7);
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                assert!(slot.start(7, 100), "nobody takes it back");
                slot.finish(7)
            })
        };
        if slot.phase(7) == Some(Phase::Running) {
            assert_eq!(slot.begun_at(), 100);
        }
        let is_stopped = slot.stop(7);
        if is_stopped {
            assert_eq!(slot.begun_at(), 100);
        }
        let phase = slot.phase(7);
        let is_finished = worker.join().unwrap();
        assert_ne!(is_stopped, is_finished);
        if is_stopped {
            assert_eq!(phase, Some(Phase::Stopping), "it stays so");
        }
    });
}

/// A worker that was told to stop one task begins no other, and a stop that comes too late does not hit
/// the next task in the same slot, although it is running then; nor does one that comes while the next
/// task is handed over.
///
/// Notices steps that do not compare the number, a step that is a load and a store, a worker that goes
/// on after a lost `finish`, and a slot that is made ready after its frame is published.
#[test]
fn loom_a_stop_never_hits_the_next_task() {
    const FIRST: u64 = 3;
    const SECOND: u64 = FIRST + 128;
    bounded(SWITCHES, || {
        let slot = Arc::new(Slot::new());
        let (tasks, results) = (Lane::new(), Lane::new());
        slot.hand_over(FIRST);
        let worker = {
            let (slot, tasks, results) =
                (Arc::clone(&slot), Arc::clone(&tasks), Arc::clone(&results));
            thread::spawn(move || {
                assert!(slot.start(FIRST, 100));
                if !slot.finish(FIRST) {
                    return false;
                }
                let mut writer = Writer::default();
                assert!(writer.write(&results.ring, 1, &[]).unwrap());
                let mut reader = Reader::default();
                if take(&tasks.ring, &mut reader).is_none() {
                    return false;
                }
                assert!(slot.start(SECOND, 200), "it was handed over");
                assert!(slot.finish(SECOND), "no stop was meant for it");
                true
            })
        };
        // The clock of the first task's run timeout.
        let alarm = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.stop(FIRST))
        };
        let has_result = take(&results.ring, &mut Reader::default()).is_some();
        if has_result {
            slot.hand_over(SECOND);
            let mut writer = Writer::default();
            assert!(writer.write(&tasks.ring, 1, &[]).unwrap());
        }
        let is_stopped = alarm.join().unwrap();
        let has_run_both = worker.join().unwrap();
        assert!(!(is_stopped && has_result), "no result of what was stopped");
        assert!(!(is_stopped && has_run_both), "and nothing begins after it");
    });
}

/// A slot is used again at once where its task was taken back, although the worker has yet to come by
/// the first frame: that one is passed over, and the second task runs once.
///
/// Notices steps that do not compare the number, and a step that is a load and a store.
#[test]
fn loom_a_slot_is_used_again_before_its_frame_is_passed() {
    const FIRST: u64 = 3;
    const SECOND: u64 = FIRST + 128;
    bounded(SWITCHES, || {
        let slot = Arc::new(Slot::new());
        let lane = Lane::new();
        let mut writer = Writer::default();
        slot.hand_over(FIRST);
        assert!(writer.write(&lane.ring, 1, &[]).unwrap());
        let worker = {
            let (slot, lane) = (Arc::clone(&slot), Arc::clone(&lane));
            thread::spawn(move || {
                let mut reader = Reader::default();
                let mut begun = Vec::new();
                for number in [FIRST, SECOND] {
                    if take(&lane.ring, &mut reader).is_none() {
                        break;
                    }
                    if slot.start(number, 100) {
                        begun.push(number);
                        assert!(slot.finish(number), "nobody stops it");
                    }
                }
                (begun, reader)
            })
        };
        let is_taken = slot.take_back(FIRST);
        if is_taken {
            slot.hand_over(SECOND);
            assert!(writer.write(&lane.ring, 1, &[]).unwrap());
        }
        let (mut begun, mut reader) = worker.join().unwrap();
        // What it has not come by.
        while take(&lane.ring, &mut reader).is_some() {
            if slot.start(SECOND, 200) {
                begun.push(SECOND);
            }
        }
        let expected = if is_taken { SECOND } else { FIRST };
        assert_eq!(begun, [expected]);
    });
}

/// Of the items that are said to have begun, all but the last have published their results, whenever
/// one looks; so when a worker dies, at most one item has begun and has no result.
///
/// Notices `items_begun` stored or loaded relaxed, and an item that is said to have begun before the
/// result of the one before it is published.
#[test]
fn loom_results_come_before_the_next_item_begins() {
    bounded(SWITCHES, || {
        let slot = Arc::new(Slot::new());
        let results = Lane::new();
        slot.hand_over(7);
        let worker = {
            let (slot, results) = (Arc::clone(&slot), Arc::clone(&results));
            thread::spawn(move || {
                let mut writer = Writer::default();
                assert!(slot.start(7, 100));
                for begun in 1..=3 {
                    if !slot.start_item(7, begun, 100 * begun) {
                        return;
                    }
                    assert!(writer.write(&results.ring, 1, &[]).unwrap());
                }
            })
        };
        let mut reader = Reader::default();
        let begun = slot.items_begun();
        let told = drain(&results.ring, &mut reader);
        assert!(begun <= told + 1, "{begun} have begun, and {told} are told");
        worker.join().unwrap();
        let told = told + drain(&results.ring, &mut reader);
        assert_eq!((slot.items_begun(), told), (3, 3));
    });
}

/// A chunk that is stopped is never finished too, and at most the one item that had begun, or was about
/// to, has no result.
///
/// Notices a worker that publishes an item's result after the next one has begun, and a stop that is a
/// load and a store.
#[test]
fn loom_stop_against_the_items_of_a_chunk() {
    bounded(SWITCHES, || {
        let slot = Arc::new(Slot::new());
        let results = Lane::new();
        slot.hand_over(7);
        assert!(slot.start(7, 100));
        let worker = {
            let (slot, results) = (Arc::clone(&slot), Arc::clone(&results));
            thread::spawn(move || {
                let mut writer = Writer::default();
                for begun in 1..=2 {
                    if !slot.start_item(7, begun, 100 * begun) {
                        return false;
                    }
                    assert!(writer.write(&results.ring, 1, &[]).unwrap());
                }
                slot.finish(7)
            })
        };
        let is_stopped = slot.stop(7);
        let begun_before = slot.items_begun();
        let is_finished = worker.join().unwrap();
        assert_ne!(is_stopped, is_finished);
        let (begun, told) = (
            slot.items_begun(),
            drain(&results.ring, &mut Reader::default()),
        );
        assert!(begun >= begun_before && begun <= told + 1);
        assert!(is_stopped || told == 2);
    });
}
