//! What goes wrong with large arguments and results costs their task alone, and what runs again finds the same
//! argument.

use std::time::Duration;

use concurrent_futures::{
    Blob, Direction, Executor, ProcessPoolExecutor, Ran, TaskError, TaskOptions,
};
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeTuple as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};

use super::{FRAME, MEBIBYTE, OUTSIDE, pattern, warm_pool};
use crate::harness::{Door, PathGate, pass, tests};

/// How a value fails after a long run of its bytes has gone out, or come in.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum How {
    Fails,
    Panics,
    NotThere,
}

/// Fails when it is written.
#[derive(Deserialize)]
struct Unwritable(
    How,
    #[expect(dead_code, reason = "it is never read")] ByteBuf,
);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(Bytes::new(&[7; MEBIBYTE]))?;
        tuple.serialize_element(&vec![7_u8; FRAME])?;
        match self.0 {
            How::Panics => panic!("in the middle"),
            _ => Err(S::Error::custom("in the middle")),
        }
    }
}

/// Fails when it is read.
struct Unreadable(How);

impl Serialize for Unreadable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (ByteBuf::from(pattern(1, MEBIBYTE)), self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, how) = <(ByteBuf, How)>::deserialize(deserializer)?;
        assert!(bytes[..] == pattern(1, MEBIBYTE));
        match how {
            How::Fails => Err(D::Error::custom("nobody wants it")),
            How::Panics => panic!("nobody wants it"),
            How::NotThere => Ok(Self(how)),
        }
    }
}

fn quiet_pool() -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder()
        .max_workers(1)
        .env("RUST_BACKTRACE", "0");
    builder.build().unwrap()
}

fn length(blob: Blob) -> usize {
    blob.len()
}

/// Something else crosses both ways.
fn works(pool: &ProcessPoolExecutor) {
    for length in [10, OUTSIDE, MEBIBYTE] {
        let bytes = pattern(2, length);
        let back = pool.submit(|blob: Blob| blob, Blob::from(bytes.clone()));
        assert!(back.result().unwrap()[..] == bytes[..]);
    }
}

fn codec_error<T>(result: Result<T, TaskError>, direction: Direction) -> TaskError {
    let error = result.err().expect("an error");
    assert!(error.is_codec(), "{error:?}");
    assert_eq!(error.direction(), Some(direction), "{error:?}");
    error
}

