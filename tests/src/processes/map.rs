//! Maps on worker processes: what one item costs, where it ends, and how large it may be.

use std::collections::BTreeMap;
use std::time::Duration;

use concurrent_futures::{
    Clock, Direction, Executor, ProcessPoolExecutor, Ran, TaskError, TaskOptions, WorkerExit,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pid_of;
use crate::harness::{Door, PathGate, children, tests};

/// What happens to an item, for a function that captures nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Fate {
    Fine,
    Abort,
    Exit,
    Panic,
}

fn meet(n: usize, fate: Fate) -> usize {
    match fate {
        Fate::Fine => n,
        Fate::Abort => std::process::abort(),
        Fate::Exit => std::process::exit(4),
        Fate::Panic => panic!("item {n} panicked here"),
    }
}

fn run(pool: &ProcessPoolExecutor, chunk: usize, fates: &[Fate]) -> Vec<Result<usize, TaskError>> {
    let mapping = pool.mapping().chunk_size(chunk).window(fates.len());
    let items: Vec<_> = fates.iter().copied().enumerate().collect();
    mapping.map(meet, items).into_iter().collect()
}

/// Each item met its fate, and none another's.
fn assert_each_its_own(results: &[Result<usize, TaskError>], fates: &[Fate]) {
    assert_eq!(results.len(), fates.len());
    for (n, (result, fate)) in results.iter().zip(fates).enumerate() {
        let Err(error) = result else {
            assert_eq!((result.as_ref().ok(), *fate), (Some(&n), Fate::Fine));
            continue;
        };
        assert_eq!(error.index(), Some(n), "{error:?}");
        match fate {
            Fate::Fine => panic!("item {n} is lost: {error}"),
            Fate::Abort => assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(6))),
            Fate::Exit => assert_eq!(error.worker_exit(), Some(WorkerExit::Code(4))),
            Fate::Panic => assert_eq!(error.message().unwrap(), format!("item {n} panicked here")),
        }
    }
}

/// Refuses to be encoded, if it is 3.
#[derive(Debug, Deserialize)]
struct NotThree(u32);

impl Serialize for NotThree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 3 {
            return Err(serde::ser::Error::custom("three is not to be written"));
        }
        self.0.serialize(serializer)
    }
}

/// Ends the process that decodes it, if it is 3.
#[derive(Debug, Serialize)]
struct Deadly(u32);

impl<'de> Deserialize<'de> for Deadly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            3 => std::process::abort(),
            n => Ok(Self(n)),
        }
    }
}

