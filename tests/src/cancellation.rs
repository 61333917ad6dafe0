//! Stopping: what has not started never runs, and what runs can see that it should end.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use concurrent_futures::{
    AbortOutcome, Clock, Executor, Ran, TaskOptions, ThreadPoolExecutor, task,
};

use crate::harness::{
    Door, Gate, PathGate, Pool, busy, busy_pool, eventually, on_every_pool, pass, tests,
};

fn arrive(door: Door) {
    door.arrive();
}

on_every_pool!(
    a_cancelled_task_behind_a_long_one_never_runs,
    the_answers_of_cancel_are_stable,
    one_of_four_that_is_overdue_leaves_the_others_alone,
    limits_beyond_the_clock_never_come,
    many_time_limits_are_served_and_leave_nothing,
    dropping_a_future_does_what_it_was_told_to,
);

fn a_cancelled_task_behind_a_long_one_never_runs<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let ran = PathGate::new();
    let future = pool.submit(arrive, ran.door());
    assert!(future.cancel());
    let error = future.result().unwrap_err();
    assert_eq!((error.is_cancelled(), error.ran()), (true, Ran::No));
    gate.open();
    pool.submit(|| (), ()).result().unwrap();
    assert_eq!(ran.arrived(), 0);
}

fn the_answers_of_cancel_are_stable<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let future = pool.submit(|| 1, ());
    let handle = future.handle();
    assert!(future.cancel() && future.cancel() && handle.cancel());
    assert_eq!(handle.abort(), AbortOutcome::Finished);

    let from_callback = pool.submit(|| 2, ());
    let (sender, receiver) = mpsc::channel();
    let own = from_callback.handle();
    from_callback.on_done(move |_, _| sender.send(own.cancel()).unwrap());
    gate.open();
    assert!(
        !receiver.recv().unwrap(),
        "it is done when its callback runs"
    );
    assert_eq!(from_callback.result().unwrap(), 2);
}

fn one_of_four_that_is_overdue_leaves_the_others_alone<S: Pool>() {
    let pool = S::with_workers(4);
    let gate = PathGate::new();
    let others: Vec<_> = (0..3).map(|_| pool.submit(pass, gate.door())).collect();
    gate.wait_for(3);
    let limit = TaskOptions::new().run_timeout(Duration::from_millis(10));
    let limited = pool.with(limit).submit(pass, gate.door());
    assert!(limited.result().unwrap_err().is_timed_out());
    assert!(others.iter().all(|future| !future.is_done()));
    gate.open();
    assert!(others.into_iter().all(|future| future.result().is_ok()));
}

fn limits_beyond_the_clock_never_come<S: Pool>() {
    let pool = S::with_workers(1);
    for limit in [Duration::MAX, Duration::from_millis(u64::MAX)] {
        let patient = TaskOptions::new().queue_timeout(limit).run_timeout(limit);
        let mut future = pool.with(patient).submit(|| 1, ());
        assert_eq!(future.result_timeout(limit).unwrap(), 1);
    }
}

fn many_time_limits_are_served_and_leave_nothing<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let hurried = TaskOptions::new().queue_timeout(Duration::from_millis(10));
    let futures: Vec<_> = (0..2_000)
        .map(|_| pool.with(hurried.clone()).submit(|| 1, ()))
        .collect();
    for future in futures {
        assert_eq!(future.result().unwrap_err().clock(), Some(Clock::Queue));
    }
    gate.open();
}

fn dropping_a_future_does_what_it_was_told_to<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let ran = PathGate::new();
    let submit = || pool.submit(arrive, ran.door());
    drop(submit().cancel_on_drop());
    drop(submit().abort_on_drop());
    submit().cancel_on_drop().detach();
    drop(submit());
    gate.open();
    pool.submit(|| (), ()).result().unwrap();
    assert_eq!(ran.arrived(), 2, "the other two were cancelled");
    let stats = S::stats(&pool);
    assert_eq!(
        stats.finished_with(concurrent_futures::Outcome::Cancelled),
        2
    );
}

