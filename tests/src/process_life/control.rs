//! A task can be taken back until it has begun, and ended afterwards; nothing else is touched.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use concurrent_futures::{
    AbortOutcome, Clock, Executor, Outcome, ProcessPoolExecutor, Shutdown, TaskError, TaskOptions,
};
use rustix::process::Signal;

use super::door::{Door, Visitor};
use super::system::{Process, SOON, assert_ended};
use super::visit::{knock, pass, pass_with};
use crate::harness::{eventually, tests};

/// A pool whose workers have SIGTERM as their only end: nothing in it waits for the KILL after it.
fn patient_pool(workers: usize) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().max_workers(workers);
    builder
        .kill_grace(Duration::from_secs(1_000))
        .build()
        .unwrap()
}

/// Tasks have been short so far, so that several are handed over to a worker at a time.
fn used_to_short_tasks(pool: &ProcessPoolExecutor) {
    let short: Vec<_> = (0..500).map(|_| pool.submit(|| (), ())).collect();
    assert!(short.into_iter().all(|future| future.result().is_ok()));
}

/// Three generations of children, and grandchildren, and theirs.
fn have_family(door: String) {
    let script = "sh -c 'sh -c \"sleep 1000 & echo \\$!; wait\" & echo $!; wait' & echo $!; wait";
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut family = vec![child.id()];
    family.extend(
        lines
            .take(3)
            .map(|line| line.unwrap().parse::<u32>().unwrap()),
    );
    pass_with(&door, &family);
    let _ = child.wait();
}

fn ignore_term(door: String) {
    // SAFETY: it sets no handler.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    loop {
        pass(door.clone());
    }
}

fn kind_of_limit(error: &TaskError) -> Option<Clock> {
    assert!(error.is_timed_out(), "{error}");
    error.clock()
}

