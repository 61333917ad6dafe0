//! A function that runs once in each worker.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use concurrent_futures::{
    AbortOutcome, Blob, Executor, ProcessPoolExecutor, Ran, Rejection, Shutdown, TaskFuture,
    try_join_all,
};
use serde::{Deserialize, Serialize, Serializer};

use super::{gates, pids, warm_pool};
use crate::harness::{Door, PathGate, children, eventually, pass, tests};

/// What workers are told here.
static LEVEL: AtomicU32 = AtomicU32::new(0);

fn set(level: u32) {
    LEVEL.store(level, Ordering::SeqCst);
}

fn level() -> u32 {
    LEVEL.load(Ordering::SeqCst)
}

fn results<T>(futures: Vec<TaskFuture<T>>) -> Vec<T> {
    let results = futures.into_iter().map(TaskFuture::result);
    results.collect::<Result<_, _>>().unwrap()
}

/// Ends a process as somebody outside of the pool would.
fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

tests! {
    fn it_runs_once_in_each_worker_and_the_futures_are_in_the_order_of_their_numbers() {
        let pool = warm_pool(3);
        for _ in 0..20 {
            assert_eq!(results(pool.broadcast(std::process::id, ())), pids(&pool));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let joined = runtime.block_on(try_join_all(pool.broadcast(std::process::id, ())));
        assert_eq!(joined.unwrap(), pids(&pool));
        assert_eq!((pool.stats().submitted(), pool.stats().finished()), (63, 63));
    }

    fn without_workers_it_gives_nothing_and_later_workers_do_not_run_it() {
        let pool = ProcessPoolExecutor::new(1);
        assert!(pool.broadcast(set, 5).is_empty());
        assert_eq!(pool.submit(level, ()).result().unwrap(), 0);
        results(pool.broadcast(set, 5));
        assert_eq!(pool.submit(level, ()).result().unwrap(), 5);
        pool.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
        assert_eq!(pool.submit(level, ()).result().unwrap(), 0, "another process");
    }

    fn it_runs_behind_what_runs_and_before_what_is_submitted_afterwards() {
        let pool = ProcessPoolExecutor::new(2);
        for round in 1..20 {
            let gate = PathGate::new();
            let running = [(); 2].map(|()| pool.submit(pass, gate.door()));
            gate.wait_for(2);
            let told = pool.broadcast(set, round);
            let seen: Vec<_> = (0..20).map(|_| pool.submit(level, ())).collect();
            assert!(told.iter().all(|future| !future.is_done()));
            gate.open();
            assert_eq!(results(seen), [round; 20]);
            assert_eq!(results(told).len(), 2);
            results(running.into());
        }
    }

    fn in_a_worker_that_is_starting_it_runs_after_the_initializer_and_before_its_first_task() {
        let gate = PathGate::new();
        let initialize = |door: Door| {
            door.pass();
            set(1);
        };
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(initialize, gate.door())
            .build()
            .unwrap();
        let warm = pool.warm_up();
        gate.wait_for(2);
        let told = pool.broadcast(|| LEVEL.fetch_add(1, Ordering::SeqCst), ());
        assert_eq!(told.len(), 2);
        // It does not keep a worker from being the one for a task.
        let seen = [(); 2].map(|()| pool.submit(level, ()));
        gate.open();
        assert_eq!(results(told), [1, 1]);
        assert_eq!(results(seen.into()), [2, 2]);
        warm.result().unwrap();
        assert_eq!(gate.arrived(), 2);
    }

    fn what_is_for_a_worker_that_dies_is_lost_and_says_that_it_did_not_begin() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(1);
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let told = pool.broadcast(set, 5);
        let queued = pool.submit(level, ());
        kill(gate.arrivals()[0]);
        let error = told.into_iter().next().unwrap().result().unwrap_err();
        assert!(error.is_worker_lost());
        assert_eq!((error.ran(), error.attempts()), (Ran::No, 0));
        assert_eq!(running.result().unwrap_err().ran(), Ran::Maybe);
        assert_eq!(queued.result().unwrap(), 0, "it ran in another worker");
    }

    fn what_has_begun_in_a_worker_that_dies_is_lost_as_any_task() {
        let pool = warm_pool(2);
        let gate = PathGate::new();
        let die = |door: Door| -> u8 {
            door.pass();
            std::process::exit(9)
        };
        let futures = pool.broadcast(die, gate.door());
        gate.wait_for(2);
        gate.open();
        for future in futures {
            let error = future.result().unwrap_err();
            assert_eq!((error.is_worker_lost(), error.ran()), (true, Ran::Maybe));
        }
        assert_eq!(gate.arrived(), 2, "not again");
    }

    fn it_never_runs_in_another_worker_than_its_own() {
        let pool = ProcessPoolExecutor::new(2);
        let [first, second] = gates();
        let aborted = pool.submit(pass, first.door());
        first.wait_for(1);
        let running = pool.submit(pass, second.door());
        second.wait_for(1);
        let told = pool.broadcast(std::process::id, ());
        aborted.abort();
        let [lost, kept] = <[_; 2]>::try_from(told).unwrap();
        let error = lost.result().unwrap_err();
        assert_eq!((error.is_worker_lost(), error.ran()), (true, Ran::No));
        assert!(!kept.is_done());
        second.open();
        assert_eq!(kept.result().unwrap(), second.arrivals()[0]);
        running.result().unwrap();
    }

    fn it_stays_where_it_is_when_others_become_idle() {
        // Short ones, so that some may lie ready behind others.
        let pool = warm_pool(2);
        results((0..100).map(|_| pool.submit(|| (), ())).collect());
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let told = pool.broadcast(std::process::id, ());
        // The idle one takes what can be taken.
        results((0..100).map(|_| pool.submit(|| (), ())).collect());
        gate.open();
        assert_eq!(results(told), pids(&pool));
        running.result().unwrap();
    }

    fn it_can_be_cancelled_before_it_begins_and_aborted_afterwards() {
        let [gate, inside] = gates();
        let pool = ProcessPoolExecutor::new(1);
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let [cancelled, aborted] = [1, 2].map(|level| pool.broadcast(set, level).remove(0));
        assert!(cancelled.cancel());
        assert_eq!(aborted.abort(), AbortOutcome::Cancelled);
        gate.open();
        running.result().unwrap();
        assert_eq!(pool.submit(level, ()).result().unwrap(), 0);
        let aborted = pool.broadcast(pass, inside.door()).remove(0);
        inside.wait_for(1);
        assert!(!aborted.cancel());
        assert_eq!(aborted.abort(), AbortOutcome::Stopped);
        assert!(aborted.result().unwrap_err().is_aborted());
        assert!(cancelled.result().unwrap_err().is_cancelled());
    }

    fn it_needs_no_place() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder().max_workers(1).queue_limit(0).build().unwrap();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        assert_eq!(pool.submit(|| (), ()).result().unwrap_err().rejection(), Some(Rejection::QueueFull));
        let told = pool.broadcast(set, 1);
        gate.open();
        results(told);
        running.result().unwrap();
        pool.submit(|| (), ()).result().unwrap();
    }

    fn the_argument_is_encoded_once_and_may_be_large() {
        static ENCODED: AtomicU32 = AtomicU32::new(0);
        #[derive(Deserialize)]
        struct Counted(Vec<u8>);
        impl Serialize for Counted {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                ENCODED.fetch_add(1, Ordering::SeqCst);
                self.0.serialize(serializer)
            }
        }
        let pool = warm_pool(3);
        for size in [0, 1 << 10, 1 << 20] {
            let sum = |bytes: Counted| bytes.0.iter().map(|byte| usize::from(*byte)).sum::<usize>();
            let sums = results(pool.broadcast(sum, Counted(vec![3; size])));
            assert_eq!(sums, [3 * size; 3]);
        }
        assert_eq!(ENCODED.load(Ordering::SeqCst), 3);
    }

    fn an_argument_that_cannot_be_encoded_is_one_error() {
        #[derive(Deserialize)]
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not to be written"))
            }
        }
        let pool = ProcessPoolExecutor::new(1);
        let futures = pool.broadcast(|_: Unwritable| (), Unwritable);
        let errors: Vec<_> = futures.into_iter().map(|future| future.result().unwrap_err()).collect();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].is_codec());
    }

    fn more_than_a_worker_has_room_for_run_in_their_order_when_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let note = |list: PathBuf, number: u32| {
            use std::io::Write as _;
            let list = std::fs::OpenOptions::new().append(true).create(true).open(list);
            list.unwrap().write_all(&number.to_le_bytes()).unwrap();
        };
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(1);
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let mut told: Vec<_> = (0..400_u32)
            .flat_map(|number| pool.broadcast(note, (list.clone(), number)))
            .collect();
        assert_eq!(told.len(), 400);
        // Some that lie at the worker, and some that wait for room there.
        let cancelled = [3, 150, 151, 350];
        for index in cancelled {
            assert!(told[index].cancel(), "{index}");
        }
        assert_eq!(told[300].abort(), AbortOutcome::Cancelled);
        gate.open();
        running.result().unwrap();
        let last = told.pop().unwrap();
        last.result().unwrap();
        let written = std::fs::read(list).unwrap();
        let written: Vec<u32> = written.chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let expected: Vec<u32> = (0..400).filter(|number| !cancelled.contains(&(*number as usize)) && *number != 300).collect();
        assert_eq!(written, expected);
    }

    fn what_waits_for_room_in_a_worker_is_lost_with_it() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(1);
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let told: Vec<_> = (0..300).flat_map(|_| pool.broadcast(|| (), ())).collect();
        running.abort();
        assert!(running.result().unwrap_err().is_aborted());
        for future in told {
            let error = future.result().unwrap_err();
            assert_eq!((error.is_worker_lost(), error.ran()), (true, Ran::No));
        }
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }

    fn a_shutdown_runs_it_or_cancels_it_and_afterwards_it_is_refused() {
        for is_cancelled in [false, true] {
            let gate = PathGate::new();
            let pool = ProcessPoolExecutor::new(2);
            let running = [(); 2].map(|()| pool.submit(pass, gate.door()));
            gate.wait_for(2);
            let told: Vec<_> = (0..200).flat_map(|_| pool.broadcast(|| (), ())).collect();
            let ending = pool.shutdown(Shutdown::new().cancel_pending(is_cancelled));
            let refused = pool.broadcast(|| (), ());
            assert_eq!(refused.len(), 1);
            for future in refused {
                assert_eq!(future.result().unwrap_err().rejection(), Some(Rejection::ShutDown));
            }
            gate.open();
            for future in told {
                match future.result() {
                    Ok(()) => assert!(!is_cancelled),
                    Err(error) => assert!(is_cancelled && error.is_cancelled(), "{error:?}"),
                }
            }
            ending.result().unwrap();
            results(running.into());
            assert!(children().is_empty());
        }
    }

    fn a_worker_that_is_to_go_does_it_first() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(2);
        let running = [(); 2].map(|()| pool.submit(pass, gate.door()));
        gate.wait_for(2);
        let told = pool.broadcast(std::process::id, ());
        pool.resize(1).unwrap();
        gate.open();
        let mut told = results(told);
        told.sort_unstable();
        let mut arrivals = gate.arrivals();
        arrivals.sort_unstable();
        assert_eq!(told, arrivals);
        results(running.into());
        eventually("one has gone", || pool.worker_stats().len() == 1);
    }

    fn a_worker_that_is_to_go_for_its_memory_does_it_first() {
        let leak = |door: Door| {
            vec![1_u8; 200 << 20].leak();
            door.pass();
            std::process::id()
        };
        let gate = PathGate::new();
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let pool = builder.max_memory_per_worker(64 << 20).build().unwrap();
        let leaks = pool.submit(leak, gate.door());
        gate.wait_for(1);
        let small = pool.broadcast(std::process::id, ());
        let large = pool.broadcast(|bytes: Blob| (std::process::id(), bytes.len()), vec![7; 1 << 20].into());
        let later = pool.submit(std::process::id, ());
        gate.open();
        let pid = leaks.result().unwrap();
        assert_eq!((results(small), results(large)), (vec![pid], vec![(pid, 1 << 20)]));
        assert_ne!(later.result().unwrap(), pid);
    }
}