tests! {
    fn a_chunk_may_be_smaller_or_larger_than_the_input() {
        let pool = ProcessPoolExecutor::new(2);
        for chunk in [3, 6, 40, 50] {
            let fates = [Fate::Fine; 40];
            let before = pool.stats().submitted();
            let results: Vec<_> = pool
                .mapping()
                .window(1_000)
                .chunk_size(chunk)
                .map(meet, fates.into_iter().enumerate())
                .into_iter()
                .collect();
            assert_each_its_own(&results, &fates);
            let chunks = pool.stats().submitted() - before;
            assert_eq!(chunks, 40_u64.div_ceil(chunk as u64), "chunks of {chunk}");
        }
    }

    fn a_crash_costs_exactly_its_item_wherever_it_is_in_the_chunk() {
        let pool = ProcessPoolExecutor::new(2);
        for fate in [Fate::Abort, Fate::Exit] {
            for at in [0, 1, 4, 9] {
                let mut fates = [Fate::Fine; 10];
                fates[at] = fate;
                assert_each_its_own(&run(&pool, 10, &fates), &fates);
            }
        }
    }

    fn several_crashes_in_a_chunk_cost_one_item_each() {
        let pool = ProcessPoolExecutor::new(2);
        let mut fates = [Fate::Fine; 12];
        for at in [2, 3, 7, 11] {
            fates[at] = Fate::Abort;
        }
        for chunk in [12, 5] {
            assert_each_its_own(&run(&pool, chunk, &fates), &fates);
        }
        let all = [Fate::Abort; 4];
        assert_each_its_own(&run(&pool, 4, &all), &all);
    }

    fn items_before_and_after_a_crash_run_once() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let come = |door: Door, n: u32| {
            door.arrive();
            if n == 5 {
                std::process::abort();
            }
            n
        };
        let items: Vec<_> = (0..10).map(|n| (gate.door(), n)).collect();
        let results: Vec<_> = pool.mapping().chunk_size(10).window(10).map(come, items).into_iter().collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 9);
        let mut items_of = BTreeMap::<u32, usize>::new();
        for pid in gate.arrivals() {
            *items_of.entry(pid).or_default() += 1;
        }
        // Six in the first worker, the one that crashed among them, and the rest in its successor.
        let mut counts: Vec<_> = items_of.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [4, 6]);
    }

    fn a_panic_costs_its_item_and_not_the_worker() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        let fates = [Fate::Fine, Fate::Panic, Fate::Fine, Fate::Panic];
        assert_each_its_own(&run(&pool, 4, &fates), &fates);
        assert_eq!(pid_of(&pool), worker);
    }

    fn a_mixture_of_everything_in_many_chunks_is_exact() {
        let pool = ProcessPoolExecutor::new(3);
        let fates: Vec<_> = (0..200)
            .map(|n| match n % 23 {
                7 => Fate::Panic,
                19 => Fate::Exit,
                _ => Fate::Fine,
            })
            .collect();
        assert_each_its_own(&run(&pool, 7, &fates), &fates);
    }

    fn an_item_that_cannot_be_encoded_is_an_error_in_its_place() {
        let pool = ProcessPoolExecutor::new(1);
        for chunk in [1, 6] {
            let items: Vec<_> = (0..6).map(NotThree).collect();
            let mapping = pool.mapping().chunk_size(chunk).window(6);
            let results: Vec<_> = mapping.map(|n: NotThree| n.0, items).into_iter().collect();
            for (n, result) in (0..).zip(results) {
                match result {
                    Ok(value) => assert!(value == n && n != 3),
                    Err(error) => {
                        assert_eq!((n, error.index()), (3, Some(3)));
                        assert_eq!(error.direction(), Some(Direction::EncodeArguments));
                        assert_eq!(error.ran(), Ran::No);
                        let cause = std::error::Error::source(&error).unwrap().to_string();
                        assert!(cause.contains("three is not to be written"), "{cause}");
                    }
                }
            }
        }
    }

    fn a_result_that_cannot_be_encoded_is_an_error_in_its_place() {
        let pool = ProcessPoolExecutor::new(1);
        let mapping = pool.mapping().chunk_size(6).window(6);
        let results: Vec<_> = mapping.map(|n: u32| NotThree(n), 0..6).into_iter().collect();
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(value) => assert!(value.0 == n && n != 3),
                Err(error) => {
                    assert_eq!((n, error.index()), (3, Some(3)));
                    assert_eq!((error.direction(), error.ran()), (Some(Direction::EncodeResult), Ran::Yes));
                }
            }
        }
    }

    fn an_item_that_crashes_while_it_is_decoded_costs_itself() {
        let pool = ProcessPoolExecutor::new(1);
        let mapping = pool.mapping().chunk_size(6).window(6);
        let results: Vec<_> = mapping.map(|n: Deadly| n.0, (0..6).map(Deadly)).into_iter().collect();
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(value) => assert!(value == n && n != 3),
                Err(error) => {
                    assert_eq!((n, error.index()), (3, Some(3)));
                    assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(6)));
                }
            }
        }
    }

    fn a_run_timeout_ends_one_item_of_a_chunk_and_no_other() {
        let pool = ProcessPoolExecutor::new(1);
        let (open, closed) = (PathGate::new(), PathGate::new());
        open.open();
        let options = TaskOptions::new().run_timeout(Duration::from_millis(100));
        let items: Vec<_> = (0..5)
            .map(|n| (if n == 2 { closed.door() } else { open.door() }, n))
            .collect();
        let pass = |door: Door, n: u32| {
            door.pass();
            n
        };
        let mapping = pool.with(options).mapping().chunk_size(5).window(5);
        let results: Vec<_> = mapping.map(pass, items).into_iter().collect();
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => assert!(value as usize == n && n != 2),
                Err(error) => {
                    assert_eq!((n, error.index()), (2, Some(2)));
                    assert_eq!((error.clock(), error.ran()), (Some(Clock::Run), Ran::Maybe));
                }
            }
        }
        assert_eq!((closed.arrived(), open.arrived()), (1, 4));
    }

    fn dropping_a_map_stops_a_running_chunk_before_its_next_item() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let mapping = pool.mapping().window(20).chunk_size(10);
        let results = mapping.map(|door: Door| door.pass(), (0..20).map(|_| gate.door()));
        gate.wait_for(1);
        drop(results);
        gate.open();
        pid_of(&pool);
        assert_eq!(gate.arrived(), 1);
    }

    fn max_tasks_per_worker_counts_items_and_cuts_chunks() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(4).build().unwrap();
        let mapping = pool.mapping().chunk_size(10).window(10);
        let results: Vec<u32> =
            mapping.map(|_: u32| std::process::id(), 0..10).into_iter().map(Result::unwrap).collect();
        let mut counts = BTreeMap::<u32, usize>::new();
        for pid in &results {
            *counts.entry(*pid).or_default() += 1;
        }
        let runs: Vec<usize> = results.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        assert_eq!((runs, counts.len()), (vec![4, 4, 2], 3));
        // Two are left of the last worker.
        let last = results[9];
        assert_eq!([pid_of(&pool), pid_of(&pool)], [last, last]);
        assert_ne!(pid_of(&pool), last);
    }

    fn an_argument_or_a_result_that_is_too_large_is_an_error_of_its_task() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_payload(1_000).build().unwrap();
        let argument = pool.submit(|text: String| text.len(), "x".repeat(2_000));
        assert!(argument.is_done(), "before anything is sent");
        let error = argument.result().unwrap_err();
        assert_eq!((error.is_too_large(), error.ran()), (true, Ran::No));
        assert!(error.to_string().contains("at most 1000 are carried: raise max_payload"), "{error}");
        assert!(children().is_empty());
        let result = pool.submit(|n: usize| "x".repeat(n), 2_000);
        let error = result.result().unwrap_err();
        assert_eq!((error.is_too_large(), error.ran()), (true, Ran::Yes));
        assert_eq!(pool.submit(|n: usize| "x".repeat(n), 900).result().unwrap().len(), 900);
    }

    fn an_item_that_is_too_large_is_an_error_in_its_place() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_payload(1_000).build().unwrap();
        let lengths = [10, 2_000, 20];
        let texts = lengths.map(|length| "x".repeat(length));
        let mapping = pool.mapping().chunk_size(3).window(3);
        let results: Vec<_> = mapping.map(|text: String| text.len(), texts).into_iter().collect();
        assert_too_large(&results, Ran::No);
        let mapping = pool.mapping().chunk_size(3).window(3);
        let results: Vec<_> = mapping
            .map(|length: usize| "x".repeat(length), lengths)
            .into_iter()
            .map(|result| result.map(|text| text.len()))
            .collect();
        assert_too_large(&results, Ran::Yes);
    }

    fn items_that_are_large_together_are_no_problem() {
        let pool = ProcessPoolExecutor::new(2);
        let texts = (0..40_u8).map(|n| char::from(b'a' + n % 26).to_string().repeat(300_000));
        let mapping = pool.mapping().chunk_size(20).window(40);
        let results = mapping.map(|text: String| text, texts.clone());
        for (result, text) in results.into_iter().zip(texts) {
            assert!(result.unwrap() == text);
        }
    }
}

fn assert_too_large(results: &[Result<usize, TaskError>], ran: Ran) {
    assert_eq!(results.len(), 3);
    assert_eq!(
        (results[0].as_ref().ok(), results[2].as_ref().ok()),
        (Some(&10), Some(&20))
    );
    let error = results[1].as_ref().unwrap_err();
    assert!(error.is_too_large(), "{error:?}");
    assert_eq!((error.index(), error.ran()), (Some(1), ran));
}
