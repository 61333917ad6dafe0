//! The death of a worker costs what it was running, says how it came, and nothing else.

use std::io::BufRead;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Ran, Shutdown, TaskError, TaskFuture, WorkerExit,
};
use rustix::process::Signal;

use super::door::Door;
use super::programs::{HARDSHIP, PARENT, program, said, without_constructor};
use super::system::assert_ended;
use super::visit::{pass, pass_with};
use crate::harness::{eventually, tests};

fn park() {
    loop {
        std::thread::park();
    }
}

fn lost(future: TaskFuture<()>) -> TaskError {
    let error = future.result().unwrap_err();
    assert!(error.is_worker_lost(), "{error}");
    error
}

fn works(pool: &ProcessPoolExecutor) {
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

fn recurse(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    page[7] + recurse(std::hint::black_box(depth + 1)) + page[9]
}

fn abort_at_last() -> u32 {
    std::process::abort()
}

/// Every copy of the channel is replaced by something else.
fn replace_sockets() {
    for number in 3..4096 {
        let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
        if target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            // SAFETY: it is done to a process that is meant to be broken.
            unsafe { libc::dup2(0, number) };
        }
    }
}

fn close_all() {
    for number in 0..=1024 {
        // SAFETY: it is done to a process that is meant to be broken.
        drop(unsafe { OwnedFd::from_raw_fd_if_open(number) });
    }
}

/// Taking a descriptor by its number, if there is one.
trait IfOpen {
    /// # Safety
    /// Whoever has it does not use it any more.
    unsafe fn from_raw_fd_if_open(number: i32) -> Option<OwnedFd>;
}

impl IfOpen for OwnedFd {
    unsafe fn from_raw_fd_if_open(number: i32) -> Option<OwnedFd> {
        // SAFETY: it only asks; the caller has promised the rest.
        unsafe { (libc::fcntl(number, libc::F_GETFD) != -1).then(|| Self::from_raw_fd(number)) }
    }
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
            super::system::Process::of(before).kill();
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
        let door = Door::new();
        let mut parent = program(PARENT, "result-and-death").arg(door.name()).spawn().unwrap();
        let owner = super::system::Process::of(parent.id());
        let visitor = door.visitor();
        owner.signal(Signal::STOP);
        eventually("the pool is stopped", || owner.is_asleep());
        let worker = super::system::Process::of(visitor.pid());
        visitor.let_in();
        // The result is written, and nothing is left to do.
        eventually("the worker sleeps", || worker.is_asleep());
        worker.kill();
        assert!(worker.ends_within(super::system::SOON));
        owner.signal(Signal::CONT);
        assert!(parent.wait().unwrap().success());
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
        let error = lost(pool.submit(|| drop(abort_at_last()), ()));
        assert_eq!(code(error), WorkerExit::Signal(libc::SIGABRT));
        // SAFETY: it is done to a process that is meant to be broken.
        let error = lost(pool.submit(|| unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }, ()));
        assert_eq!(code(error), WorkerExit::Signal(libc::SIGSEGV));
        // SAFETY: it takes numbers.
        let error = lost(pool.submit(|| drop(unsafe { libc::raise(libc::SIGTERM) }), ()));
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
        let error = lost(pool.submit(|| drop(abort_at_last()), ()));
        assert_eq!(error.message(), None, "the note is that of another worker");
    }

    fn the_text_of_a_panic_is_told_where_panics_abort() {
        let text = said(&mut program(without_constructor(), "panic"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Some(Signal(6))");
        assert!(lines[1].contains("too much to bear"), "{text}");
        assert!(lines[1].contains("without_constructor.rs"), "{text}");
        assert_eq!(lines[2..], ["1024"]);
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

    fn a_task_that_closes_every_descriptor_is_lost_and_the_parent_is_untouched() {
        let pool = ProcessPoolExecutor::new(1);
        let close_and_stay = || {
            close_all();
            park();
        };
        for _ in 0..3 {
            let error = lost(pool.submit(close_and_stay, ()));
            assert!(error.message().unwrap().contains("channel"), "{error}");
            works(&pool);
        }
        // Who returns at once may be faster than the discovery.
        for _ in 0..10 {
            match pool.submit(close_all, ()).result() {
                Ok(()) => {}
                Err(error) => assert!(error.is_worker_lost(), "{error}"),
            }
            works(&pool);
        }
    }

    fn a_task_that_puts_something_else_over_the_channel_is_lost() {
        let pool = ProcessPoolExecutor::new(1);
        let replace_and_stay = || {
            replace_sockets();
            park();
        };
        let error = lost(pool.submit(replace_and_stay, ()));
        assert!(error.message().unwrap().contains("channel"), "{error}");
        works(&pool);
    }

    fn a_stopped_worker_keeps_its_task_until_it_goes_on() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        let visit = pool.submit(pass, door.name());
        let visitor = door.visitor();
        let worker = super::system::Process::of(visitor.pid());
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
        assert!(copy.ends_within(super::system::SOON));
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

    fn where_sigchld_is_ignored_the_status_is_unknown_and_all_else_works() {
        said(&mut program(HARDSHIP, "sigchld-ignored"));
    }

    fn a_foreign_wait_for_any_child_costs_only_the_status() {
        said(&mut program(HARDSHIP, "foreign-wait"));
    }

    fn a_worker_that_no_descriptor_is_left_for_is_an_error_and_later_there_is_one() {
        said(&mut program(HARDSHIP, "few-descriptors"));
    }

    fn where_no_more_processes_may_be_started_the_others_do_the_work() {
        said(&mut program(HARDSHIP, "few-processes"));
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
