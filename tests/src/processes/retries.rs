//! A task that is lost with its worker is run again where it may be, and nothing else is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrent_futures::{
    AbortOutcome, Clock, Executor, Observer, Outcome, ProcessPoolBuilder, ProcessPoolExecutor, Ran,
    Run, Shutdown, TaskError, TaskInfo, TaskOptions, WorkerId,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::kill;
use crate::harness::{Door, PathGate, eventually, pass, tests};

fn retrying(times: u32) -> TaskOptions {
    TaskOptions::new().retries(times)
}

/// How a process ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Death {
    Abort,
    Exit,
}

impl Death {
    fn die(self) -> ! {
        match self {
            Self::Abort => std::process::abort(),
            Self::Exit => std::process::exit(3),
        }
    }
}

/// Comes to the gate, and ends its process the first `deaths` times. Gives how often it came.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn come(door: Door, deaths: usize, way: Death) -> usize {
    door.arrive();
    let visits = door.arrivals().len();
    if visits <= deaths {
        way.die();
    }
    visits
}

/// As [`come`], for an item of a map, which has a gate of its own.
fn come_as_item(n: usize, door: Door, deaths: usize) -> usize {
    come(door, deaths, Death::Abort);
    n
}

/// The workers of the pool, but for the first, are ready when the gate is open.
fn whose_later_workers_wait(started: &PathGate, gate: &PathGate) -> ProcessPoolBuilder {
    let start = |started: Door, gate: Door| {
        started.arrive();
        if started.arrivals().len() > 1 {
            gate.pass();
        }
    };
    ProcessPoolExecutor::builder().initializer(start, (started.door(), gate.door()))
}

fn works(pool: &ProcessPoolExecutor) {
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

/// Cannot be decoded.
#[derive(Debug, Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("nobody reads this"))
    }
}

#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    finished: Mutex<Vec<Outcome>>,
}

impl Observer for Counts {
    fn started(&self, _: TaskInfo<'_>, _: WorkerId, _: Duration) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    fn finished(&self, _: TaskInfo<'_>, outcome: Outcome, _: Option<Run>) {
        self.finished.lock().unwrap().push(outcome);
    }
}

