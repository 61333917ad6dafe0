//! That frames arrive as they were written, and that a side which believes nothing comes to no harm
//! from one that lies.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::memory::{Memory, SLOTS};
use super::queue::{Reader, Ring, Violation, Writer};
use super::slot::{Phase, Slot};
use crate::process::sys::Segment;

const WORDS: usize = 16;
const WORD: usize = size_of::<u64>();

/// Failures are printed, and kept nowhere.
fn cases(number: u32) -> Config {
    Config {
        cases: number,
        failure_persistence: None,
        ..Config::default()
    }
}

fn words(bytes: usize) -> usize {
    1 + bytes.div_ceil(WORD)
}

#[derive(Clone, Debug)]
enum Step {
    Write(u32, Vec<u8>),
    /// In two parts, the first of as many words as there are.
    WriteInParts(u32, Vec<u8>),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    // Some are longer than the ring.
    let payload = || vec(any::<u8>(), 0..WORDS * WORD + 16);
    prop_oneof![
        2 => (any::<u32>(), payload()).prop_map(|(kind, bytes)| Step::Write(kind, bytes)),
        1 => (any::<u32>(), payload()).prop_map(|(kind, bytes)| Step::WriteInParts(kind, bytes)),
        3 => Just(Step::Read),
    ]
}

/// A cursor near to where the honest one is, or anywhere.
fn cursor() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..3 * WORDS as u64,
        any::<u64>(),
        (u64::MAX - 40)..=u64::MAX
    ]
}

