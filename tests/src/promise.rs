//! The promise: a result that comes from outside, as a value or as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

use concurrent_futures::{AbortOutcome, Promise, Ran, TaskError, wait};

use crate::harness::tests;

fn decode(bytes: &[u8]) -> Result<(u32, ThreadId), TaskError> {
    let number = bytes
        .try_into()
        .map_err(|error| TaskError::codec("u32", error))?;
    Ok((u32::from_le_bytes(number), std::thread::current().id()))
}

tests! {
    fn a_promise_is_fulfilled_from_outside() {
        let (promise, future) = Promise::new();
        let id = promise.id();
        assert_eq!(id, future.id());
        let outside = std::thread::spawn(move || promise.fulfil("value"));
        assert_eq!(future.result().unwrap(), "value");
        outside.join().unwrap().unwrap();
    }

    fn bytes_are_decoded_by_who_takes_the_result() {
        let (promise, future) = Promise::new();
        std::thread::spawn(move || promise.fulfil_encoded(vec![1, 1, 0, 0], decode).unwrap())
            .join()
            .unwrap();
        let taker = std::thread::spawn(move || (future.result(), std::thread::current().id()));
        let (result, taker) = taker.join().unwrap();
        assert_eq!(result.unwrap(), (257, taker));
    }

    fn bytes_that_nobody_takes_are_never_decoded() {
        static DECODED: AtomicUsize = AtomicUsize::new(0);
        fn count(_: &[u8]) -> Result<(), TaskError> {
            DECODED.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        let (promise, future) = Promise::new();
        promise.fulfil_encoded(vec![0; 64], count).unwrap();
        assert!(future.is_done());
        drop(future);
        assert_eq!(DECODED.load(Ordering::SeqCst), 0);
    }

    fn bytes_that_do_not_decode_are_an_error_of_their_own_future() {
        let (promise, mut future) = Promise::new();
        promise.fulfil_encoded(vec![1], decode).unwrap();
        assert!(future.error().unwrap().is_codec(), "decoded where it is looked at");
        assert!(future.result().unwrap_err().is_codec());

        fn hostile(_: &[u8]) -> Result<u8, TaskError> {
            panic!("hostile bytes")
        }
        let (promise, future) = Promise::new();
        promise.fulfil_encoded(vec![1], hostile).unwrap();
        let error = future.result().unwrap_err();
        assert!(error.is_codec());
        assert!(error.to_string().contains("`u8`"), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("hostile bytes"), "{cause}");
    }

    fn bytes_count_as_done_for_the_first_error() {
        let (first, undecodable) = Promise::new();
        let (_second, pending) = Promise::new();
        first.fulfil_encoded(vec![1], decode).unwrap();
        let waited = wait([undecodable, pending])
            .first_completed()
            .blocking_wait()
            .unwrap();
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
    }

    fn a_promise_dropped_unfulfilled_resolves_its_future() {
        let (promise, future) = Promise::<u8>::new();
        drop(promise);
        let error = future.result().unwrap_err();
        assert!(error.is_abandoned());
        assert_eq!(error.ran(), Ran::No);

        let (promise, future) = Promise::<u8>::named("remote call");
        assert!(promise.start());
        drop(promise);
        let error = future.result().unwrap_err();
        assert_eq!(error.ran(), Ran::Maybe);
        assert!(error.to_string().contains("`remote call`"), "{error}");
    }

    fn a_cancelled_promise_gives_the_value_back() {
        let (promise, future) = Promise::new();
        assert!(future.cancel());
        assert!(promise.is_cancelled());
        assert!(!promise.start());
        assert_eq!(promise.fulfil(7), Err(7));
    }

    fn a_started_promise_can_only_be_asked_to_stop() {
        let (promise, future) = Promise::new();
        assert!(promise.start());
        assert!(!future.cancel());
        let token = promise.token();
        assert!(!promise.is_stop_requested() && !token.is_cancelled());
        assert_eq!(future.abort(), AbortOutcome::Requested);
        assert!(promise.is_stop_requested() && token.is_cancelled());
        promise.fulfil(7).unwrap();
        assert_eq!(future.result().unwrap(), 7);
    }

    fn a_value_that_comes_too_late_for_its_future_is_dropped() {
        let value = Arc::new(());
        let weak = Arc::downgrade(&value);
        let (promise, future) = Promise::new();
        drop(future);
        promise.fulfil(value).unwrap();
        assert!(weak.upgrade().is_none());
    }

    fn a_shared_result_is_decoded_by_who_takes_it() {
        let (promise, future) = Promise::new();
        let shared = future.shared();
        let waiting = shared.clone();
        let taker = std::thread::spawn(move || (waiting.result(), std::thread::current().id()));
        promise.fulfil_encoded(vec![1, 1, 0, 0], decode).unwrap();
        let (result, taker) = taker.join().unwrap();
        assert_eq!(result.unwrap(), (257, taker));
        assert_eq!(shared.result().unwrap(), (257, taker), "once for all");
    }
}
