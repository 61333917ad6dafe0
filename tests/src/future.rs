//! The future: its states, its callbacks, and what it gives to whom.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use concurrent_futures::{AbortOutcome, Clock, Executor, Outcome, Promise, TaskError, TaskFuture};

use crate::harness::{
    Gate, PathGate, Pool, Subject, busy, busy_pool, on_every_executor, on_every_pool, pass, tests,
};

on_every_executor!(
    ids_are_unique_and_futures_compare_by_them,
    a_finished_future_tells_its_state,
    a_callback_added_afterwards_runs_at_once,
    a_callback_sees_value_and_error_as_outcomes,
    the_error_can_be_looked_at_without_taking_it,
    a_future_can_be_shared,
);

fn ids_are_unique_and_futures_compare_by_them<S: Subject>() {
    let executor = S::with_workers(2);
    let (first, second) = (executor.submit(|| 1, ()), executor.submit(|| 1, ()));
    assert_ne!(first, second);
    assert_ne!(first.id(), second.id());
    let set: std::collections::HashSet<_> = [first, second].into();
    assert_eq!(set.len(), 2);
}

fn a_finished_future_tells_its_state<S: Subject>() {
    let executor = S::with_workers(2);
    let mut future = executor.submit(|| 1, ());
    concurrent_futures::wait([&mut future])
        .blocking_wait()
        .unwrap();
    assert!(future.is_done() && !future.is_running() && !future.is_cancelled());
    assert!(!future.cancel());
    assert_eq!(future.abort(), AbortOutcome::Finished);
    assert_eq!(future.outcome(), Some(Outcome::Succeeded));
}

fn a_callback_added_afterwards_runs_at_once<S: Subject>() {
    let executor = S::with_workers(2);
    let mut future = executor.submit(|| 1, ());
    concurrent_futures::wait([&mut future])
        .blocking_wait()
        .unwrap();
    let (sender, receiver) = mpsc::channel();
    let here = std::thread::current().id();
    future.on_done(move |_, outcome| {
        sender.send((outcome, std::thread::current().id())).unwrap();
    });
    assert_eq!(receiver.try_recv().unwrap(), (Outcome::Succeeded, here));
    future.on_done(|_, _| panic!("does not reach the one who adds it"));
}

fn a_callback_sees_value_and_error_as_outcomes<S: Subject>() {
    let executor = S::with_workers(2);
    let outcome = |future: TaskFuture<u8>| {
        let (sender, receiver) = mpsc::channel();
        let id = future.id();
        future.on_done(move |done, outcome| sender.send((done == id, outcome)).unwrap());
        receiver.recv().unwrap()
    };
    assert_eq!(
        outcome(executor.submit(|| 1, ())),
        (true, Outcome::Succeeded)
    );
    assert_eq!(
        outcome(executor.submit(|| panic!("no luck"), ())),
        (true, Outcome::Panicked)
    );
    let failed = executor.try_submit(|| Err::<u8, _>("no luck"), ());
    assert_eq!(outcome(failed), (true, Outcome::Failed));
}

fn the_error_can_be_looked_at_without_taking_it<S: Subject>() {
    let executor = S::with_workers(2);
    let mut future = executor.try_submit(|| Err::<(), _>("no luck"), ());
    concurrent_futures::wait([&mut future])
        .blocking_wait()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(future.error().unwrap().message().unwrap(), "no luck");
    }
    assert_eq!(future.result().unwrap_err().message().unwrap(), "no luck");
}

fn a_future_can_be_shared<S: Subject>() {
    let executor = S::with_workers(2);
    let shared = executor.submit(|| "once".to_owned(), ()).shared();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.result().unwrap())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "once");
    }
    assert!(shared.is_done());
    assert_eq!(shared.clone().result().unwrap(), shared.result().unwrap());
}

on_every_pool!(
    the_states_of_a_future_are_told_apart,
    callbacks_run_in_order_each_once_and_a_panic_stops_none,
    a_callback_sees_a_cancellation,
    a_callback_that_blocks_submits_or_drops_the_pool_leaves_others_alone,
);

