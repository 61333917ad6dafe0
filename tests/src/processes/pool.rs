//! How many workers there are and when, what their end costs, and what can be submitted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use concurrent_futures::{
    ErrorKind, Executor, ProcessPoolExecutor, Ran, Rejection, Shutdown, TaskFuture,
    ThreadPoolExecutor, WorkerExit,
};
use serde::{Deserialize, Serialize};

use super::{kill, pid_of};
use crate::harness::{
    Door, PathGate, Processes, busy, children, eventually, pass, tests, threads_of_ours,
};

/// Says at a gate when it is dropped, and in which process.
#[derive(Serialize, Deserialize)]
struct Witness(Door);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.arrive();
    }
}

/// The other workers of the worker's parent that live. A worker leads a process group; std has
/// children of its own for a moment, when it finds out what the system can do.
fn siblings() -> Vec<u32> {
    let parent = std::os::unix::process::parent_id().to_string();
    fs::read_dir("/proc")
        .expect("there is /proc")
        .filter_map(|process| fs::read_to_string(process.ok()?.path().join("stat")).ok())
        .filter_map(|stat| {
            let (before, after) = stat.rsplit_once(')')?;
            let pid: u32 = before.split(' ').next()?.parse().ok()?;
            let mut words = after.split_whitespace();
            let lives = words.next()? != "Z";
            let is_child = words.next()? == parent;
            let is_leader = words.next()?.parse() == Ok(pid);
            (lives && is_child && is_leader && pid != std::process::id()).then_some(pid)
        })
        .collect()
}

struct Counter(u64);

impl Counter {
    fn twice(n: u64) -> u64 {
        Self(n).0 * 2
    }
}

