//! Shutdown, in every way: nothing stays pending, and nothing is left behind.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, Outcome, Shutdown, TaskError, TaskFuture, ThreadPoolExecutor};

use crate::harness::{
    Door, Gate, PathGate, Pool, busy, busy_pool, children, eventually, on_every_pool, tests,
    threads_of_ours,
};

on_every_pool!(
    shutdown_waits_for_fifty_sleeping_tasks_and_all_have_results,
    shutdown_can_be_awaited,
    cancelling_what_is_pending_lets_what_runs_finish,
    cancelling_without_waiting_returns_at_once,
    shutdown_without_waiting_keeps_what_was_promised,
    submit_cancel_and_shutdown_at_once,
    one_task_a_worker_a_failing_one_and_no_wait,
    dropping_the_pool_keeps_what_was_promised,
);

fn shutdown_waits_for_fifty_sleeping_tasks_and_all_have_results<S: Pool>() {
    let pool = S::with_workers(5);
    let sleep = || std::thread::sleep(Duration::from_millis(2));
    let futures: Vec<_> = (0..50).map(|_| pool.submit(sleep, ())).collect();
    pool.blocking_shutdown(Shutdown::new()).unwrap();
    assert!(futures.iter().all(TaskFuture::is_done));
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
}

fn shutdown_can_be_awaited<S: Pool>() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = S::with_workers(2);
        let future = pool.submit(|| 1, ());
        pool.shutdown(Shutdown::new()).await.unwrap();
        assert!(future.is_done());
        pool.shutdown(Shutdown::new()).await.unwrap();
        let refused = pool.blocking_shutdown(Shutdown::new());
        assert!(refused.is_ok(), "there is nothing to wait for any more");
    });
}

fn cancelling_what_is_pending_lets_what_runs_finish<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let running = S::stats(&pool).running();
    let pending: Vec<_> = (0..10).map(|_| pool.submit(|| 1, ())).collect();
    let opener = {
        let first = pending[0].handle();
        std::thread::spawn(move || {
            eventually("the pending are cancelled", || first.is_done());
            gate.open();
        })
    };
    pool.blocking_shutdown(Shutdown::new().cancel_pending(true))
        .unwrap();
    opener.join().unwrap();
    assert_eq!(running, 1);
    assert!(pending.iter().all(TaskFuture::is_cancelled));
    let stats = S::stats(&pool);
    assert_eq!(stats.finished_with(Outcome::Succeeded), 1);
    assert_eq!(
        (stats.queued(), stats.running(), stats.workers()),
        (0, 0, 0)
    );
}

fn cancelling_without_waiting_returns_at_once<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let pending: Vec<_> = (0..10).map(|_| pool.submit(|| 1, ())).collect();
    let how = Shutdown::new().wait(false).cancel_pending(true);
    pool.blocking_shutdown(how).unwrap();
    assert!(pending.iter().all(TaskFuture::is_cancelled));
    gate.open();
}

fn shutdown_without_waiting_keeps_what_was_promised<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let pending: Vec<_> = (0..10_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
    pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
    assert!(pool.submit(|| 1, ()).result().unwrap_err().is_rejected());
    gate.open();
    for (n, future) in (0..).zip(pending) {
        assert_eq!(future.result().unwrap(), n);
    }
}

