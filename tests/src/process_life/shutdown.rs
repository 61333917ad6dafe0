//! Shutting down a pool of processes, and what else may happen at that time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Clock, Executor, Outcome, ProcessPoolExecutor, Shutdown, TaskFuture, as_completed, wait,
};

use super::door::{Door, Visitor};
use super::system::{SOON, assert_ended};
use super::visit::pass;
use crate::harness::{Gate, eventually, tests};

/// A pool whose one worker is at the door, and what it runs.
fn busy(door: &Door) -> (ProcessPoolExecutor, TaskFuture<()>, Visitor) {
    let pool = ProcessPoolExecutor::new(1);
    let running = pool.submit(pass, door.name());
    let visitor = door.visitor();
    (pool, running, visitor)
}

fn ignore_term(door: String) {
    // SAFETY: it sets no handler.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    loop {
        pass(door.clone());
    }
}

tests! {
    fn shutdown_waits_for_all_that_was_taken_and_for_the_end_of_the_workers() {
        let pool = ProcessPoolExecutor::new(3);
        let pids: Vec<_> = (0..200).map(|_| pool.submit(std::process::id, ())).collect();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(pids.iter().all(TaskFuture::is_done));
        assert_eq!(pool.stats().workers(), 0);
        for pid in pids {
            let pid = pid.result().unwrap();
            assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap(), "{pid} is still there");
        }
        assert!(pool.submit(|| 1, ()).result().unwrap_err().is_rejected());
        pool.blocking_shutdown(Shutdown::new()).unwrap();
    }

    fn shutdown_without_waiting_returns_at_once_and_keeps_what_was_promised() {
        let door = Door::new();
        let (pool, running, visitor) = busy(&door);
        let pending: Vec<_> = (0..10_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
        pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
        assert!(pool.submit(|| 1, ()).result().unwrap_err().is_rejected());
        assert!(!running.is_done());
        visitor.let_in();
        running.result().unwrap();
        for (n, future) in (1..).zip(pending) {
            assert_eq!(future.result().unwrap(), n);
        }
    }

    fn a_pool_that_was_never_used_is_shut_down_at_once_in_every_way() {
        for how in [
            Shutdown::new(),
            Shutdown::new().wait(false),
            Shutdown::new().cancel_pending(true),
            Shutdown::new().deadline(Duration::ZERO),
        ] {
            ProcessPoolExecutor::new(2).blocking_shutdown(how).unwrap();
        }
        drop(ProcessPoolExecutor::new(2));
    }

    fn cancelling_what_is_pending_wakes_who_waits_for_it_and_lets_what_runs_finish() {
        let door = Door::new();
        let (pool, running, visitor) = busy(&door);
        let pending: Vec<_> = (0..20).map(|_| pool.submit(pass, door.name())).collect();
        let (mut first, mut second) = (pending, Vec::new());
        while first.len() > second.len() {
            second.extend(first.pop());
        }
        let one = std::thread::spawn(move || {
            let waited = wait(first).blocking_wait().unwrap();
            waited.done.into_iter().all(|future| future.is_cancelled())
        });
        let other = std::thread::spawn(move || {
            let mut done = as_completed(second);
            let mut are_cancelled = true;
            while let Some(future) = done.blocking_next().unwrap() {
                are_cancelled &= future.is_cancelled();
            }
            are_cancelled
        });
        let how = Shutdown::new().cancel_pending(true);
        let ending = pool.shutdown(how);
        assert!(one.join().unwrap() && other.join().unwrap());
        assert!(!ending.is_done() && !running.is_done());
        visitor.let_in();
        ending.result().unwrap();
        running.result().unwrap();
        assert!(door.is_quiet());
        assert_eq!(pool.stats().finished_with(Outcome::Cancelled), 20);
    }

    fn at_its_deadline_a_shutdown_ends_what_runs_even_if_that_ignores_sigterm() {
        let (limit, grace) = (Duration::from_millis(50), Duration::from_millis(100));
        let pool = ProcessPoolExecutor::builder().max_workers(2).kill_grace(grace).build().unwrap();
        let door = Door::new();
        let running = pool.submit(ignore_term, door.name());
        let stubborn = door.visitor();
        let meek = pool.submit(pass, door.name());
        let meek_visitor = door.visitor();
        let queued = pool.submit(pass, door.name());
        let begin = Instant::now();
        let error = pool.blocking_shutdown(Shutdown::new().deadline(limit)).unwrap_err();
        let took = begin.elapsed();
        assert_eq!(error.clock(), Some(Clock::Wait), "{error}");
        assert!(took >= limit + grace && took < limit + grace + SOON, "{took:?}");
        assert!(running.result().unwrap_err().is_aborted());
        assert!(meek.result().unwrap_err().is_aborted());
        assert!(queued.result().unwrap_err().is_cancelled());
        for visitor in [stubborn, meek_visitor] {
            assert!(!visitor.process().is_alive());
        }
        assert!(door.is_quiet());
    }

    fn dropping_a_pool_in_a_current_thread_runtime_returns_at_once_and_all_resolves() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let door = Door::new();
            let (pool, running, visitor) = busy(&door);
            let pending: Vec<_> = (0..10_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
            let begin = Instant::now();
            drop(pool);
            assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());
            assert!(!running.is_done());
            visitor.let_in();
            running.await.unwrap();
            for (n, future) in (1..).zip(pending) {
                assert_eq!(future.await.unwrap(), n);
            }
        });
    }

    fn submits_that_race_with_a_shutdown_are_run_or_refused_and_none_is_lost() {
        const SUBMITS: u64 = 10_000;
        for round in 0..3 {
            let pool = ProcessPoolExecutor::new(2);
            let (ran, refused) = (AtomicU64::new(0), AtomicU64::new(0));
            let gate = Gate::default();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        gate.pass();
                        let futures: Vec<_> = (0..SUBMITS).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
                        for (n, future) in (1..).zip(futures) {
                            match future.result() {
                                Ok(value) => {
                                    assert_eq!(value, n);
                                    ran.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(error) => {
                                    assert!(error.is_rejected(), "{error}");
                                    refused.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                    });
                }
                gate.wait_for(8);
                gate.open();
                while pool.stats().submitted() < round * SUBMITS {
                    std::hint::spin_loop();
                }
                pool.blocking_shutdown(Shutdown::new()).unwrap();
            });
            let stats = pool.stats();
            assert_eq!(ran.into_inner(), stats.finished());
            assert_eq!(refused.into_inner(), stats.rejected());
            assert_eq!(stats.submitted() + stats.rejected(), 8 * SUBMITS);
        }
    }

    fn a_pool_may_be_shut_down_while_its_first_worker_starts() {
        for round in 0..40_u32 {
            let pool = ProcessPoolExecutor::new(2);
            let future = pool.submit(u64::pow, (2, 10));
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(100) * round {
                std::hint::spin_loop();
            }
            match round % 4 {
                0 => pool.blocking_shutdown(Shutdown::new()).unwrap(),
                1 => drop(pool),
                2 => pool.kill_workers(),
                _ => pool.blocking_shutdown(Shutdown::new().cancel_pending(true)).unwrap(),
            }
            match future.result() {
                Ok(value) => assert_eq!(value, 1024),
                Err(error) => {
                    assert!(round % 4 > 1, "{error}");
                    assert!(error.is_cancelled() || error.is_aborted(), "{error}");
                }
            }
        }
    }

    fn callbacks_that_block_panic_submit_or_drop_the_pool_leave_other_futures_alone() {
        let pool = ProcessPoolExecutor::new(2);
        let gate = Gate::default();
        let blocked = {
            let gate = gate.clone();
            let future = pool.submit(|| (), ());
            future.on_done(move |_, _| gate.pass());
            future
        };
        gate.wait_for(1);
        blocked.result().unwrap();

        let panicking = pool.submit(|| (), ());
        panicking.on_done(|_, _| panic!("a callback that panics on purpose"));
        panicking.result().unwrap();

        let (submitted, is_submitted) = mpsc::channel();
        let submitting = pool.submit(|| (), ());
        let again = pool.clone();
        submitting.on_done(move |_, _| {
            submitted.send(again.submit(u64::pow, (2, 10))).unwrap();
        });
        assert_eq!(is_submitted.recv().unwrap().result().unwrap(), 1024);

        for n in 0..100_u64 {
            assert_eq!(pool.submit(u64::wrapping_add, (n, 1)).result().unwrap(), n + 1);
        }
        let dropping = pool.submit(|| (), ());
        let rest: Vec<_> = (0..20_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
        let (dropped, is_dropped) = mpsc::channel();
        dropping.on_done(move |_, _| {
            drop(pool);
            dropped.send(()).unwrap();
        });
        is_dropped.recv().unwrap();
        for (n, future) in (1..).zip(rest) {
            assert_eq!(future.result().unwrap(), n);
        }
        assert_eq!(gate.arrived(), 1);
        gate.open();
    }

    fn a_callback_that_waits_for_the_shutdown_of_its_pool_stops_nobody() {
        let pool = ProcessPoolExecutor::new(1);
        let (told, is_told) = mpsc::channel();
        let future = pool.submit(|| (), ());
        let inside = pool.clone();
        future.on_done(move |_, _| {
            told.send(inside.blocking_shutdown(Shutdown::new()).is_ok()).unwrap();
        });
        // That it is over, or an error; never a hang.
        let _ = is_told.recv().unwrap();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        eventually("no worker is left", || pool.stats().workers() == 0);
    }

    fn a_second_and_harder_shutdown_overtakes_the_first() {
        let door = Door::new();
        let (pool, running, visitor) = busy(&door);
        let gentle = pool.shutdown(Shutdown::new());
        assert!(!gentle.is_done());
        pool.kill_workers();
        assert!(running.result().unwrap_err().is_aborted());
        gentle.result().unwrap();
        assert_ended(&visitor.into_processes());
    }
}