fn the_states_of_a_future_are_told_apart<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let other = S::with_workers(1);
    let running = other.submit(pass, gate.door());
    gate.wait_for(2);
    let queued = pool.submit(|| 1, ());
    let cancelled = pool.submit(|| 1, ());
    assert!(cancelled.cancel());

    let truth = |future: &dyn Fn() -> (bool, bool, bool)| future();
    assert_eq!(
        truth(&|| (queued.is_done(), queued.is_running(), queued.is_cancelled())),
        (false, false, false)
    );
    assert_eq!(
        truth(&|| (
            running.is_done(),
            running.is_running(),
            running.is_cancelled()
        )),
        (false, true, false)
    );
    assert_eq!(
        truth(&|| (
            cancelled.is_done(),
            cancelled.is_running(),
            cancelled.is_cancelled()
        )),
        (true, false, true)
    );
    assert!(!running.cancel());
    gate.open();
    running.result().unwrap();
    assert_eq!(queued.result().unwrap(), 1);
    assert!(cancelled.result().unwrap_err().is_cancelled());
}

fn callbacks_run_in_order_each_once_and_a_panic_stops_none<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let future = pool.submit(|| 1, ());
    let (sender, receiver) = mpsc::channel();
    for number in 0..3 {
        let sender = sender.clone();
        future.on_done(move |_, _| sender.send(number).unwrap());
        future.on_done(|_, _| panic!("a callback that panics"));
    }
    drop(sender);
    gate.open();
    // Ends when the last callback is gone.
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(future.result().unwrap(), 1);
}

fn a_callback_sees_a_cancellation<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let future = pool.submit(|| 1, ());
    let (sender, receiver) = mpsc::channel();
    future.on_done(move |_, outcome| sender.send(outcome).unwrap());
    assert!(future.cancel());
    // While the task before it still runs.
    assert_eq!(receiver.recv(), Ok(Outcome::Cancelled));
    gate.open();
}

fn a_callback_that_blocks_submits_or_drops_the_pool_leaves_others_alone<S: Pool>() {
    let pool = S::with_workers(2);
    let gate = Gate::default();
    let inside = gate.clone();
    // The task is not over before it has its callback, which would run on this thread otherwise.
    let task_gate = PathGate::new();
    let future = pool.submit(pass, task_gate.door());
    future.on_done(move |_, _| inside.pass());
    task_gate.open();
    gate.wait_for(1);
    assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);

    let (sender, receiver) = mpsc::channel();
    let submitting = pool.clone();
    pool.submit(|| (), ()).on_done(move |_, _| {
        sender.send(submitting.submit(|| 2, ())).unwrap();
        drop(submitting);
    });
    drop(pool);
    assert_eq!(receiver.recv().unwrap().result().unwrap(), 2);
    gate.open();
}

