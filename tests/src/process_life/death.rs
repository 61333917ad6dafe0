//! The death of a worker costs what it was running, says how it came, and nothing else.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Ran, Shutdown, TaskError, TaskFuture, TaskOptions, WorkerExit,
    WorkerState,
};
use rustix::process::Signal;

use super::door::Door;
use super::programs::{PARENT, program, said_with};
use super::system::{Process, SOON, assert_ended};
use super::visit::{pass, pass_with};
use crate::harness::{eventually, tests};

fn lost(future: TaskFuture<()>) -> TaskError {
    let error = future.result().unwrap_err();
    assert!(error.is_worker_lost(), "{error}");
    error
}

fn works(pool: &ProcessPoolExecutor) {
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

/// Kills the workers that there are; how many.
fn kill_workers_of(pool: &ProcessPoolExecutor) -> usize {
    let workers = pool.worker_stats();
    let workers = workers.iter().map(|worker| Process::of(worker.pid()));
    workers.filter(Process::kill_if_ours).count()
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    page[7] + recurse(std::hint::black_box(depth + 1)) + page[9]
}

fn abort_at_last() {
    std::process::abort()
}

fn become_another(program: String, argument: String) {
    use std::os::unix::process::CommandExt;
    let error = Command::new(program).arg(argument).exec();
    panic!("{error}");
}

tests! {
    fn an_idle_worker_that_is_killed_costs_nothing() {
        let pool = ProcessPoolExecutor::new(1);
        let mut before = pool.submit(std::process::id, ()).result().unwrap();
        for _ in 0..20 {
            Process::of(before).kill();
            let after = pool.submit(std::process::id, ()).result().unwrap();
            assert_ne!(before, after);
            before = after;
        }
    }

    fn a_worker_that_is_killed_with_fifty_tasks_behind_it_costs_the_one_that_ran() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        // Short tasks first, so that others are handed over behind the one that runs.
        for future in (0..200_u64).map(|_| pool.submit(|| (), ())).collect::<Vec<_>>() {
            future.result().unwrap();
        }
        let running = pool.submit(pass, door.name());
        let behind: Vec<_> = (0..50_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
        let visitor = door.visitor();
        visitor.process().kill();
        let error = lost(running);
        assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(libc::SIGKILL)));
        assert_eq!(error.worker_pid(), Some(visitor.pid()));
        assert_eq!(error.ran(), Ran::Maybe);
        assert!(error.to_string().contains("SIGKILL"), "{error}");
        for (n, future) in (1..).zip(behind) {
            assert_eq!(future.result().unwrap(), n);
        }
    }

    fn all_workers_killed_at_once_cost_what_they_ran_and_are_replaced() {
        let pool = ProcessPoolExecutor::new(4);
        let door = Door::new();
        let running: Vec<_> = (0..4).map(|_| pool.submit(pass, door.name())).collect();
        let visitors = door.visitors(4);
        let queued: Vec<_> = (0..1_000_u64).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
        for visitor in &visitors {
            visitor.process().kill();
        }
        let mut pids: Vec<_> = running.into_iter().map(|future| lost(future).worker_pid()).collect();
        pids.sort_unstable();
        let mut expected: Vec<_> = visitors.iter().map(|visitor| Some(visitor.pid())).collect();
        expected.sort_unstable();
        assert_eq!(pids, expected);
        for (n, future) in (1..).zip(queued) {
            assert_eq!(future.result().unwrap(), n);
        }
        let again: Vec<_> = (0..4).map(|_| pool.submit(pass, door.name())).collect();
        drop(door.visitors(4));
        assert!(again.into_iter().all(|future| future.result().is_ok()));
        assert_eq!(pool.stats().workers(), 4);
    }

    fn a_result_counts_although_the_worker_died_before_anybody_took_it() {
        // The pool is stopped in the meantime, so that it sees the death and the result together.
        // The worker is one that has worked before, or one that the pool has hardly met.
        for situation in ["result-and-death", "first-result-and-death"].repeat(5) {
            let door = Door::new();
            let parent = program(PARENT, situation).arg(door.name()).spawn().unwrap();
            let owner = Process::of(parent.id());
            let visitor = door.visitor();
            owner.signal(Signal::STOP);
            eventually("the pool is stopped", || owner.is_asleep());
            let worker = Process::of(visitor.pid());
            visitor.let_in();
            // The result is written, and nothing is left to do.
            eventually("the worker sleeps", || worker.is_asleep());
            worker.kill();
            assert!(worker.ends_within(SOON));
            owner.signal(Signal::CONT);
            let output = parent.wait_with_output().unwrap();
            said_with(&output, |status| status.success());
        }
    }

    fn the_ways_to_die_are_told_apart() {
        let pool = ProcessPoolExecutor::new(1);
        let exit = |code: i32| std::process::exit(code);
        let code = |error: TaskError| error.worker_exit().unwrap();
        for expected in [0, 7, 255] {
            let error = lost(pool.submit(exit, expected));
            assert!(error.to_string().contains(&format!("code {expected}")), "{error}");
            assert_eq!(code(error), WorkerExit::Code(expected));
        }
        let error = lost(pool.submit(abort_at_last, ()));
        assert_eq!(code(error), WorkerExit::Signal(libc::SIGABRT));
        // SAFETY: it is done to a process that is meant to be broken.
        let error = lost(pool.submit(|| unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }, ()));
        assert_eq!(code(error), WorkerExit::Signal(libc::SIGSEGV));
        // SAFETY: it takes numbers.
        let error = lost(pool.submit(|| { let _ = unsafe { libc::raise(libc::SIGTERM) }; }, ()));
        assert_eq!(code(error), WorkerExit::Signal(libc::SIGTERM));
        works(&pool);
    }

    fn a_stack_overflow_is_told_and_costs_one_task() {
        let pool = ProcessPoolExecutor::new(1);
        let error = pool.submit(recurse, 0_u64).result().unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        assert!(error.message().unwrap().contains("stack overflow"), "{error}");
        assert!(matches!(error.worker_exit(), Some(WorkerExit::Signal(_))));
        works(&pool);
        let error = lost(pool.submit(abort_at_last, ()));
        assert_eq!(error.message(), None, "the note is that of another worker");
    }

    fn a_task_that_becomes_another_program_is_lost_whether_that_ends_or_not() {
        let pool = ProcessPoolExecutor::new(1);
        let error = lost(pool.submit(become_another, ("/bin/true".to_owned(), String::new())));
        assert_eq!(error.worker_exit(), Some(WorkerExit::Code(0)));
        let error = lost(pool.submit(become_another, ("/bin/sleep".to_owned(), "1000".to_owned())));
        assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(libc::SIGKILL)));
        assert!(error.message().unwrap().contains("channel"), "{error}");
        works(&pool);
    }

    fn a_stopped_worker_keeps_its_task_until_it_goes_on() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        let visit = pool.submit(pass, door.name());
        let visitor = door.visitor();
        let worker = Process::of(visitor.pid());
        worker.signal(Signal::STOP);
        eventually("it is stopped", || worker.is_asleep());
        drop(visitor);
        assert!(!visit.is_done());
        worker.signal(Signal::CONT);
        visit.result().unwrap();
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), worker.pid());
    }

    fn what_a_dead_worker_has_started_dies_with_it() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        let start_and_wait = |door: String| {
            let children = [(); 3].map(|()| Command::new("/bin/sleep").arg("1000").spawn().unwrap().id());
            pass_with(&door, &children);
        };
        let running = pool.submit(start_and_wait, door.name());
        let visitor = door.visitor();
        visitor.process().kill();
        lost(running);
        assert_ended(&visitor.into_processes());
    }

    fn a_child_that_holds_every_open_file_does_not_hide_the_death_of_its_worker() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        let fork_and_die = |door: String| {
            // SAFETY: the copy only sleeps, in a session of its own, until it is killed.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                // SAFETY: these take no pointers.
                unsafe {
                    libc::setsid();
                    loop {
                        libc::pause();
                    }
                }
            }
            pass_with(&door, &[copy.unsigned_abs()]);
            std::process::exit(9);
        };
        let running = pool.submit(fork_and_die, door.name());
        let mut processes = door.visitor().into_processes();
        assert_eq!(lost(running).worker_exit(), Some(WorkerExit::Code(9)));
        works(&pool);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        // A session of its own is how a task's child outlives it, where it wants that.
        let copy = processes.pop().unwrap();
        copy.kill();
        assert!(copy.ends_within(SOON));
    }

    fn a_death_in_an_idle_worker_between_two_tasks_costs_neither() {
        let pool = ProcessPoolExecutor::new(1);
        let die_later = || {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_micros(200));
                std::process::exit(5);
            });
        };
        for round in 0..20_u64 {
            // Its result is there, or the thread was faster.
            if let Err(error) = pool.submit(die_later, ()).result() {
                assert!(error.is_worker_lost(), "{error}");
            }
            // The next may still meet the dying worker while it runs, which is told truly.
            match pool.submit(u64::wrapping_add, (round, 1)).result() {
                Ok(value) => assert_eq!(value, round + 1),
                Err(error) => assert_eq!(error.worker_exit(), Some(WorkerExit::Code(5))),
            }
        }
    }

    fn a_worker_that_is_killed_while_it_starts_costs_nothing_that_has_not_begun() {
        let mut lost = 0;
        for round in 0..40_u32 {
            let pool = ProcessPoolExecutor::new(1);
            let future = pool.submit(u64::pow, (2, 10));
            while pool.worker_stats().is_empty() {}
            let begin = std::time::Instant::now();
            while begin.elapsed() < Duration::from_micros(50) * round {
                std::hint::spin_loop();
            }
            kill_workers_of(&pool);
            match future.result() {
                Ok(value) => assert_eq!(value, 1024),
                // It had just begun.
                Err(error) => {
                    assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(libc::SIGKILL)));
                    lost += 1;
                }
            }
            works(&pool);
        }
        assert!(lost < 20, "{lost} of 40 tasks were lost before they began");
    }

    fn in_a_storm_of_kills_every_task_resolves_and_every_value_is_right() {
        let pool = ProcessPoolExecutor::new(3);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                let mut kills = 0;
                while !is_over.load(Ordering::Relaxed) {
                    kills += kill_workers_of(&pool);
                    std::thread::sleep(Duration::from_millis(20));
                }
                kills
            });
            let mut lost = 0;
            for n in 0..20_000_u64 {
                // As a caller does it whose tasks may run twice.
                let value = loop {
                    match pool.submit(u64::wrapping_add, (n, 1)).result() {
                        Ok(value) => break value,
                        Err(error) => {
                            assert!(error.is_worker_lost(), "{error}");
                            lost += 1;
                        }
                    }
                };
                assert_eq!(value, n + 1);
            }
            is_over.store(true, Ordering::Relaxed);
            let kills = killer.join().unwrap();
            assert!(kills > 0 && lost <= kills, "{lost} tasks lost by {kills} kills");
        });
    }

    fn workers_that_leave_after_few_tasks_and_are_killed_meanwhile_run_everything_and_are_never_too_many() {
        const TASKS: u64 = 400;
        for tasks_per_worker in 1..=3 {
            let builder = ProcessPoolExecutor::builder().max_workers(2);
            let pool = builder.max_tasks_per_worker(tasks_per_worker).build().unwrap();
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    let (mut kills, mut most) = (0, 0);
                    while !is_over.load(Ordering::Relaxed) {
                        let workers = pool.worker_stats();
                        most = most.max(workers.len());
                        // One that is killed before its first task counts as a start that failed.
                        let busy = workers.iter().find(|worker| worker.state() == WorkerState::Busy);
                        let is_killed = |pid| Process::of(pid).kill_if_ours();
                        kills += u64::from(busy.is_some_and(|worker| is_killed(worker.pid())));
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    (kills, most)
                });
                let again = pool.with(TaskOptions::new().retries(1_000));
                let work = |n: u64| {
                    std::thread::sleep(Duration::from_millis(2));
                    (n, std::process::id())
                };
                let futures: Vec<_> = (0..TASKS).map(|n| again.submit(work, n)).collect();
                let results: Vec<_> = futures.into_iter().map(TaskFuture::result).collect();
                is_over.store(true, Ordering::Relaxed);
                let (kills, most) = killer.join().unwrap();
                let mut tasks_of = BTreeMap::<u32, usize>::new();
                for (n, result) in (0..).zip(results) {
                    let (value, worker) = result.unwrap();
                    assert_eq!(value, n);
                    *tasks_of.entry(worker).or_default() += 1;
                }
                assert!(kills > 0 && most <= 2, "{kills} kills, {most} workers at a time");
                assert!(tasks_of.values().all(|count| *count <= tasks_per_worker), "{tasks_of:?}");
            });
        }
    }

    fn the_last_words_of_a_worker_are_written_before_it_leaves() {
        // In a program of its own, since the output of this one belongs to the test runner.
        let mut parent = program(PARENT, "prints").arg("nowhere").spawn().unwrap();
        let output = std::io::BufReader::new(parent.stdout.take().unwrap());
        let lines: Vec<_> = output.lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["no line end"]);
        assert!(parent.wait().unwrap().success());
    }
}