tests! {
    fn a_worker_that_is_killed_costs_only_what_it_ran() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let queued: Vec<_> = (0..10_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
        let pid = gate.arrivals()[0];
        kill(pid);
        let error = running.result().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WorkerLost);
        assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(9)));
        assert_eq!((error.worker_pid(), error.ran()), (Some(pid), Ran::Maybe));
        assert_eq!(
            error.to_string(),
            format!("the task `conformance::harness::pass` lost its worker: process {pid} was ended by signal 9 (SIGKILL)")
        );
        for (n, future) in (0..).zip(queued) {
            assert_eq!(future.result().unwrap(), n);
        }
        assert_ne!(pid_of(&pool), pid);
    }

    fn the_exit_code_of_a_task_that_ends_its_process_is_in_the_error() {
        let pool = ProcessPoolExecutor::new(1);
        for code in [99, 1, 0] {
            let error = pool.submit(|code: i32| -> u8 { std::process::exit(code) }, code).result().unwrap_err();
            assert_eq!(error.worker_exit(), Some(WorkerExit::Code(code)));
            assert!(error.to_string().ends_with(&format!("exited with code {code}")), "{error}");
            assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
        }
    }

    fn an_argument_is_dropped_in_the_worker_once_its_call_has_run() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        let own = std::process::id();
        let gate = PathGate::new();
        let future = pool.submit(|_: Witness| (), Witness(gate.door()));
        // The value itself is not needed any more when it is encoded.
        assert_eq!(gate.arrivals()[0], own);
        future.result().unwrap();
        assert_eq!(gate.arrivals(), [own, worker]);
    }

    fn a_result_is_dropped_in_the_worker_and_one_that_nobody_takes_is_never_made() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        let gate = PathGate::new();
        let witness = |door: Door| Witness(door);
        let future = pool.submit(witness, gate.door());
        drop(future.result().unwrap());
        assert_eq!(gate.arrivals(), [worker, std::process::id()]);
        pool.submit(witness, gate.door()).detach();
        // It came before this one.
        pool.submit(|| (), ()).result().unwrap();
        assert_eq!(gate.arrivals()[2..], [worker]);
    }

    fn fifteen_times_as_many_tasks_as_workers_start_no_more_processes_than_workers() {
        let pool = ProcessPoolExecutor::new(2);
        let gate = PathGate::new();
        let futures: Vec<_> = (0..30).map(|_| pool.submit(pass, gate.door())).collect();
        gate.wait_for(2);
        assert_eq!((pool.worker_stats().len(), children().len()), (2, 2));
        let stats = pool.stats();
        assert_eq!((stats.running(), stats.queued(), stats.workers()), (2, 28, 2));
        assert_eq!(gate.arrived(), 2);
        gate.open();
        for future in futures {
            future.result().unwrap();
        }
        let pids: BTreeSet<u32> = gate.arrivals().into_iter().collect();
        assert_eq!((gate.arrived(), pids.len()), (30, 2));
    }

    fn no_process_and_no_thread_is_there_before_the_first_task() {
        let pool = ProcessPoolExecutor::new(1_000);
        assert!(children().is_empty() && threads_of_ours().is_empty());
        assert!(pool.worker_stats().is_empty());
    }

    fn calls_one_after_another_use_one_worker() {
        let pool = ProcessPoolExecutor::new(4);
        let pids: BTreeSet<u32> = (0..6).map(|_| pid_of(&pool)).collect();
        assert_eq!((pids.len(), pool.worker_stats().len(), children().len()), (1, 1, 1));
    }

    fn overlapping_calls_use_as_many_workers_as_overlap() {
        let pool = ProcessPoolExecutor::new(8);
        let mut pids = BTreeSet::new();
        for _ in 0..3 {
            let gate = PathGate::new();
            let futures: Vec<_> = (0..3).map(|_| pool.submit(pass, gate.door())).collect();
            gate.wait_for(3);
            gate.open();
            for future in futures {
                future.result().unwrap();
            }
            pids.extend(gate.arrivals());
        }
        assert_eq!((pids.len(), pool.worker_stats().len()), (3, 3));
    }

    fn workers_without_work_end_after_the_idle_time() {
        let limit = Duration::from_millis(30);
        let pool = ProcessPoolExecutor::builder().max_workers(2).idle_timeout(limit).build().unwrap();
        let first = pid_of(&pool);
        eventually("the worker ends", || children().is_empty() && pool.worker_stats().is_empty());
        assert_ne!(pid_of(&pool), first);
    }

    fn a_worker_is_replaced_after_exactly_so_many_tasks_and_is_alone() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(3).build().unwrap();
        let mut pids = Vec::new();
        for _ in 0..9 {
            let (pid, others) = pool.submit(|| (std::process::id(), siblings()), ()).result().unwrap();
            assert!(others.is_empty(), "{others:?} live beside {pid}");
            pids.push(pid);
        }
        for three in pids.chunks(3) {
            assert!(three.iter().all(|pid| *pid == three[0]), "{pids:?}");
        }
        pids.dedup();
        assert_eq!(pids.len(), 3);
    }

    fn a_backlog_survives_every_replacement() {
        let pool = ProcessPoolExecutor::builder().max_workers(2).max_tasks_per_worker(2).build().unwrap();
        let gate = PathGate::new();
        let futures: Vec<_> = (0..40_u64)
            .map(|n| pool.submit(|door: Door, n: u64| { door.pass(); (n, std::process::id()) }, (gate.door(), n)))
            .collect();
        gate.wait_for(2);
        gate.open();
        let mut tasks = BTreeMap::<u32, usize>::new();
        for (expected, future) in (0..).zip(futures) {
            let (n, pid) = future.result().unwrap();
            assert_eq!(n, expected);
            *tasks.entry(pid).or_default() += 1;
        }
        assert!(tasks.values().all(|count| *count <= 2), "{tasks:?}");
        assert!(tasks.len() >= 20, "{tasks:?}");
    }

    fn shutdown_without_waiting_while_the_last_worker_retires_resolves_every_future() {
        for round in 0..30 {
            let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(1).build().unwrap();
            let mut futures: Vec<_> = (0..3_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
            assert_eq!(futures.remove(0).result().unwrap(), 0);
            // The worker leaves at this moment.
            if round % 2 == 0 {
                pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
            }
            drop(pool);
            for (n, future) in (1..).zip(futures) {
                assert_eq!(future.result().unwrap(), n);
            }
        }
    }

    fn the_pool_is_dropped_while_its_only_worker_retires() {
        for _ in 0..20 {
            let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(1).build().unwrap();
            assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
            drop(pool);
        }
    }

    fn a_worker_that_cannot_be_started_fails_what_is_queued_with_the_cause() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let pool = ProcessPoolExecutor::builder().max_workers(1).current_dir(&path).build().unwrap();
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let queued: Vec<_> = (0..5).map(|_| pool.submit(|| 1, ())).collect();
        drop(directory);
        kill(gate.arrivals()[0]);
        let start = Instant::now();
        assert!(running.result().unwrap_err().is_worker_lost());
        for future in queued {
            assert_refused(future, &path);
        }
        assert!(start.elapsed() < Duration::from_secs(10));
        // It is tried again for what comes later, and works once that is possible.
        assert_refused(pool.submit(|| 1, ()), &path);
        fs::create_dir(&path).unwrap();
        assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
        fs::remove_dir(&path).unwrap();
    }

    fn ending_the_workers_of_a_pool_that_was_never_used_is_harmless() {
        for end in [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers] {
            let pool = ProcessPoolExecutor::new(2);
            end(&pool);
            assert_ended(&pool);
            end(&pool);
            assert_ended(&pool);
        }
    }

    fn ending_the_workers_of_an_idle_pool_shuts_it_down() {
        for end in [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers] {
            let pool = ProcessPoolExecutor::new(2);
            pid_of(&pool);
            end(&pool);
            assert_ended(&pool);
        }
    }

    fn ending_the_workers_of_a_pool_that_is_shut_down_is_harmless() {
        for end in [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers] {
            let pool = ProcessPoolExecutor::new(2);
            pid_of(&pool);
            pool.blocking_shutdown(Shutdown::new()).unwrap();
            end(&pool);
            assert_ended(&pool);
        }
    }

    fn ending_the_workers_stops_what_runs_and_cancels_what_is_queued() {
        for end in [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers] {
            for is_shut_down in [false, true] {
                let pool = ProcessPoolExecutor::new(2);
                let gate = PathGate::new();
                let running: Vec<_> = (0..2).map(|_| pool.submit(pass, gate.door())).collect();
                gate.wait_for(2);
                let queued: Vec<_> = (0..5).map(|_| pool.submit(pass, gate.door())).collect();
                if is_shut_down {
                    pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
                }
                end(&pool);
                assert!(running.into_iter().all(|future| future.result().unwrap_err().is_aborted()));
                assert!(queued.into_iter().all(|future| future.result().unwrap_err().is_cancelled()));
                assert_ended(&pool);
                assert_eq!(gate.arrived(), 2);
            }
        }
    }

    fn a_pool_of_processes_made_in_a_task_of_a_pool_of_threads_works_fifty_times() {
        let threads = ThreadPoolExecutor::new(4);
        let futures: Vec<_> = (0..50_u64)
            .map(|n| {
                threads.spawn(move || {
                    let pool = ProcessPoolExecutor::new(1);
                    let value = pool.submit(|n: u64| n * n, n).result();
                    pool.blocking_shutdown(Shutdown::new()).unwrap();
                    value
                })
            })
            .collect();
        for (n, future) in (0..).zip(futures) {
            assert_eq!(future.result().unwrap().unwrap(), n * n);
        }
    }

    fn closures_methods_and_functions_of_libraries_run_in_workers() {
        let pool = ProcessPoolExecutor::new(1);
        let own = std::process::id();
        let closure = pool.submit(|n: u64| (n + 1, std::process::id()), 1).result().unwrap();
        assert!(closure.0 == 2 && closure.1 != own);
        assert_eq!(pool.submit(Counter::twice, 4).result().unwrap(), 8);
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1_024);
        let number = serde_json::Number::from_f64;
        assert_eq!(pool.submit(number, 1.5).result().unwrap().unwrap().to_string(), "1.5");
    }

    fn pointers_from_a_table_find_their_function_in_the_worker() {
        fn own_id(_: u64) -> u64 {
            u64::from(std::process::id())
        }
        let table: [fn(u64) -> u64; 4] =
            [Counter::twice, u64::swap_bytes, |n| n + 1, own_id];
        let pool = ProcessPoolExecutor::new(1);
        let results: Vec<u64> = table
            .iter()
            .map(|function| pool.submit_fn(*function, 5).result().unwrap())
            .collect();
        assert_eq!(results[..3], [10, 5_u64.swap_bytes(), 6]);
        assert_eq!(results[3], u64::from(pid_of(&pool)));
    }

    fn a_static_stays_with_the_worker_that_changed_it() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = || COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let pool = ProcessPoolExecutor::new(1);
        for expected in 1..=3 {
            assert_eq!(pool.submit(count, ()).result().unwrap(), expected);
        }
        assert_eq!(COUNT.load(Ordering::SeqCst), 0);
    }

    fn the_workers_are_gone_when_the_shutdown_is_over() {
        let (pool, gate) = busy::<Processes>();
        assert_eq!(children().len(), 1);
        gate.open();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(children().is_empty(), "not even a zombie");
        assert_eq!((pool.stats().workers(), pool.worker_stats().len()), (0, 0));
    }

    fn options_that_contradict_each_other_are_refused() {
        let builder = ProcessPoolExecutor::builder;
        for (refused, text) in [
            (builder().max_workers(0), "max_workers"),
            (builder().max_tasks_per_worker(0), "max_tasks_per_worker"),
            (builder().name("a\0b"), "NUL"),
        ] {
            let error = refused.build().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}

fn assert_refused(future: TaskFuture<i32>, path: &Path) {
    let error = future.result().unwrap_err();
    assert_eq!(
        error.rejection(),
        Some(Rejection::NoWorker),
        "{error} about {}",
        path.display()
    );
    assert_eq!(error.ran(), Ran::No);
    let mut cause = std::error::Error::source(&error);
    let mut texts = String::new();
    while let Some(error) = cause {
        texts.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(
        texts.contains("cannot start a worker process in the directory"),
        "{texts}"
    );
    assert!(texts.contains("No such file or directory"), "{texts}");
}

/// It takes nothing any more, and no process of it is left.
fn assert_ended(pool: &ProcessPoolExecutor) {
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    assert!(children().is_empty());
    let error = pool.submit(|| 1, ()).result().unwrap_err();
    assert_eq!(error.rejection(), Some(Rejection::ShutDown));
}