fn submit_cancel_and_shutdown_at_once<S: Pool>() {
    for _ in 0..S::ROUNDS {
        let pool = S::with_workers(2);
        let futures: Vec<_> = (0..4_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
        for future in &futures {
            future.cancel();
        }
        pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
        for future in futures {
            assert!(matches!(future.result(), Ok(_) | Err(_)));
        }
    }
}

fn one_task_a_worker_a_failing_one_and_no_wait<S: Pool>() {
    for _ in 0..S::ROUNDS / 4 {
        let pool = S::with_workers(2);
        let gate = PathGate::new();
        let futures: Vec<_> = (0..2)
            .map(|n: u8| {
                let fail = |door: Door, n: u8| {
                    door.pass();
                    assert!(n == 0, "the second fails");
                };
                pool.submit(fail, (gate.door(), n))
            })
            .collect();
        gate.wait_for(2);
        pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
        gate.open();
        let results: Vec<Result<(), TaskError>> =
            futures.into_iter().map(TaskFuture::result).collect();
        assert!(results[0].is_ok());
        assert!(results[1].as_ref().is_err_and(TaskError::is_panicked));
    }
}

fn dropping_the_pool_keeps_what_was_promised<S: Pool>() {
    let (pool, gate) = busy::<S>();
    let clone = pool.clone();
    let pending: Vec<_> = (0..10_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
    drop(pool);
    let more = clone.submit(|| 99, ());
    drop(clone);
    gate.open();
    for (n, future) in (0..).zip(pending) {
        assert_eq!(future.result().unwrap(), n);
    }
    assert_eq!(more.result().unwrap(), 99);
    eventually("the threads and processes end", || {
        threads_of_ours().is_empty() && children().is_empty()
    });
}

tests! {
    fn nothing_is_left_of_the_workers_afterwards() {
        let pool = ThreadPoolExecutor::new(4);
        let gate = Gate::default();
        for _ in 0..4 {
            let gate = gate.clone();
            pool.spawn(move || gate.pass()).detach();
        }
        gate.wait_for(4);
        assert_eq!(threads_of_ours().len(), 4);
        gate.open();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        eventually("the threads end", || threads_of_ours().is_empty());
        assert_eq!(pool.stats().workers(), 0);
    }

    fn a_deadline_ends_the_wait_and_not_the_task() {
        let (pool, gate) = busy_pool();
        let start = Instant::now();
        let limit = Duration::from_millis(30);
        let error = pool.blocking_shutdown(Shutdown::new().deadline(limit)).unwrap_err();
        assert!(error.is_timed_out());
        assert!(start.elapsed() >= limit && start.elapsed() < Duration::from_secs(10));
        gate.open();
        let never = Shutdown::new().deadline(Duration::MAX);
        pool.blocking_shutdown(never).unwrap();
    }

    fn a_task_or_a_callback_that_waits_for_its_own_pool_gets_an_error() {
        let pool = ThreadPoolExecutor::new(2);
        let own = pool.clone();
        let from_task = pool.spawn(move || own.blocking_shutdown(Shutdown::new()));
        assert!(from_task.result().unwrap().unwrap_err().is_deadlock());

        let pool = ThreadPoolExecutor::new(2);
        let own = pool.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let gate = Gate::default();
        let inside = gate.clone();
        pool.spawn(move || inside.pass()).on_done(move |_, _| {
            sender.send(own.blocking_shutdown(Shutdown::new())).unwrap();
        });
        gate.open();
        assert!(receiver.recv().unwrap().unwrap_err().is_deadlock());
        // It has begun all the same.
        assert!(pool.submit(|| 1, ()).result().unwrap_err().is_rejected());
        pool.blocking_shutdown(Shutdown::new()).unwrap();
    }

    fn submits_that_race_with_a_shutdown_are_run_or_refused_and_none_is_lost() {
        for _ in 0..5 {
            let pool = ThreadPoolExecutor::new(2);
            let ran = Arc::new(AtomicUsize::new(0));
            let gate = Gate::default();
            let submitters: Vec<_> = (0..8)
                .map(|_| {
                    let (pool, ran, gate) = (pool.clone(), Arc::clone(&ran), gate.clone());
                    std::thread::spawn(move || {
                        gate.pass();
                        (0..10_000)
                            .map(|_| {
                                let ran = Arc::clone(&ran);
                                pool.spawn(move || ran.fetch_add(1, Ordering::SeqCst))
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            gate.wait_for(8);
            gate.open();
            pool.blocking_shutdown(Shutdown::new()).unwrap();
            let futures = submitters.into_iter().flat_map(|thread| thread.join().unwrap());
            let mut succeeded = 0;
            for future in futures {
                match future.result() {
                    Ok(_) => succeeded += 1,
                    Err(error) => assert!(error.is_rejected()),
                }
            }
            assert_eq!(ran.load(Ordering::SeqCst), succeeded);
            let stats = pool.stats();
            assert_eq!(stats.submitted() + stats.rejected(), 80_000);
            assert_eq!(stats.finished(), stats.submitted());
        }
    }

    fn a_process_that_ends_with_tasks_pending_neither_hangs_nor_complains() {
        for (way, code) in [("return", 0), ("exit", 7), ("drop", 0)] {
            let output = Command::new(env!("CARGO_BIN_EXE_exits-with-pending-tasks"))
                .arg(way)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(code), "{way}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{way}");
        }
    }

    fn a_wait_that_is_over_keeps_nothing_until_its_deadline() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
        };
        let later = Shutdown::new().deadline(Duration::from_secs(3_600));
        let pool = ThreadPoolExecutor::new(1);
        let run = |count| {
            for _ in 0..count {
                pool.blocking_shutdown(later).unwrap();
            }
        };
        run(10_000);
        let before = resident();
        run(100_000);
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes more after 100 000 shutdowns");
    }
}