tests! {
    fn a_task_that_ends_its_worker_is_run_again_and_counted_once() {
        for way in [Death::Abort, Death::Exit] {
            let pool = ProcessPoolExecutor::new(2);
            let gate = PathGate::new();
            let future = pool.with(retrying(2)).submit(come, (gate.door(), 2, way));
            assert_eq!(future.result().unwrap(), 3);
            let workers: BTreeSet<u32> = gate.arrivals().into_iter().collect();
            assert_eq!(workers.len(), 3, "each run has a worker of its own");
            let stats = pool.stats();
            assert_eq!((stats.submitted(), stats.finished(), stats.retried()), (1, 1, 2));
            assert_eq!(stats.finished_with(Outcome::Succeeded), 1);
        }
    }

    fn a_task_whose_worker_is_killed_is_run_again() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let future = pool.with(retrying(1)).submit(pass, gate.door());
        gate.wait_for(1);
        kill(gate.arrivals()[0]);
        gate.wait_for(2);
        assert!(future.is_running() && !future.is_done());
        gate.open();
        future.result().unwrap();
    }

    fn a_task_is_not_run_again_unless_that_was_asked_for() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let error = pool.submit(come, (gate.door(), 1, Death::Abort)).result().unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        assert_eq!((error.attempts(), gate.arrived(), pool.stats().retried()), (1, 1, 0));
    }

    fn a_task_that_keeps_ending_its_workers_is_given_up_and_says_how_many_it_has_cost() {
        let pool = ProcessPoolExecutor::new(2);
        let gate = PathGate::new();
        let options = retrying(2).name("killer");
        let future = pool.with(options).submit(come, (gate.door(), usize::MAX, Death::Exit));
        let error = future.result().unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        assert_eq!((error.attempts(), error.ran(), gate.arrived()), (3, Ran::Maybe, 3));
        let last = gate.arrivals()[2];
        assert_eq!(error.worker_pid(), Some(last));
        assert_eq!(
            error.to_string(),
            format!(
                "the task `killer` has cost 3 workers and is not tried again, at last process {last} \
                 exited with code 3"
            )
        );
        works(&pool);
    }

    fn what_ends_otherwise_than_with_its_worker_is_not_run_again() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let often = pool.with(retrying(9));
        let panics = |door: Door| -> u8 {
            door.arrive();
            panic!("on purpose")
        };
        assert!(often.submit(panics, gate.door()).result().unwrap_err().is_panicked());
        assert_eq!(gate.arrived(), 1);
        let fails = |door: Door| -> Result<u8, String> {
            door.arrive();
            Err("on purpose".to_owned())
        };
        assert!(often.try_submit(fails, gate.door()).result().unwrap_err().is_failed());
        assert_eq!(gate.arrived(), 2);
        let unreadable = |door: Door| {
            door.arrive();
            Unreadable
        };
        assert!(often.submit(unreadable, gate.door()).result().unwrap_err().is_codec());
        assert_eq!(gate.arrived(), 3);
        assert!(often.submit(|_: Unreadable| (), Unreadable).result().unwrap_err().is_codec());
        let limited = retrying(9).run_timeout(Duration::from_millis(20));
        let error = pool.with(limited).submit(pass, gate.door()).result().unwrap_err();
        assert_eq!(error.clock(), Some(Clock::Run));
        assert_eq!((error.attempts(), gate.arrived()), (0, 4));
        works(&pool);
        assert_eq!(pool.stats().retried(), 0);
    }

    fn what_is_stopped_on_purpose_is_not_run_again() {
        let stops: [fn(&ProcessPoolExecutor); 3] = [
            ProcessPoolExecutor::terminate_workers,
            ProcessPoolExecutor::kill_workers,
            |pool| {
                let deadline = Shutdown::new().deadline(Duration::from_millis(10));
                assert!(pool.blocking_shutdown(deadline).unwrap_err().is_timed_out());
            },
        ];
        for stop in stops {
            let pool = ProcessPoolExecutor::new(2);
            let gate = PathGate::new();
            let running: Vec<_> = (0..2)
                .map(|_| pool.with(retrying(9)).submit(pass, gate.door()))
                .collect();
            gate.wait_for(2);
            stop(&pool);
            for future in running {
                assert!(future.result().unwrap_err().is_aborted());
            }
            pool.blocking_shutdown(Shutdown::new()).unwrap();
            assert_eq!((gate.arrived(), pool.stats().retried()), (2, 0));
        }
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let running = pool.with(retrying(9)).submit(pass, gate.door());
        gate.wait_for(1);
        assert_eq!(running.abort(), AbortOutcome::Stopped);
        assert!(running.result().unwrap_err().is_aborted());
        works(&pool);
        assert_eq!((gate.arrived(), pool.stats().retried()), (1, 0));
    }

    fn workers_that_are_replaced_in_time_cost_no_retry() {
        let builder = ProcessPoolExecutor::builder().max_workers(2).idle_timeout(Duration::from_millis(1));
        let pool = builder.max_tasks_per_worker(3).build().unwrap();
        let gate = PathGate::new();
        let come = |door: Door| door.arrive();
        let futures: Vec<_> = (0..20).map(|_| pool.with(retrying(1)).submit(come, gate.door())).collect();
        for future in futures {
            future.result().unwrap();
        }
        eventually("the workers leave", || pool.worker_stats().is_empty());
        works(&pool);
        assert_eq!((gate.arrived(), pool.stats().retried()), (20, 0));
    }

    fn a_task_that_waits_to_be_run_again_can_be_aborted_and_not_cancelled() {
        let (started, ready, gate) = (PathGate::new(), PathGate::new(), PathGate::new());
        let pool = whose_later_workers_wait(&started, &ready).max_workers(1).build().unwrap();
        // One is given to the worker that starts, and one waits in the queue.
        for lies_at_a_worker in [true, false] {
            let visits = gate.arrived() + 1;
            let future = pool.with(retrying(9)).submit(pass, gate.door());
            gate.wait_for(visits);
            let urgent = (!lies_at_a_worker)
                .then(|| pool.with(TaskOptions::new().priority(1)).submit(pass, gate.door()));
            kill(gate.arrivals()[visits - 1]);
            if lies_at_a_worker {
                started.wait_for(2);
                eventually("it waits", || pool.stats().retried() == 1);
            } else {
                gate.wait_for(visits + 1);
            }
            assert!(!future.cancel() && !future.is_done());
            assert_eq!(future.abort(), AbortOutcome::Stopped);
            assert!(future.result().unwrap_err().is_aborted());
            ready.open();
            if let Some(urgent) = urgent {
                gate.open();
                urgent.result().unwrap();
            }
            works(&pool);
        }
        assert_eq!(gate.arrived(), 3, "neither was run again");
    }

    fn a_task_that_waits_to_be_run_again_is_lost_if_that_is_given_up() {
        let (running, urgent) = (PathGate::new(), PathGate::new());
        let pool = ProcessPoolExecutor::new(1);
        let future = pool.with(retrying(9)).submit(pass, running.door());
        running.wait_for(1);
        let first = pool.with(TaskOptions::new().priority(1)).submit(pass, urgent.door());
        kill(running.arrivals()[0]);
        urgent.wait_for(1);
        let closed = pool.shutdown(Shutdown::new().cancel_pending(true));
        let error = future.result().unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        assert_eq!((error.attempts(), error.ran()), (1, Ran::Maybe));
        urgent.open();
        first.result().unwrap();
        closed.result().unwrap();
    }

    fn a_shutdown_waits_for_what_is_run_again() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let future = pool.with(retrying(3)).submit(come, (gate.door(), 3, Death::Abort));
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(future.is_done());
        assert_eq!(future.result().unwrap(), 4);
    }

    fn what_is_run_again_comes_before_what_has_waited_behind_it() {
        let pool = ProcessPoolExecutor::new(1);
        let (gate, order) = (PathGate::new(), PathGate::new());
        let first = |gate: Door, order: Door| {
            gate.pass();
            order.arrive();
            order.arrivals().len()
        };
        let again = pool.with(retrying(1)).submit(first, (gate.door(), order.door()));
        gate.wait_for(1);
        let behind: Vec<_> = (0..3).map(|_| pool.submit(come, (order.door(), 0, Death::Abort))).collect();
        kill(gate.arrivals()[0]);
        gate.wait_for(2);
        gate.open();
        assert_eq!(again.result().unwrap(), 1);
        for (place, future) in (2..).zip(behind) {
            assert_eq!(future.result().unwrap(), place);
        }
    }

    fn each_run_has_its_own_time() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let work = |door: Door| {
            std::thread::sleep(Duration::from_millis(600));
            come(door, 1, Death::Abort)
        };
        let options = retrying(1).run_timeout(Duration::from_secs(1));
        assert_eq!(pool.with(options).submit(work, gate.door()).result().unwrap(), 2);
    }

    fn large_arguments_are_there_again() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let sum = |door: Door, bytes: Vec<u8>| {
            come(door, 2, Death::Abort);
            bytes.into_iter().map(u64::from).sum::<u64>()
        };
        let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let expected = bytes.iter().copied().map(u64::from).sum::<u64>();
        let future = pool.with(retrying(2)).submit(sum, (gate.door(), bytes));
        assert_eq!(future.result().unwrap(), expected);
    }

    fn an_observer_sees_one_task_begin_and_end_once() {
        let counts = Arc::new(Counts::default());
        let observer: Arc<dyn Observer> = counts.clone();
        let pool = ProcessPoolExecutor::builder().max_workers(1).observer(observer).build().unwrap();
        let gate = PathGate::new();
        pool.with(retrying(2)).submit(come, (gate.door(), 2, Death::Exit)).result().unwrap();
        assert_eq!(counts.started.load(Ordering::Relaxed), 1);
        assert_eq!(*counts.finished.lock().unwrap(), [Outcome::Succeeded]);
    }

    fn the_item_of_a_map_that_was_lost_is_run_again_and_no_other() {
        let pool = ProcessPoolExecutor::new(2);
        for chunk in [10, 3, 1] {
            let gates: Vec<_> = (0..10).map(|_| PathGate::new()).collect();
            // More deaths than retries come together, but not on one item.
            let deaths = [0, 2, 0, 0, 1, 2, 0, 0, 0, 2];
            let items: Vec<_> = (0..10).map(|n| (n, gates[n].door(), deaths[n])).collect();
            let mapping = pool.with(retrying(2)).mapping().chunk_size(chunk).window(10);
            let results: Result<Vec<_>, TaskError> = mapping
                .map(|(n, door, deaths)| come_as_item(n, door, deaths), items)
                .into_iter()
                .collect();
            assert_eq!(results.unwrap(), (0..10).collect::<Vec<_>>());
            let visits: Vec<_> = gates.iter().map(PathGate::arrived).collect();
            assert_eq!(visits, deaths.map(|deaths| deaths + 1), "chunks of {chunk}");
        }
    }

    fn an_item_of_a_map_that_keeps_ending_its_workers_is_the_only_one_that_is_lost() {
        let pool = ProcessPoolExecutor::new(2);
        let gates: Vec<_> = (0..6).map(|_| PathGate::new()).collect();
        let items: Vec<_> = (0..6).map(|n| (n, gates[n].door(), if n == 2 { 9 } else { 1 })).collect();
        let mapping = pool.with(retrying(1)).mapping().chunk_size(6).window(6);
        let results: Vec<_> = mapping
            .map(|(n, door, deaths)| come_as_item(n, door, deaths), items)
            .into_iter()
            .collect();
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => assert!(value == n && n != 2),
                Err(error) => {
                    assert_eq!((error.index(), error.attempts(), n), (Some(2), 2, 2));
                    let text = error.to_string();
                    assert!(text.starts_with("item 2 of the task `") && text.contains("has cost 2 workers"), "{text}");
                }
            }
        }
        assert_eq!(gates[2].arrived(), 2);
    }

    fn in_a_storm_of_kills_every_task_that_may_be_run_again_gives_its_value() {
        let pool = ProcessPoolExecutor::new(3);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                // A different worker each time.
                for turn in 0..100 {
                    let workers = pool.worker_stats();
                    if let Some(worker) = workers.get(turn % workers.len().max(1)) {
                        let pid = i32::try_from(worker.pid()).unwrap();
                        let pid = rustix::process::Pid::from_raw(pid).unwrap();
                        // It may have ended a moment ago.
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                is_over.store(true, Ordering::Relaxed);
            });
            let work = |n: u64| {
                std::thread::sleep(Duration::from_millis(2));
                n * n
            };
            let mut done = 0_u64;
            while done < 2_000 || !is_over.load(Ordering::Relaxed) {
                let futures: Vec<_> = (done..done + 100)
                    .map(|n| pool.with(retrying(1_000)).submit(work, n))
                    .collect();
                for (n, future) in (done..).zip(futures) {
                    assert_eq!(future.result().unwrap(), n * n);
                }
                done += 100;
            }
            killer.join().unwrap();
            let stats = pool.stats();
            assert_eq!(stats.finished_with(Outcome::Succeeded), done);
            assert!(stats.retried() > 0);
        });
    }
}