/// A word that looks like the header of a frame, or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..(WORDS * WORD) as u64 + 9,
        (0..9_u64, 0..64_u64).prop_map(|(kind, length)| (kind << 32) | length),
    ]
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_ring_is_a_queue_of_frames_with_so_many_words(steps in vec(step(), 0..80)) {
        let ring = Ring::<WORDS>::new();
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let mut expected: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        for step in steps {
            let used: usize = expected.iter().map(|(_, bytes)| words(bytes.len())).sum();
            match step {
                Step::Write(kind, bytes) => {
                    let fits = used + words(bytes.len()) <= WORDS;
                    prop_assert_eq!(writer.has_room(&ring, bytes.len()), Ok(fits));
                    prop_assert_eq!(writer.write(&ring, kind, &[&bytes]), Ok(fits));
                    if fits {
                        expected.push_back((kind, bytes));
                    }
                }
                Step::WriteInParts(kind, bytes) => {
                    let fits = used + words(bytes.len()) <= WORDS;
                    let (first, second) = bytes.split_at(bytes.len() / WORD * WORD);
                    prop_assert_eq!(writer.write(&ring, kind, &[first, &[], second]), Ok(fits));
                    if fits {
                        expected.push_back((kind, bytes));
                    }
                }
                Step::Read => {
                    let mut out = b"before".to_vec();
                    let kind = reader.read(&ring, &mut out).map(|frame| frame.map(|frame| frame.kind));
                    let next = expected.pop_front();
                    prop_assert_eq!(kind, Ok(next.as_ref().map(|(kind, _)| *kind)));
                    prop_assert_eq!(&out[..6], b"before");
                    prop_assert_eq!(&out[6..], next.map_or(vec![], |(_, bytes)| bytes));
                }
            }
            prop_assert_eq!(ring.has_more_than(&reader), !expected.is_empty());
        }
    }

    #[test]
    fn a_reader_takes_no_more_from_a_liar_than_the_ring_holds(
        honest in 0..2 * WORDS as u32,
        lies in vec((cursor(), cursor(), vec(word(), WORDS)), 1..6),
    ) {
        let ring = Ring::<WORDS>::new();
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        for kind in 0..honest {
            prop_assert_eq!(writer.write(&ring, kind, &[]), Ok(true));
            prop_assert!(reader.read(&ring, &mut Vec::new()).is_ok_and(|frame| frame.is_some()));
        }
        for (tail, head, lie) in lies {
            ring.scribble(tail, head, |index| lie.get(index).copied());
            // Once for what it had seen before, and once for what it sees now.
            let mut taken = 0;
            loop {
                let mut out = b"before".to_vec();
                match reader.read(&ring, &mut out) {
                    Ok(Some(_)) => {
                        taken += words(out.len() - 6);
                        prop_assert!(taken <= 2 * WORDS, "{taken} words");
                    }
                    Ok(None) => {
                        prop_assert!(!ring.has_more_than(&reader));
                        break;
                    }
                    Err(violation) => {
                        prop_assert_eq!(out, b"before", "nothing is appended");
                        let again = reader.read(&ring, &mut Vec::new());
                        prop_assert_eq!(again, Err(violation), "it does not go on");
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn a_writer_believes_no_head_outside_of_what_it_has_written(
        lengths in vec(0..WORDS * WORD, 1..24),
        lie in cursor(),
    ) {
        let ring = Ring::<WORDS>::new();
        let mut writer = Writer::default();
        let mut written = 0;
        for length in lengths {
            let bytes = vec![7; length];
            let needed = words(length) as u64;
            ring.scribble(written, lie, |_| None);
            match writer.write(&ring, 1, &[&bytes]) {
                Ok(true) => {
                    written += needed;
                    let is_believed = lie <= written - needed && written - lie <= WORDS as u64;
                    prop_assert!(is_believed || written <= WORDS as u64);
                }
                Ok(false) => prop_assert!(lie <= written && written - lie + needed > WORDS as u64),
                Err(Violation(_)) => prop_assert!(lie > written),
            }
        }
    }

    /// The head that was seen once is not taken back: room that was given is not asked for again.
    #[test]
    fn a_head_that_goes_back_is_a_violation(forth in 1..=WORDS as u64, back in 0..WORDS as u64) {
        let ring = Ring::<WORDS>::new();
        let mut writer = Writer::default();
        let full = [1; (WORDS - 1) * WORD];
        prop_assert_eq!(writer.write(&ring, 1, &[&full]), Ok(true));
        ring.scribble(WORDS as u64, forth, |_| None);
        let has_room = writer.has_room(&ring, full.len());
        prop_assert_eq!(has_room, Ok(forth == WORDS as u64));
        ring.scribble(WORDS as u64, back, |_| None);
        // It looks only where it has no room left.
        let length = usize::try_from(forth).expect("small") * WORD;
        let again = writer.has_room(&ring, length);
        prop_assert_eq!(again.is_err(), back < forth);
    }
}

#[test]
fn a_frame_may_fill_the_ring_and_not_more() {
    let ring = Ring::<WORDS>::new();
    let mut writer = Writer::default();
    let most = (WORDS - 1) * WORD;
    assert_eq!(writer.write(&ring, 1, &[&vec![1; most + 1]]), Ok(false));
    assert_eq!(writer.write(&ring, 1, &[&vec![1; most]]), Ok(true));
    assert_eq!(writer.write(&ring, 1, &[]), Ok(false));
}

/// On cache lines and threads of their own, as many times around as there are frames.
#[test]
fn frames_cross_between_threads_whole_and_in_order() {
    const FRAMES: u32 = 20_000;
    let ring = Ring::<64>::new();
    let payload = |kind: u32| -> Vec<u8> {
        let length = usize::try_from(kind % 200).expect("small");
        (0..length)
            .map(|index| (index as u32 ^ kind).to_le_bytes()[0])
            .collect()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::default();
            for kind in 0..FRAMES {
                let bytes = payload(kind);
                while !writer
                    .write(&ring, kind, &[&bytes])
                    .expect("an honest reader")
                {
                    thread::yield_now();
                }
            }
        });
        let mut reader = Reader::default();
        let mut found = Vec::new();
        for kind in 0..FRAMES {
            found.clear();
            let frame = loop {
                match reader.read(&ring, &mut found).expect("an honest writer") {
                    Some(frame) => break frame,
                    None => thread::yield_now(),
                }
            };
            assert_eq!((frame.kind, &found), (kind, &payload(kind)));
        }
    });
}

#[test]
fn a_task_that_was_taken_back_never_begins() {
    let slot = Slot::new();
    assert_eq!(slot.phase(0), None, "nothing was handed over");
    slot.hand_over(0);
    assert_eq!(slot.phase(0), Some(Phase::Handed));
    assert!(!slot.stop(0), "it has not begun");
    assert!(slot.take_back(0));
    assert_eq!(slot.phase(0), Some(Phase::Taken));
    assert!(!slot.start(0, 1) && !slot.take_back(0) && !slot.finish(0) && !slot.stop(0));
}

#[test]
fn a_task_that_is_stopped_gives_no_result_and_begins_no_item() {
    let slot = Slot::new();
    slot.hand_over(5);
    assert!(slot.start(5, 100));
    assert!(slot.start_item(5, 1, 110));
    assert_eq!((slot.begun_at(), slot.items_begun()), (110, 1));
    assert!(!slot.take_back(5), "it has begun");
    assert!(slot.stop(5));
    assert_eq!(slot.phase(5), Some(Phase::Stopping));
    assert!(!slot.start_item(5, 2, 120));
    assert!(!slot.finish(5) && !slot.stop(5));
}

#[test]
fn a_slot_speaks_of_the_task_that_is_in_it_alone() {
    let (first, second) = (9, 9 + SLOTS as u64);
    let slot = Slot::new();
    slot.hand_over(first);
    slot.ask_to_stop(first);
    assert!(slot.start(first, 1) && slot.start_item(first, 3, 2) && slot.finish(first));
    slot.hand_over(second);
    assert_eq!(slot.items_begun(), 0);
    assert!(!slot.is_asked_to_stop(second) && slot.is_asked_to_stop(first));
    assert_eq!(slot.phase(first), None);
    assert!(!slot.take_back(first) && !slot.start(first, 3) && !slot.stop(first));
    assert!(slot.start(second, 4));
    assert!(!slot.stop(first) && !slot.finish(first));
    assert_eq!(slot.phase(second), Some(Phase::Running));
    assert!(slot.finish(second));
    assert_eq!(slot.phase(second), Some(Phase::Done));
}

#[test]
fn memory_that_nobody_has_written_is_empty_and_each_place_of_its_own() {
    let memory = Segment::<Memory>::create("ring-test").expect("a segment");
    let mut out = Vec::new();
    assert_eq!(Reader::default().read(&memory.tasks, &mut out), Ok(None));
    assert_eq!(Reader::default().read(&memory.results, &mut out), Ok(None));
    assert_eq!(memory.note.read(), None);
    assert_eq!(memory.last.0.fatal.load(Ordering::Relaxed), 0);
    let bells = [
        &memory.tasks_bell.0,
        &memory.room_bell.0,
        &memory.results_bell.0,
    ];
    assert!(bells.iter().all(|bell| !bell.ring()), "nobody sleeps");
    memory.results_bell.0.lie_down();
    let rung: Vec<bool> = bells.iter().map(|bell| bell.ring()).collect();
    assert_eq!(rung, [false, false, true]);
    assert!(!memory.results_bell.0.ring(), "it was rung already");
    for number in [0, 1, SLOTS as u64 - 1] {
        memory.slot(number).hand_over(number);
    }
    for number in [0, 1, SLOTS as u64 - 1] {
        assert_eq!(memory.slot(number).phase(number), Some(Phase::Handed));
    }
    assert_eq!(
        memory.slot(SLOTS as u64).phase(0),
        Some(Phase::Handed),
        "the first again"
    );
}

#[test]
fn a_note_is_cut_between_characters_and_wiped() {
    let memory = Segment::<Memory>::create("ring-test").expect("a segment");
    let note = &memory.note;
    note.write("a panic, and a longer text than the next");
    note.write("größer");
    assert_eq!(note.read().as_deref(), Some("größer"));
    // One byte, then characters of three, so that the edge cuts one.
    let long = format!("a{}", "…".repeat(2_000));
    note.write(&long);
    let found = note.read().expect("a note");
    assert!(long.starts_with(&found) && found.len() > 1_000 && found.len() < long.len());
    note.clear();
    assert_eq!(note.read(), None);
}