tests! {
    fn debug_shows_id_and_state_and_nothing_of_the_closure() {
        let (pool, gate) = busy_pool();
        let future = pool.spawn(|| "secret").shared();
        let text = format!("{future:?}");
        assert!(text.contains(&format!("id: {}", future.id().get())), "{text}");
        assert!(text.contains("state: queued") && !text.contains("secret"), "{text}");
        gate.open();
        future.clone().result().unwrap();
        assert!(format!("{future:?}").contains("state: Succeeded"));
    }

    fn a_result_with_a_timeout_of_zero_asks_without_blocking() {
        let (promise, mut future) = Promise::new();
        let start = Instant::now();
        let error = future.result_timeout(Duration::ZERO).unwrap_err();
        assert_eq!(error.clock(), Some(Clock::Wait));
        assert!(start.elapsed() < Duration::from_secs(5));
        promise.fulfil(1).unwrap();
        assert_eq!(future.result_timeout(Duration::ZERO).unwrap(), 1);
    }

    fn a_wait_that_times_out_loses_nothing() {
        let (promise, mut future) = Promise::new();
        assert!(future.result_timeout(Duration::from_millis(5)).unwrap_err().is_timed_out());
        let fulfiller = std::thread::spawn(move || promise.fulfil(7).unwrap());
        assert_eq!(future.result_timeout(Duration::MAX).unwrap(), 7);
        fulfiller.join().unwrap();
    }

    fn a_blocked_result_gets_a_value_and_a_cancellation_from_another_thread() {
        let (promise, future) = Promise::new();
        let waiter = std::thread::spawn(move || future.result());
        promise.fulfil(7).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), 7);

        let (_promise, future) = Promise::<u8>::new();
        let handle = future.handle();
        let waiter = std::thread::spawn(move || future.result());
        assert!(handle.cancel());
        assert!(waiter.join().unwrap().unwrap_err().is_cancelled());
    }

    fn concurrent_readers_of_a_finished_future_agree() {
        let (promise, future) = Promise::new();
        let shared = future.shared();
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || (shared.clone().result(), shared.outcome()))
            })
            .collect();
        promise.fulfil(7).unwrap();
        for reader in readers {
            let (result, outcome) = reader.join().unwrap();
            assert_eq!((result.unwrap(), outcome), (7, Some(Outcome::Succeeded)));
        }
    }

    fn each_clone_of_a_shared_future_has_an_error_of_its_own() {
        let (promise, future) = Promise::<u8>::new();
        let (first, second) = (future.shared(), ());
        let second = { let () = second; first.clone() };
        promise.fail(TaskError::failed("no luck")).unwrap();
        let (first, second) = (first.result().unwrap_err(), second.result().unwrap_err());
        assert_eq!(first.to_string(), second.to_string());
    }

    fn dropping_the_last_clone_is_dropping_the_future() {
        let (promise, future) = Promise::<u8>::new();
        let shared = future.cancel_on_drop().shared();
        let clone = shared.clone();
        drop(shared);
        assert!(!promise.is_cancelled());
        drop(clone);
        assert!(promise.is_cancelled());
    }

    fn awaiting_a_mutable_reference_is_cancel_safe() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (promise, mut future) = Promise::new();
            let limit = Duration::from_millis(5);
            assert!(tokio::time::timeout(limit, &mut future).await.is_err());
            promise.fulfil(7).unwrap();
            assert_eq!(future.await.unwrap(), 7);
        });
    }

    fn asking_again_after_the_result_was_taken_panics_with_a_clear_text() {
        let (promise, mut future) = Promise::new();
        promise.fulfil(7).unwrap();
        assert_eq!(future.try_result().unwrap().unwrap(), 7);
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.try_result()));
        let text = *again.unwrap_err().downcast::<&'static str>().unwrap();
        assert!(text.contains("after it had given its result"), "{text}");
        assert!(future.error().is_none());
    }

    fn a_shared_future_gives_its_result_in_a_callback_of_its_own_task() {
        let (promise, future) = Promise::new();
        let shared = future.shared();
        let clone = shared.clone();
        let (sender, receiver) = mpsc::channel();
        shared.on_done(move |_, _| sender.send((clone.is_done(), clone.result().unwrap())).unwrap());
        promise.fulfil(7).unwrap();
        assert_eq!(receiver.recv().unwrap(), (true, 7));
    }

    fn many_clones_are_told_while_one_of_them_decodes() {
        fn slowly(_: &[u8]) -> Result<u8, TaskError> {
            std::thread::sleep(Duration::from_millis(20));
            Ok(7)
        }
        for _ in 0..10 {
            let (promise, future) = Promise::new();
            let shared = future.shared();
            let clones: Vec<_> = (0..8)
                .map(|_| {
                    let mut shared = shared.clone();
                    std::thread::spawn(move || {
                        // Waits twice: the second time with what is left of the first.
                        let _ = shared.result_timeout(Duration::from_millis(1));
                        shared.result().unwrap()
                    })
                })
                .collect();
            promise.fulfil_encoded(Vec::new(), slowly).unwrap();
            assert!(clones.into_iter().all(|clone| clone.join().unwrap() == 7));
        }
    }

    fn a_second_wait_on_the_same_thread_is_woken() {
        let (jobs, queue) = mpsc::channel::<Promise<u32>>();
        let fulfiller = std::thread::spawn(move || {
            for promise in queue {
                promise.fulfil(7).unwrap();
            }
        });
        for _ in 0..20_000 {
            let (promise, mut future) = Promise::new();
            jobs.send(promise).unwrap();
            if future.result_timeout(Duration::ZERO).is_err() {
                assert_eq!(future.result().unwrap(), 7);
            }
        }
        drop(jobs);
        fulfiller.join().unwrap();
    }
}
