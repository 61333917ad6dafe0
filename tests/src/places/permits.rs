//! Permits, and waiting for them.

use std::pin::pin;
use std::sync::OnceLock;

use concurrent_futures::{
    AnyExecutor, Executor, InlineExecutor, Permit, ProcessPoolExecutor, Rejection, Shutdown,
    TaskContext, TaskError, TaskOptions, ThreadPoolExecutor,
};
use futures_util::FutureExt as _;

use super::{Limited, full, is_full, resident};
use crate::harness::{
    Gate, PathGate, Subject, Threads, eventually, on_a_runtime, on_every_executor, on_every_pool,
    pass, tests,
};
on_every_executor!(
    without_limits_a_place_is_had_at_once,
    a_permit_submits_in_every_way,
    a_permit_that_is_used_after_the_shutdown_is_rejected,
);

fn without_limits_a_place_is_had_at_once<S: Subject>() {
    let executor = S::with_workers(1);
    let mut permits: Vec<Permit<S::Executor>> =
        (0..100).map(|_| executor.try_reserve().unwrap()).collect();
    permits.push(executor.reserve().now_or_never().unwrap().unwrap());
    permits.push(executor.blocking_reserve().unwrap());
    // In async code too: there is nothing to wait for.
    permits.push(on_a_runtime(async { executor.blocking_reserve() }).unwrap());
    for permit in permits {
        assert_eq!(permit.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
}

fn a_permit_submits_in_every_way<S: Subject>() {
    let executor = S::with_workers(1);
    let permit = || executor.try_reserve().unwrap();
    assert_eq!(permit().submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    assert_eq!(permit().submit_fn(u32::count_ones, 7).result().unwrap(), 3);
    let parse = |text: String| text.parse::<u8>();
    let parsed = permit().try_submit(parse, "7".to_owned());
    assert_eq!(parsed.result().unwrap(), 7);
    let named = permit().with(TaskOptions::new().name("the answer"));
    let error = named.try_submit(parse, "x".to_owned()).result();
    assert_eq!(error.unwrap_err().task_name(), Some("the answer"));
}

fn a_permit_that_is_used_after_the_shutdown_is_rejected<S: Subject>() {
    let executor = S::with_workers(1);
    let permit = executor.try_reserve().unwrap();
    executor.blocking_shutdown(Shutdown::new()).unwrap();
    let why = |error: TaskError| error.rejection();
    let error = permit.submit(u64::pow, (2, 10)).result().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
    let error = executor.try_reserve().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
    let error = executor.reserve().now_or_never().unwrap().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
    let error = executor.blocking_reserve().unwrap_err();
    assert_eq!(why(error), Some(Rejection::ShutDown));
}

on_every_pool!(
    a_permit_has_its_place_until_it_is_dropped_or_its_task_is_over,
    those_who_wait_get_places_in_their_order_and_before_all_others,
    a_wait_that_is_given_up_costs_nobody_anything,
    waits_that_are_given_up_take_no_memory,
    blocking_for_a_place_ends_when_there_is_one,
    blocking_for_a_place_in_async_code_is_an_error,
    a_shutdown_ends_the_waits_for_a_place,
    cancelling_what_is_pending_gives_no_place_to_those_who_wait,
    a_pool_without_handles_but_for_a_permit_still_runs_its_task,
);

fn a_permit_has_its_place_until_it_is_dropped_or_its_task_is_over<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
    drop(permit);
    let permit = pool.try_reserve().unwrap();
    let gate = PathGate::new();
    let task = std::thread::spawn(move || (permit.submit(pass, gate.door()), gate));
    let (task, gate) = task.join().unwrap();
    assert!(is_full(&pool.try_reserve()));
    gate.open();
    task.result().unwrap();
    assert!(pool.try_reserve().is_ok());
}

fn those_who_wait_get_places_in_their_order_and_before_all_others<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pool.reserve())).collect();
    for wait in &mut waiting {
        assert!(wait.now_or_never().is_none());
    }
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    // The place is the first one's already, though that one has not looked.
    assert!(is_full(&pool.try_reserve()));
    assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
    assert!((&mut waiting[1]).now_or_never().is_none());
    for mut wait in waiting {
        let permit = (&mut wait).now_or_never().unwrap().unwrap();
        assert!(is_full(&pool.try_reserve()));
        permit.submit(u64::pow, (2, 10)).result().unwrap();
    }
    assert!(pool.try_reserve().is_ok());
}

fn a_wait_that_is_given_up_costs_nobody_anything<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(pool.reserve())).collect();
    for wait in &mut waiting {
        assert!(wait.now_or_never().is_none());
    }
    let mut last = waiting.pop().unwrap();
    let granted = waiting.remove(0);
    // Two give up while they wait, and one that does not know yet that it has a place.
    drop(waiting);
    drop(permit);
    assert!((&mut last).now_or_never().is_none());
    drop(granted);
    let permit = (&mut last).now_or_never().unwrap().unwrap();
    drop(permit);
    assert!(pool.try_reserve().is_ok());
}

fn waits_that_are_given_up_take_no_memory<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let mut first = pin!(pool.reserve());
    assert!((&mut first).now_or_never().is_none());
    let before = resident();
    for _ in 0..100_000 {
        assert!(pool.reserve().now_or_never().is_none());
    }
    let growth = resident().saturating_sub(before);
    assert!(growth < 4 << 20, "{growth} bytes more");
    drop(permit);
    assert!(first.now_or_never().unwrap().is_ok());
}