tests! {
    fn cancelling_drops_the_closure_at_once() {
        let (pool, gate) = busy_pool();
        let captured = Arc::new(());
        let weak = Arc::downgrade(&captured);
        let future = pool.spawn(move || drop(captured));
        assert!(future.cancel());
        assert!(weak.upgrade().is_none());
        gate.open();
    }

    fn a_million_cancelled_tasks_leave_no_memory_behind_a_blocked_worker() {
        let (pool, gate) = busy_pool();
        let captured = Arc::new(());
        // A task has its name as long as there is anything left of it.
        let name: Arc<str> = "cancelled".into();
        let named = pool.with(TaskOptions::new().name(Arc::clone(&name)));
        for _ in 0..1_000_000 {
            let captured = Arc::clone(&captured);
            assert!(named.spawn(move || drop(captured)).cancel());
        }
        assert_eq!(Arc::strong_count(&captured), 1);
        let left = Arc::strong_count(&name);
        assert!(left < 1_000, "{left} of the cancelled tasks are still there");
        let stats = pool.stats();
        assert_eq!((stats.queued(), stats.submitted()), (0, 1_000_001));
        gate.open();
    }

    fn a_running_task_sees_that_it_was_asked_to_stop() {
        let pool = ThreadPoolExecutor::new(1);
        let future = pool.spawn(|| {
            let task = task::current().unwrap();
            while !task.is_stop_requested() {
                std::thread::yield_now();
            }
            task.token().is_cancelled()
        });
        eventually("the task runs", || future.is_running());
        assert_eq!(future.abort(), AbortOutcome::Requested);
        assert!(future.result().unwrap(), "the token tells the same");
    }

    fn the_request_to_stop_can_be_awaited() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let pool = ThreadPoolExecutor::new(1);
            let future = pool.spawn(|| {
                let token = task::current().unwrap().token();
                tokio::runtime::Handle::current().block_on(token.cancelled());
                "stopped"
            });
            let handle = future.handle();
            tokio::task::spawn_blocking(move || eventually("it runs", || handle.is_running()))
                .await
                .unwrap();
            future.abort();
            assert_eq!(future.await.unwrap(), "stopped");
        });
    }

    fn a_task_knows_its_id_and_its_name() {
        let pool = ThreadPoolExecutor::new(1);
        assert!(task::current().is_none());
        let named = pool.with(TaskOptions::new().name("named"));
        let future = named.spawn(|| {
            let task = task::current().unwrap();
            (task.id(), task.name().map(str::to_owned))
        });
        let id = future.id();
        assert_eq!(future.result().unwrap(), (id, Some("named".to_owned())));
    }

    fn a_task_that_does_not_look_keeps_its_worker_until_it_ends() {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Gate::default();
        let inside = gate.clone();
        let stubborn = pool.spawn(move || inside.pass());
        gate.wait_for(1);
        assert_eq!(stubborn.abort(), AbortOutcome::Requested);
        let next = pool.submit(|| 1, ());
        assert_eq!((pool.stats().occupied(), pool.stats().workers()), (1, 1));
        assert!(!next.is_running() && !next.is_done());
        gate.open();
        stubborn.result().unwrap();
        assert_eq!(next.result().unwrap(), 1);
    }

    fn a_run_timeout_resolves_on_time_and_the_worker_stays_taken() {
        let pool = ThreadPoolExecutor::new(2);
        let gate = Gate::default();
        let inside = gate.clone();
        let limited = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(20)));
        let (sender, receiver) = mpsc::channel();
        let overdue = limited.spawn(move || {
            inside.pass();
            sender.send(task::current().unwrap().is_stop_requested()).unwrap();
        });
        let error = overdue.result().unwrap_err();
        assert_eq!((error.clock(), error.ran()), (Some(Clock::Run), Ran::Maybe));
        assert!(error.to_string().ends_with("may still be running"), "{error}");
        let stats = pool.stats();
        assert_eq!((stats.running(), stats.occupied()), (0, 1));
        // The other worker and its tasks go on.
        for n in 0..10_u64 {
            assert_eq!(pool.submit(|n: u64| n, n).result().unwrap(), n);
        }
        gate.open();
        assert!(receiver.recv().unwrap(), "the body was asked to stop");
        eventually("the worker is free", || pool.stats().occupied() == 0);
        let stats = pool.stats();
        assert_eq!((stats.submitted(), stats.finished()), (11, 11));
    }

    fn a_limit_that_is_kept_says_nothing() {
        let pool = ThreadPoolExecutor::new(2);
        let limited = TaskOptions::new().run_timeout(Duration::from_secs(30));
        let captured = Arc::new(());
        for _ in 0..1_000 {
            let captured = Arc::clone(&captured);
            pool.with(limited.clone()).spawn(move || drop(captured)).result().unwrap();
        }
        assert_eq!(Arc::strong_count(&captured), 1);
    }

    fn abort_on_drop_asks_a_running_task_to_stop() {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Gate::default();
        let inside = gate.clone();
        let (sender, receiver) = mpsc::channel();
        let future = pool.spawn(move || {
            inside.pass();
            sender.send(task::current().unwrap().is_stop_requested()).unwrap();
        });
        gate.wait_for(1);
        drop(future.abort_on_drop());
        gate.open();
        assert!(receiver.recv().unwrap());
    }

    fn a_run_clock_that_rings_at_once_leaves_the_closure_alone() {
        const WORKERS: usize = 50;
        let pool = ThreadPoolExecutor::new(WORKERS);
        let hurried = pool.with(TaskOptions::new().run_timeout(Duration::ZERO));
        for _ in 0..200 {
            let canary = Arc::new(7_u64);
            let gate = Gate::default();
            let futures: Vec<_> = (0..WORKERS)
                .map(|_| {
                    let (canary, gate) = (Arc::clone(&canary), gate.clone());
                    hurried.spawn(move || {
                        assert_eq!(*canary, 7);
                        gate.pass();
                    })
                })
                .collect();
            gate.wait_for(WORKERS);
            gate.open();
            for future in futures {
                let _ = future.result();
            }
            drop(gate);
            eventually("all bodies have ended", || Arc::strong_count(&canary) == 1);
        }
    }
}