tests! {
    fn a_cancelled_task_that_lies_ready_behind_a_long_one_never_runs() {
        let pool = patient_pool(1);
        used_to_short_tasks(&pool);
        let (first, second) = (Door::new(), Door::new());
        let running = pool.submit(pass, first.name());
        let behind: Vec<_> = (0..20).map(|_| pool.submit(pass, second.name())).collect();
        let visitor = first.visitor();
        for future in &behind {
            assert!(future.cancel());
            assert!(future.is_cancelled());
        }
        assert!(!running.cancel(), "it has begun");
        visitor.let_in();
        running.result().unwrap();
        for future in behind {
            assert!(future.result().unwrap_err().is_cancelled());
        }
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(second.is_quiet());
        assert_eq!(pool.stats().finished_with(Outcome::Cancelled), 20);
    }

    fn an_aborted_task_that_has_not_begun_is_cancelled_and_costs_no_worker() {
        let pool = patient_pool(1);
        used_to_short_tasks(&pool);
        let (first, second) = (Door::new(), Door::new());
        let running = pool.submit(pass, first.name());
        let behind = pool.submit(pass, second.name());
        let visitor = first.visitor();
        assert_eq!(behind.abort(), AbortOutcome::Cancelled);
        assert!(behind.result().unwrap_err().is_cancelled());
        visitor.let_in();
        running.result().unwrap();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(second.is_quiet());
    }

    fn aborting_a_task_ends_its_worker_with_all_its_descendants_and_no_other() {
        let pool = patient_pool(2);
        let (family_door, door) = (Door::new(), Door::new());
        let other = pool.submit(pass, door.name());
        let visitor = door.visitor();
        let aborted = pool.submit(have_family, family_door.name());
        let family = family_door.visitor().into_processes();
        assert_eq!(family.len(), 5);
        assert!(family.iter().all(Process::is_alive));
        assert_eq!(aborted.abort(), AbortOutcome::Stopped);
        // Unless it is over by now.
        assert_ne!(aborted.abort(), AbortOutcome::Requested);
        assert!(aborted.result().unwrap_err().is_aborted());
        assert_ended(&family);

        assert!(visitor.process().is_alive() && !other.is_done());
        let pid = visitor.pid();
        visitor.let_in();
        other.result().unwrap();
        let workers: Vec<u32> = pool.worker_stats().iter().map(|worker| worker.pid()).collect();
        assert!(workers.contains(&pid));
    }

    fn what_lies_behind_an_aborted_task_runs_elsewhere() {
        let pool = patient_pool(1);
        used_to_short_tasks(&pool);
        let door = Door::new();
        let aborted = pool.submit(pass, door.name());
        let behind: Vec<_> = (0..50_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
        let _visitor = door.visitor();
        assert_eq!(aborted.abort(), AbortOutcome::Stopped);
        assert!(aborted.result().unwrap_err().is_aborted());
        for (n, future) in (1..).zip(behind) {
            assert_eq!(future.result().unwrap(), n);
        }
        assert_eq!(pool.stats().finished_with(Outcome::Aborted), 1);
    }

    fn a_task_whose_children_multiply_is_ended_with_all_of_them() {
        let pool = patient_pool(1);
        for _ in 0..5 {
            let door = Door::new();
            let multiply = |door: String| {
                // Each of them holds the other end of what the test reads from.
                let stream = std::os::fd::OwnedFd::from(knock(&door, &[]));
                let script = "while :; do sleep 1000 & done";
                let mut shell = Command::new("/bin/sh").args(["-c", script]).stdout(stream).spawn().unwrap();
                let _ = shell.wait();
            };
            let running = pool.submit(multiply, door.name());
            let visitor = door.visitor();
            // In the shell's own loop, which has begun.
            eventually("the children have children", || visitor.process().descendants() > 10);
            running.abort();
            assert!(running.result().unwrap_err().is_aborted());
            visitor.assert_let_go();
        }
    }

    fn a_task_that_ignores_sigterm_is_killed_after_the_grace() {
        let grace = Duration::from_millis(100);
        let pool = ProcessPoolExecutor::builder().max_workers(1).kill_grace(grace).build().unwrap();
        let door = Door::new();
        let running = pool.submit(ignore_term, door.name());
        let worker = door.visitor().into_processes();
        let begin = Instant::now();
        assert_eq!(running.abort(), AbortOutcome::Stopped);
        assert!(running.result().unwrap_err().is_aborted());
        let took = begin.elapsed();
        assert!(took >= grace && took < grace + SOON, "{took:?}");
        assert_ended(&worker);
    }

    fn a_task_may_tidy_up_when_it_is_aborted() {
        let pool = patient_pool(1);
        let (door, last_words) = (Door::new(), Door::new());
        let tidy_up = |(door, last_words): (String, String)| {
            static LAST_WORDS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
            extern "C" fn note(_signal: libc::c_int) {
                // More than a handler may do, but the thread that it interrupts has no lock.
                pass(LAST_WORDS.get().unwrap().clone());
                // SAFETY: it takes a number.
                unsafe { libc::_exit(0) };
            }
            LAST_WORDS.set(last_words).unwrap();
            // SAFETY: the handler does not return.
            unsafe { libc::signal(libc::SIGTERM, note as *const () as libc::sighandler_t) };
            pass(door);
        };
        let running = pool.submit_fn(tidy_up, (door.name(), last_words.name()));
        let _visitor = door.visitor();
        running.abort();
        last_words.visitor().let_in();
        assert!(running.result().unwrap_err().is_aborted());
    }

    fn a_stopped_worker_is_ended_all_the_same() {
        let pool = patient_pool(1);
        let door = Door::new();
        let running = pool.submit(pass, door.name());
        let visitor = door.visitor();
        visitor.process().signal(Signal::STOP);
        eventually("it is stopped", || visitor.process().is_asleep());
        assert_eq!(running.abort(), AbortOutcome::Stopped);
        assert!(running.result().unwrap_err().is_aborted());
        assert_ended(&visitor.into_processes());
    }

    fn an_abort_never_hits_the_next_task() {
        let pool = patient_pool(2);
        for _ in 0..100 {
            let futures: Vec<_> = (0..4_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
            // Whether it is over, running or waiting by now: only that one is meant.
            let answer = futures[1].abort();
            for (n, future) in (1..).zip(futures) {
                match future.result() {
                    Ok(value) => assert_eq!(value, n),
                    Err(error) => {
                        assert_eq!(n, 2, "{error}");
                        assert_ne!(answer, AbortOutcome::Finished);
                    }
                }
            }
        }
    }

    fn one_of_four_that_is_overdue_leaves_the_other_workers_and_their_tasks_alone() {
        let pool = patient_pool(4);
        let door = Door::new();
        let others: Vec<_> = (0..3).map(|_| pool.submit(pass, door.name())).collect();
        let visitors = door.visitors(3);
        let brief = TaskOptions::new().run_timeout(Duration::from_millis(30));
        let overdue = pool.with(brief).submit(std::thread::sleep, Duration::from_secs(1_000));
        assert_eq!(kind_of_limit(&overdue.result().unwrap_err()), Some(Clock::Run));
        assert!(visitors.iter().all(|visitor| visitor.process().is_alive()));
        let mut pids: Vec<u32> = visitors.iter().map(Visitor::pid).collect();
        drop(visitors);
        assert!(others.into_iter().all(|future| future.result().is_ok()));
        pids.sort_unstable();
        let mut left: Vec<u32> = pool.worker_stats().iter().map(|worker| worker.pid()).collect();
        left.retain(|pid| pids.contains(pid));
        left.sort_unstable();
        assert_eq!(left, pids);
    }

    fn the_time_in_the_queue_is_not_time_running_and_the_other_way_round() {
        let pool = patient_pool(1);
        let door = Door::new();
        let first = pool.submit(pass, door.name());
        let visitor = door.visitor();
        let limit = Duration::from_millis(50);
        let brief_run = pool.with(TaskOptions::new().run_timeout(limit)).submit(u64::pow, (2, 10));
        let brief_wait = pool.with(TaskOptions::new().queue_timeout(limit)).submit(u64::pow, (2, 10));
        // It resolves while the worker is busy, and so has the running time of the other.
        let error = brief_wait.result().unwrap_err();
        assert_eq!(kind_of_limit(&error), Some(Clock::Queue));
        assert!(!brief_run.is_done());
        visitor.let_in();
        first.result().unwrap();
        assert_eq!(brief_run.result().unwrap(), 1024);
        // A limit of the queue does not touch what has begun.
        let second = pool.with(TaskOptions::new().queue_timeout(limit)).submit(pass, door.name());
        let visitor = door.visitor();
        let begin = Instant::now();
        while begin.elapsed() < 2 * limit {
            std::thread::yield_now();
        }
        visitor.let_in();
        second.result().unwrap();
    }

    fn times_beyond_the_clock_never_come() {
        let most = Duration::MAX;
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .start_timeout(most)
            .kill_grace(most)
            .idle_timeout(most)
            .build()
            .unwrap();
        for limit in [most, Duration::from_millis(u64::MAX), Duration::from_nanos(u64::MAX)] {
            let options = TaskOptions::new().run_timeout(limit).queue_timeout(limit);
            let mut future = pool.with(options).submit(u64::pow, (2, 10));
            assert_eq!(future.result_timeout(limit).unwrap(), 1024);
        }
        let door = Door::new();
        let options = TaskOptions::new().run_timeout(most);
        let running = pool.with(options).submit(pass, door.name());
        let _visitor = door.visitor();
        running.abort();
        assert!(running.result().unwrap_err().is_aborted());
        pool.blocking_shutdown(Shutdown::new().deadline(most)).unwrap();
    }

    fn times_of_zero_have_passed() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .kill_grace(Duration::ZERO)
            .idle_timeout(Duration::ZERO)
            .build()
            .unwrap();
        for _ in 0..5 {
            assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
            eventually("no worker is kept", || pool.stats().workers() == 0);
        }
        let door = Door::new();
        let running = pool.submit(ignore_term, door.name());
        let worker = door.visitor().into_processes();
        running.abort();
        assert!(running.result().unwrap_err().is_aborted());
        assert_ended(&worker);
        let options = TaskOptions::new().run_timeout(Duration::ZERO);
        let overdue = pool.with(options).submit(pass, door.name());
        assert_eq!(kind_of_limit(&overdue.result().unwrap_err()), Some(Clock::Run));
    }

    fn terminating_and_killing_the_workers_ends_them_with_their_descendants() {
        for is_killed in [false, true] {
            let pool = patient_pool(2);
            let door = Door::new();
            let families = [(); 2].map(|()| pool.submit(have_family, door.name()));
            let queued = pool.submit(u64::pow, (2, 10));
            let visitors = door.visitors(2);
            if is_killed {
                pool.kill_workers();
            } else {
                pool.terminate_workers();
            }
            for family in families {
                assert!(family.result().unwrap_err().is_aborted());
            }
            assert!(queued.result().unwrap_err().is_cancelled());
            for visitor in visitors {
                assert_ended(&visitor.into_processes());
            }
            pool.blocking_shutdown(Shutdown::new()).unwrap();
        }
    }

    fn dropping_a_future_that_is_to_abort_ends_its_task() {
        let pool = patient_pool(1);
        let door = Door::new();
        let running = pool.submit(pass, door.name()).abort_on_drop();
        let visitor = door.visitor();
        drop(running);
        assert_ended(&visitor.into_processes());
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
}