fn blocking_for_a_place_ends_when_there_is_one<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.blocking_reserve().unwrap().submit(u64::pow, (2, 10)));
        // It has to wait, if it is there already.
        assert!(!blocked.is_finished());
        drop(permit);
        assert_eq!(blocked.join().unwrap().result().unwrap(), 1024);
    });
}

fn blocking_for_a_place_in_async_code_is_an_error<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    let refused = on_a_runtime(async { pool.blocking_reserve() });
    assert!(refused.unwrap_err().is_would_block());
    drop(permit);
    assert!(pool.try_reserve().is_ok(), "it does not wait any more");
}

fn a_shutdown_ends_the_waits_for_a_place<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let mut waiting = pin!(pool.reserve());
    assert!((&mut waiting).now_or_never().is_none());
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.blocking_reserve());
        let shutdown = pool.shutdown(Shutdown::new());
        let error = waiting.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::ShutDown));
        let error = blocked.join().unwrap().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::ShutDown));
        gate.open();
        shutdown.result().unwrap();
    });
    for task in tasks {
        task.result().unwrap();
    }
}

fn cancelling_what_is_pending_gives_no_place_to_those_who_wait<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 3);
    let mut waiting = pin!(pool.reserve());
    assert!((&mut waiting).now_or_never().is_none());
    let shutdown = pool.shutdown(Shutdown::new().cancel_pending(true));
    let error = waiting.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.rejection(), Some(Rejection::ShutDown));
    gate.open();
    shutdown.result().unwrap();
    let outcomes = tasks.into_iter().map(|task| task.result().is_ok());
    assert_eq!(outcomes.filter(|&is_ok| is_ok).count(), 1);
}

fn a_pool_without_handles_but_for_a_permit_still_runs_its_task<S: Limited>() {
    let pool = S::limited(1, 0);
    let permit = pool.try_reserve().unwrap();
    drop(pool);
    assert_eq!(permit.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

tests! {
    fn a_place_whose_task_is_on_its_way_is_no_deadlock() {
        static SUBMITTING: OnceLock<Gate> = OnceLock::new();
        struct Slow;
        impl TaskContext for Slow {
            type Value = ();
            type Guard = ();
            fn capture() -> Option<()> {
                if std::thread::current().name() == Some("submits slowly") {
                    SUBMITTING.get_or_init(Gate::default).pass();
                }
                None
            }
            fn enter((): ()) {}
        }
        let gate = SUBMITTING.get_or_init(Gate::default);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(1)
            .context::<Slow>()
            .build()
            .unwrap();
        let begins = Gate::default();
        let (inner, begun) = (pool.clone(), begins.clone());
        let waits = pool.spawn(move || {
            begun.pass();
            inner.blocking_reserve().map(drop)
        });
        begins.wait_for(1);
        let other = pool.clone();
        let submitter = std::thread::Builder::new().name("submits slowly".into());
        let submitter = submitter.spawn(move || other.spawn(|| 7).result()).unwrap();
        gate.wait_for(1);
        begins.open();
        eventually("the task waits for a place", || pool.stats().blocked() == 1);
        gate.open();
        // What was on its way is queued now, and makes room by running.
        assert_eq!(submitter.join().unwrap().unwrap(), 7);
        waits.result().unwrap().unwrap();
    }

    fn a_permit_that_is_used_while_the_only_worker_waits_for_a_place_makes_room() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
        let permit = pool.try_reserve().unwrap();
        let inner = pool.clone();
        let waits = pool.spawn(move || inner.blocking_reserve().map(drop));
        eventually("the task waits for a place", || pool.stats().blocked() == 1);
        assert_eq!(permit.spawn(|| 7).result().unwrap(), 7);
        waits.result().unwrap().unwrap();
    }

    fn a_closure_that_captures_can_have_a_permit() {
        let pool = Threads::limited(1, 0);
        let text = String::from("captured");
        let permit = pool.try_reserve().unwrap();
        assert_eq!(permit.spawn(move || text.len()).result().unwrap(), 8);
        let permit = pool.try_reserve().unwrap().with(TaskOptions::new().name("kept"));
        let error = permit.spawn(|| panic!("no luck")).result().unwrap_err();
        assert_eq!(error.task_name(), Some("kept"));
    }

    fn a_permit_of_an_executor_chosen_at_run_time_is_one_of_that_executor() {
        let pool = AnyExecutor::from(Threads::limited(1, 0));
        let permit = pool.try_reserve().unwrap();
        assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
        assert_eq!(permit.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        let inline = AnyExecutor::from(InlineExecutor::new());
        let permits = [inline.try_reserve().unwrap(), inline.try_reserve().unwrap()];
        assert_eq!(permits.map(|permit| permit.submit(u64::pow, (2, 3)).result().unwrap()), [8, 8]);
    }

    fn a_pool_of_threads_that_breaks_ends_the_waits_for_a_place() {
        let gate = Gate::default();
        let inside = gate.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(0)
            .initializer(move || {
                inside.pass();
                Err::<(), _>("no database")
            })
            .build()
            .unwrap();
        let future = pool.submit(u64::pow, (2, 10));
        let mut waiting = pin!(pool.reserve());
        assert!((&mut waiting).now_or_never().is_none());
        gate.open();
        assert!(future.result().unwrap_err().is_rejected());
        let error = on_a_runtime(waiting).unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::Broken));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no database");
    }

    fn a_pool_of_processes_that_breaks_ends_the_waits_for_a_place() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(0)
            .initializer(|| Err::<(), _>("no database"), ())
            .build()
            .unwrap();
        let future = pool.submit(u64::pow, (2, 10));
        let waited = pool.blocking_reserve();
        assert!(future.result().unwrap_err().is_rejected());
        let error = waited.unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::Broken));
    }
}
