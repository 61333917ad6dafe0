//! All workers, ahead of the work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concurrent_futures::{AbortOutcome, Executor, ProcessPoolExecutor, Rejection, Shutdown};

use super::{causes, eventually_idle, pids};
use crate::harness::{Door, Gate, PathGate, children, eventually, pass, tests};

tests! {
    fn it_is_over_when_each_worker_has_run_its_initializer() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(3)
            .initializer(pass, gate.door())
            .build()
            .unwrap();
        let warm = pool.warm_up();
        gate.wait_for(3);
        assert!(!warm.is_done() && warm.is_running());
        gate.open();
        warm.result().unwrap();
        eventually_idle(&pool, 3);
        let before = pids(&pool);
        // A second one finds all done.
        pool.warm_up().result().unwrap();
        assert_eq!((pids(&pool), gate.arrived()), (before, 3));
        assert_eq!(pool.stats().submitted(), 0, "it is no task");
    }

    fn it_can_be_awaited_and_starts_only_those_that_are_missing() {
        let pool = ProcessPoolExecutor::new(3);
        let first = pool.submit(std::process::id, ()).result().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { pool.warm_up().await }).unwrap();
        assert_eq!(pids(&pool).len(), 3);
        assert_eq!(pids(&pool)[0], first);
    }

    fn it_is_over_also_if_all_workers_are_busy_and_counts_them() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(2);
        let running = [(); 2].map(|()| pool.submit(pass, gate.door()));
        gate.wait_for(2);
        pool.warm_up().result().unwrap();
        assert_eq!(pids(&pool).len(), 2);
        gate.open();
        for future in running {
            future.result().unwrap();
        }
    }

    fn it_ends_where_workers_come_and_go_all_the_time() {
        let builder = ProcessPoolExecutor::builder().max_workers(3).max_tasks_per_worker(1);
        let pool = builder.build().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    for future in [(); 3].map(|()| pool.submit(|| (), ())) {
                        future.result().unwrap();
                    }
                }
            });
            for _ in 0..5 {
                pool.warm_up().result().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    fn a_failed_initializer_is_the_cause() {
        let fails = ProcessPoolExecutor::builder().max_workers(2).initializer(|| Err::<(), _>("no database"), ());
        let error = fails.build().unwrap().warm_up().result().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::Broken));
        assert!(causes(&error).contains("no database"), "{}", causes(&error));
    }

    fn workers_that_die_before_they_are_ready_are_the_cause_and_others_stay() {
        fn crashes_but_once(door: Door) {
            door.arrive();
            if door.arrivals().len() > 1 {
                std::process::abort();
            }
        }
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(crashes_but_once, gate.door())
            .build()
            .unwrap();
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        let error = pool.warm_up().result().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::NoWorker));
        let why = "was ended by signal 6 (SIGABRT) before its initializer had returned";
        assert!(causes(&error).contains(why), "{}", causes(&error));
        assert_eq!(gate.arrived(), 4);
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
    }

    fn workers_that_are_not_ready_in_time_are_the_cause() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(pass, gate.door())
            .start_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let error = pool.warm_up().result().unwrap_err();
        assert!(causes(&error).contains("not ready within 300ms"), "{}", causes(&error));
    }

    fn the_end_of_the_pool_ends_it() {
        let gate = PathGate::new();
        for is_killed in [false, true] {
            let pool = ProcessPoolExecutor::builder()
                .max_workers(2)
                .initializer(pass, gate.door())
                .build()
                .unwrap();
            let warm = pool.warm_up();
            if is_killed {
                pool.kill_workers();
            }
            pool.blocking_shutdown(Shutdown::new()).unwrap();
            assert!(children().is_empty());
            for error in [warm, pool.warm_up()].map(|warm| warm.result().unwrap_err()) {
                assert_eq!(error.rejection(), Some(Rejection::ShutDown));
            }
        }
    }

    fn it_can_be_aborted_and_the_pool_works_on() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(pass, gate.door())
            .build()
            .unwrap();
        let warm = pool.warm_up();
        gate.wait_for(2);
        assert!(!warm.cancel(), "it has begun");
        assert_eq!(warm.abort(), AbortOutcome::Stopped);
        assert!(warm.result().unwrap_err().is_aborted());
        gate.open();
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }

    fn a_resize_changes_what_it_waits_for() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(3)
            .initializer(pass, gate.door())
            .build()
            .unwrap();
        let warm = pool.warm_up();
        gate.wait_for(3);
        pool.resize(1).unwrap();
        gate.open();
        warm.result().unwrap();
        eventually_idle(&pool, 1);
    }

    fn workers_that_are_kept_for_no_time_go_when_all_have_been_ready() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(3)
            .idle_timeout(Duration::ZERO)
            .initializer(|door: Door| door.arrive(), gate.door())
            .build()
            .unwrap();
        for round in 1..=3 {
            pool.warm_up().result().unwrap();
            eventually("none is kept", || pool.stats().workers() == 0);
            assert_eq!(gate.arrived(), 3 * round, "none was started in vain");
        }
    }

    fn workers_that_are_kept_for_ever_stay() {
        let pool = ProcessPoolExecutor::builder().max_workers(2).idle_timeout(Duration::MAX).build().unwrap();
        pool.warm_up().result().unwrap();
        let before = pids(&pool);
        pool.resize(1).unwrap();
        eventually_idle(&pool, 1);
        pool.resize(2).unwrap();
        pool.warm_up().result().unwrap();
        assert!(before.contains(&pids(&pool)[0]) || before.contains(&pids(&pool)[1]));
        pool.blocking_shutdown(Shutdown::new()).unwrap();
    }

    fn a_callback_of_it_that_blocks_holds_up_nothing() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(pass, gate.door())
            .build()
            .unwrap();
        let warm = pool.warm_up();
        let (inside, outside) = (Gate::default(), Gate::default());
        let callback = (inside.clone(), outside.clone());
        warm.on_done(move |_, _| {
            callback.0.open();
            callback.1.pass();
        });
        gate.open();
        inside.pass();
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        outside.open();
        warm.result().unwrap();
    }
}
