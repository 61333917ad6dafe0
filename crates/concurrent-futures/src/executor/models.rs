//! The races over the places of an executor, checked in every interleaving.

use loom::thread;

use super::admission::{Admission, Place};
use crate::error::{Rejection, TaskError};
use crate::task::TaskFuture;

fn one_place() -> (Admission, Place) {
    let admission = Admission::new(1, Some(0), None);
    let place = admission.admit(None, 0).expect("it is free");
    (admission, place)
}

/// The place that somebody waits for who could wait no longer: it has to be there.
fn there(mut waiting: TaskFuture<Place>) -> Place {
    assert!(waiting.is_done(), "a place is free, and somebody waits");
    let result = waiting.try_result().expect("it is done");
    result.expect("the executor is open")
}

#[test]
fn loom_release_against_two_reserves() {
    loom::model(|| {
        let (admission, place) = one_place();
        let other = admission.clone();
        let first = thread::spawn(move || other.enter());
        let release = thread::spawn(move || drop(place));
        let second = admission.enter();
        release.join().unwrap();
        let first = first.join().unwrap();
        let (one, other) = if first.is_done() {
            (first, second)
        } else {
            (second, first)
        };
        let place = there(one);
        assert!(!other.is_done(), "there is one place");
        drop(place);
        drop(there(other));
        assert!(admission.try_enter().is_ok(), "no place is lost");
    });
}

#[test]
fn loom_release_against_a_wait_that_is_given_up() {
    loom::model(|| {
        let (admission, place) = one_place();
        let (first, second) = (admission.enter(), admission.enter());
        let release = thread::spawn(move || drop(place));
        drop(first);
        release.join().unwrap();
        drop(there(second));
        assert!(admission.try_enter().is_ok(), "no place is lost");
    });
}

#[test]
fn loom_release_against_close_and_reserve() {
    loom::model(|| {
        let (admission, place) = one_place();
        let (waiting, other) = (admission.enter(), admission.clone());
        let release = thread::spawn(move || drop(place));
        let late = thread::spawn(move || other.enter());
        admission.close(&TaskError::rejected(Rejection::ShutDown));
        release.join().unwrap();
        for mut future in [waiting, late.join().unwrap()] {
            assert!(future.is_done(), "nobody waits for what is closed");
            if let Some(Err(error)) = future.try_result() {
                assert_eq!(error.rejection(), Some(Rejection::ShutDown));
            }
        }
        let error = admission.try_enter().expect_err("it is closed");
        assert_eq!(error.rejection(), Some(Rejection::ShutDown));
    });
}

#[test]
fn loom_release_against_a_plain_submit() {
    loom::model(|| {
        let (admission, place) = one_place();
        let waiting = admission.enter();
        let other = admission.clone();
        let submit = thread::spawn(move || other.admit(None, 0).is_ok());
        drop(place);
        drop(there(waiting));
        // After the one who waited, or not at all.
        let _ = submit.join().unwrap();
        assert!(admission.try_enter().is_ok(), "no place is lost");
    });
}
