//! The initializer of worker processes: its argument travels, and its failures break the pool.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Rejection, Shutdown, TaskError, TaskOptions, WorkerExit,
};
use serde::{Serialize, Serializer};

use crate::harness::{Door, PathGate, children, pass, tests};

static MARK: AtomicU32 = AtomicU32::new(0);

fn mark(door: Door, number: u32) {
    door.arrive();
    MARK.fetch_add(number, Ordering::SeqCst);
}

/// The texts of the causes.
fn causes(error: &TaskError) -> String {
    let mut texts = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}

fn assert_broken(error: &TaskError, why: &str) {
    assert_rejected(error, Rejection::Broken, why);
}

fn assert_rejected(error: &TaskError, rejection: Rejection, why: &str) {
    assert_eq!(error.rejection(), Some(rejection), "{error:?}");
    let causes = causes(error);
    assert!(causes.contains(why), "{causes}");
}

tests! {
    fn a_slow_one_is_no_running_time_of_tasks_and_starts_no_more_workers() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(std::thread::sleep, Duration::from_secs(1))
            .build()
            .unwrap();
        let brief = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(500)));
        let futures: Vec<_> = (0..1_000_u64).map(|n| brief.submit(u64::wrapping_add, (n, 1))).collect();
        for (n, future) in (1..).zip(futures) {
            assert_eq!(future.result().unwrap(), n);
        }
        let workers = pool.worker_stats();
        assert!(workers.len() <= 2, "{workers:?}");
        assert!(workers.iter().all(|worker| worker.restarts() == 0), "{workers:?}");
    }

    fn it_runs_once_in_each_worker_before_any_task_with_its_argument() {
        let (initialized, gate) = (PathGate::new(), PathGate::new());
        let pool = ProcessPoolExecutor::builder()
            .max_workers(3)
            .initializer(mark, (initialized.door(), 7))
            .build()
            .unwrap();
        let marked = |door: Door| {
            door.pass();
            MARK.load(Ordering::SeqCst)
        };
        let futures: Vec<_> = (0..30).map(|_| pool.submit(marked, gate.door())).collect();
        gate.wait_for(3);
        gate.open();
        for future in futures {
            assert_eq!(future.result().unwrap(), 7);
        }
        let mut pids = initialized.arrivals();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!((pids.len(), initialized.arrived()), (3, 3));
        assert_eq!(MARK.load(Ordering::SeqCst), 0, "nothing runs here");
    }

    fn its_failure_breaks_the_pool_with_its_own_message() {
        fn fails(door: Door, panics: bool) -> Result<(), String> {
            door.pass();
            assert!(!panics, "no database");
            Err("no database".to_owned())
        }
        for panics in [false, true] {
            let gate = PathGate::new();
            let pool = ProcessPoolExecutor::builder()
                .max_workers(1)
                .initializer(fails, (gate.door(), panics))
                .build()
                .unwrap();
            let pending: Vec<_> = (0..10).map(|_| pool.submit(|| 1, ())).collect();
            gate.open();
            let errors: Vec<_> = pending.into_iter().map(|future| future.result().unwrap_err()).collect();
            let later = pool.submit(|| 1, ()).result().unwrap_err();
            for error in errors.iter().chain([&later]) {
                assert_broken(error, "no database");
                assert_eq!(error.to_string(), later.to_string());
            }
            pool.blocking_shutdown(Shutdown::new()).unwrap();
            assert!(children().is_empty());
        }
    }

    fn a_failure_in_a_second_worker_lets_the_first_finish() {
        fn fails_the_second_time(door: Door) -> Result<(), &'static str> {
            door.arrive();
            if door.arrivals().len() > 1 { Err("only one may run") } else { Ok(()) }
        }
        let (initialized, gate) = (PathGate::new(), PathGate::new());
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(fails_the_second_time, initialized.door())
            .build()
            .unwrap();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let error = pool.submit(|| 1, ()).result().unwrap_err();
        assert_broken(&error, "only one may run");
        gate.open();
        running.result().unwrap();
    }

    fn one_that_is_not_done_in_time_breaks_the_pool() {
        let gate = PathGate::new();
        let limit = Duration::from_millis(200);
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(pass, gate.door())
            .start_timeout(limit)
            .build()
            .unwrap();
        let start = Instant::now();
        let pending: Vec<_> = (0..3).map(|_| pool.submit(|| 1, ())).collect();
        for future in pending {
            assert_broken(&future.result().unwrap_err(), "not ready within 200ms");
        }
        assert!(start.elapsed() >= limit);
        assert_broken(&pool.submit(|| 1, ()).result().unwrap_err(), "not ready within 200ms");
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(children().is_empty(), "it was ended");
    }

    fn one_that_crashes_every_time_fails_what_is_queued_and_says_how() {
        fn crashes(door: Door) {
            door.arrive();
            std::process::abort();
        }
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(crashes, gate.door())
            .build()
            .unwrap();
        let pending: Vec<_> = (0..5).map(|_| pool.submit(|| 1, ())).collect();
        for future in pending {
            let error = future.result().unwrap_err();
            let why = "was ended by signal 6 (SIGABRT) before its initializer had returned";
            assert_rejected(&error, Rejection::NoWorker, why);
        }
        assert!(gate.arrived() < 10, "{} starts", gate.arrived());
    }

    fn one_that_crashes_once_costs_nothing() {
        fn crashes_once(door: Door) {
            door.arrive();
            if door.arrivals().len() == 1 {
                std::process::exit(3);
            }
        }
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(crashes_once, gate.door())
            .build()
            .unwrap();
        let pending: Vec<_> = (0..5_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
        for (n, future) in (0..).zip(pending) {
            assert_eq!(future.result().unwrap(), n);
        }
        assert_eq!(gate.arrived(), 2);
    }

    fn an_argument_that_cannot_be_encoded_is_an_error_of_the_builder() {
        #[derive(serde::Deserialize)]
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not to be written"))
            }
        }
        let error = ProcessPoolExecutor::builder().initializer(|_: Unwritable| (), Unwritable).build().unwrap_err();
        let mut texts = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            texts.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(texts.contains("not to be written"), "{texts}");
    }

    fn a_worker_lost_in_a_task_is_replaced_by_one_that_is_initialized_again() {
        let initialized = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(mark, (initialized.door(), 7))
            .build()
            .unwrap();
        let error = pool.submit(|| -> u8 { std::process::exit(5) }, ()).result().unwrap_err();
        assert_eq!(error.worker_exit(), Some(WorkerExit::Code(5)));
        assert_eq!(pool.submit(|| MARK.load(Ordering::SeqCst), ()).result().unwrap(), 7);
        assert_eq!(initialized.arrived(), 2);
    }
}