tests! {
    fn arguments_that_cannot_be_encoded_after_all_leave_nothing() {
        let pool = quiet_pool();
        for round in 0..100 {
            let how = if round % 20 == 0 { How::Panics } else { How::Fails };
            let argument = Unwritable(how, ByteBuf::new());
            let result = pool.submit(|_: Unwritable| (), argument).result();
            codec_error(result, Direction::EncodeArguments);
        }
        works(&pool);
    }

    fn results_that_cannot_be_encoded_after_all_leave_nothing() {
        let pool = quiet_pool();
        for round in 0..100 {
            let how = if round % 20 == 0 { How::Panics } else { How::Fails };
            let result = pool.submit(|how: How| Unwritable(how, ByteBuf::new()), how).result();
            codec_error(result, Direction::EncodeResult);
        }
        works(&pool);
        assert_eq!(pool.worker_stats()[0].restarts(), 0);
    }

    fn what_cannot_be_decoded_costs_its_task_alone() {
        let pool = quiet_pool();
        for how in [How::Fails, How::Panics] {
            let result = pool.submit(|_: Unreadable| (), Unreadable(how)).result();
            let error = codec_error(result, Direction::DecodeArguments);
            assert_eq!(error.ran(), Ran::No);
            works(&pool);
            let result = pool.submit(Unreadable, how).result();
            codec_error(result, Direction::DecodeResult);
            works(&pool);
        }
        assert!(pool.submit(Unreadable, How::NotThere).result().is_ok());
        assert_eq!(pool.worker_stats()[0].restarts(), 0);
    }

    fn what_is_too_large_is_an_error_and_leaves_nothing() {
        let limit = 1_000_000;
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_payload(limit).build().unwrap();
        let give = |length: usize| ByteBuf::from(pattern(1, length));
        let give_text = |length: usize| "x".repeat(length);
        let message = |what: &str, size: usize| {
            format!(
                "the task has {what} of {size} bytes, and at most 1000000 are carried: raise max_payload, or \
                 pass a reference such as a path"
            )
        };
        for _ in 0..30 {
            // A tag and two numbers say where the bytes lie; text has a tag and its length.
            let error = pool.submit(length, Blob::from(vec![1; 1_000_001])).result().unwrap_err();
            assert_eq!(error.ran(), Ran::No);
            let text = error.to_string();
            assert!(text.ends_with(&message("an argument", 1_000_018)["the task ".len()..]), "{text}");
            let error = pool.submit(give, 3_000_000).result().unwrap_err();
            assert_eq!(error.ran(), Ran::Yes);
            let text = error.to_string();
            assert!(text.ends_with(&message("a result", 3_000_017)["the task ".len()..]), "{text}");
            assert!(pool.submit(give_text, 1_000_000).result().unwrap_err().is_too_large());
            assert_eq!(pool.submit(length, Blob::from(vec![1; 999_900])).result().unwrap(), 999_900);
            assert_eq!(pool.submit(give, 999_900).result().unwrap().len(), 999_900);
            assert_eq!(pool.submit(give_text, 999_900).result().unwrap().len(), 999_900);
        }
        works(&ProcessPoolExecutor::new(1));
        assert_eq!(pool.worker_stats()[0].restarts(), 0);
    }

    fn the_sum_of_many_runs_is_what_counts_for_the_limit() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_payload(1_000_000).build().unwrap();
        let count = |runs: Vec<ByteBuf>| runs.len();
        let runs = |count| vec![ByteBuf::from(pattern(1, 50_000)); count];
        assert!(pool.submit(count, runs(20)).result().unwrap_err().is_too_large());
        assert_eq!(pool.submit(count, runs(19)).result().unwrap(), 19);
        let give = |count: usize| vec![ByteBuf::from(vec![1; 50_000]); count];
        assert!(pool.submit(give, 20).result().unwrap_err().is_too_large());
        assert_eq!(pool.submit(give, 19).result().unwrap().len(), 19);
    }

    fn large_arguments_of_cancelled_tasks_are_given_back() {
        let pool = warm_pool(1);
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        for _ in 0..20 {
            // More than a pool has memory of its own for.
            let tasks: Vec<_> = (0..100).map(|_| pool.submit(length, Blob::from(vec![1; FRAME]))).collect();
            for task in tasks.iter().rev() {
                assert!(task.cancel());
            }
        }
        gate.open();
        running.result().unwrap();
        works(&pool);
    }

    fn a_task_with_large_arguments_can_be_aborted() {
        let pool = warm_pool(1);
        for seed in 0..5 {
            let gate = PathGate::new();
            let hold = |door: Door, blob: Blob| {
                door.pass();
                blob
            };
            let running = pool.submit(hold, (gate.door(), Blob::from(pattern(seed, MEBIBYTE))));
            let behind = pool.submit(|blob: Blob| blob, Blob::from(pattern(seed + 1, MEBIBYTE)));
            gate.wait_for(1);
            running.abort();
            assert!(running.result().unwrap_err().is_aborted());
            assert!(behind.result().unwrap()[..] == pattern(seed + 1, MEBIBYTE));
        }
        works(&pool);
    }

    fn a_task_whose_worker_dies_finds_the_same_argument_again() {
        let pool = ProcessPoolExecutor::new(1);
        let check = |door: Door, deaths: usize, bytes: ByteBuf, blob: Blob| {
            let is_right = bytes[..] == pattern(1, bytes.len()) && blob[..] == pattern(2, blob.len());
            door.arrive();
            if door.arrivals().len() <= deaths {
                std::process::abort();
            }
            is_right
        };
        for length in [OUTSIDE, FRAME, 5 * MEBIBYTE] {
            let gate = PathGate::new();
            let again = pool.with(TaskOptions::new().retries(3));
            let (bytes, blob) = (ByteBuf::from(pattern(1, length)), Blob::from(pattern(2, length + 1)));
            let future = again.submit(check, (gate.door(), 3, bytes, blob));
            // They would like the memory of the one that is run again.
            let others: Vec<_> = (3..20)
                .map(|seed| (seed, again.submit(|blob: Blob| blob, Blob::from(pattern(seed, 2 * length)))))
                .collect();
            assert!(future.result().unwrap());
            assert_eq!(gate.arrived(), 4);
            for (seed, other) in others {
                assert!(other.result().unwrap()[..] == pattern(seed, 2 * length));
            }
        }
    }

    fn a_large_argument_that_runs_out_of_time_leaves_nothing() {
        let pool = warm_pool(1);
        let gate = PathGate::new();
        let hold = |door: Door, _blob: Blob| door.pass();
        let short = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(100)));
        for _ in 0..3 {
            let future = short.submit(hold, (gate.door(), Blob::from(pattern(1, MEBIBYTE))));
            assert!(future.result().unwrap_err().is_timed_out());
            works(&pool);
        }
    }
}
