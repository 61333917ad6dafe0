//! Workers that a signal from outside has stopped.

use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, ProcessPoolBuilder, ProcessPoolExecutor, Shutdown, TaskOptions, WorkerExit,
    WorkerState,
};
use rustix::process::Signal;

use super::storm::Target;
use crate::harness::{Door, PathGate, eventually, pass, tests};

/// Longer than any test takes.
const EVER: Duration = Duration::from_secs(1_000);

fn pool_of(workers: usize, stopped_timeout: Duration) -> ProcessPoolExecutor {
    let builder: ProcessPoolBuilder = ProcessPoolExecutor::builder().max_workers(workers);
    builder.stopped_timeout(stopped_timeout).build().unwrap()
}

/// Stops a worker, and waits until each of its threads stands.
fn stop(pid: u32) -> Target {
    let target = Target::of(pid).expect("it lives");
    target.signal(Signal::STOP);
    let stands = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    eventually("it is stopped", || {
        std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .all(stands)
    });
    target
}

fn states(pool: &ProcessPoolExecutor) -> Vec<WorkerState> {
    pool.worker_stats()
        .iter()
        .map(|worker| worker.state())
        .collect()
}

/// Each worker is known to the pool, and idle. Gives the one that worked last.
fn warm(pool: &ProcessPoolExecutor, workers: usize) -> u32 {
    let gate = PathGate::new();
    let busy: Vec<_> = (0..workers)
        .map(|_| pool.submit(pass, gate.door()))
        .collect();
    gate.wait_for(workers);
    gate.open();
    assert!(busy.into_iter().all(|future| future.result().is_ok()));
    pool.submit(std::process::id, ()).result().unwrap()
}

fn come(door: Door) -> u32 {
    door.pass();
    std::process::id()
}

tests! {
    fn a_worker_that_stays_stopped_is_ended_and_its_loss_says_so() {
        let pool = pool_of(1, Duration::from_millis(300));
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        stop(gate.arrivals()[0]);
        let error = running.result().unwrap_err();
        assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(9)), "{error}");
        let message = error.message().unwrap();
        assert!(message.contains("signal 19") && message.contains("300ms"), "{message}");
        gate.open();
        assert!(pool.submit(come, gate.door()).result().is_ok());
    }

    fn what_a_stopped_worker_had_begun_is_run_again_where_it_may_be() {
        let pool = pool_of(1, Duration::from_millis(100));
        let gate = PathGate::new();
        let running = pool.with(TaskOptions::new().retries(1)).submit(come, gate.door());
        gate.wait_for(1);
        let first = gate.arrivals()[0];
        stop(first);
        gate.wait_for(2);
        gate.open();
        assert_ne!(running.result().unwrap(), first);
    }

    fn to_a_worker_that_goes_on_in_time_nothing_has_happened() {
        let pool = pool_of(1, EVER);
        let gate = PathGate::new();
        let running = pool.submit(come, gate.door());
        gate.wait_for(1);
        let worker = stop(gate.arrivals()[0]);
        eventually("it is noticed", || states(&pool) == [WorkerState::Stopped]);
        worker.signal(Signal::CONT);
        gate.open();
        let pid = running.result().unwrap();
        // What it says is enough: nobody has to look.
        assert_eq!(states(&pool), [WorkerState::Idle]);
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
        assert_eq!(pool.stats().retried(), 0);
    }

    fn a_stopped_worker_gets_nothing_and_what_it_was_given_before_runs_elsewhere() {
        let pool = pool_of(2, EVER);
        let last = warm(&pool, 2);
        let target = stop(last);
        // It is given the first of these, being the one that was busy last.
        for _ in 0..100 {
            assert_ne!(pool.submit(std::process::id, ()).result().unwrap(), last);
        }
        assert!(states(&pool).contains(&WorkerState::Stopped));
        target.signal(Signal::CONT);
        eventually("it is known to go on", || states(&pool) == [WorkerState::Idle; 2]);
    }

    fn a_worker_that_is_stopped_when_idle_costs_no_task() {
        let pool = pool_of(1, Duration::from_millis(100));
        let first = warm(&pool, 1);
        stop(first);
        // It is taken back, and waits for the successor.
        assert_ne!(pool.submit(std::process::id, ()).result().unwrap(), first);
        assert_eq!(pool.stats().retried(), 0);
    }

    fn a_worker_that_is_stopped_while_it_starts_is_replaced() {
        let started = PathGate::new();
        let builder = ProcessPoolExecutor::builder().max_workers(1).stopped_timeout(Duration::from_millis(100));
        let stop_the_first = |door: Door| {
            door.arrive();
            if door.arrivals().len() == 1 {
                // SAFETY: it takes a number.
                let _ = unsafe { libc::raise(libc::SIGSTOP) };
            }
        };
        let pool = builder.initializer(stop_the_first, started.door()).build().unwrap();
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        assert_eq!(started.arrived(), 2);
    }

    fn a_worker_that_is_slowed_down_by_stopping_it_again_and_again_is_not_ended() {
        let pool = pool_of(1, Duration::from_millis(1_500));
        let gate = PathGate::new();
        let work = |door: Door, limit: Duration| {
            door.arrive();
            let begin = Instant::now();
            while begin.elapsed() < limit {
                std::hint::spin_loop();
            }
        };
        let running = pool.submit(work, (gate.door(), Duration::from_secs(3)));
        gate.wait_for(1);
        let worker = Target::of(gate.arrivals()[0]).expect("it lives");
        while !running.is_done() {
            worker.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(95));
            worker.signal(Signal::CONT);
            std::thread::sleep(Duration::from_millis(5));
        }
        running.result().unwrap();
    }

    fn a_worker_that_stands_still_in_a_debugger_is_not_stopped() {
        let pool = pool_of(1, Duration::from_millis(100));
        let gate = PathGate::new();
        let running = pool.submit(come, gate.door());
        gate.wait_for(1);
        let pid = gate.arrivals()[0].cast_signed();
        // Each thread of it that could pass the gate.
        let threads: Vec<i32> = std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .map(|thread| thread.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        let null = std::ptr::null_mut::<libc::c_void>();
        for &thread in &threads {
            // SAFETY: neither request has addresses.
            unsafe {
                assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, thread, null, null), 0);
                assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, thread, null, null), 0);
            }
        }
        gate.open();
        // Two looks.
        std::thread::sleep(Duration::from_millis(2_200));
        assert!(!running.is_done());
        assert_eq!(states(&pool), [WorkerState::Busy]);
        for &thread in &threads {
            // SAFETY: as above. One that was asleep in the kernel has not stopped yet, maybe.
            while unsafe { libc::ptrace(libc::PTRACE_DETACH, thread, null, null) } != 0 {}
        }
        assert_eq!(running.result().unwrap(), pid.cast_unsigned());
    }

    fn a_shutdown_need_not_wait_longer_for_a_stopped_worker() {
        let pool = pool_of(1, Duration::from_millis(100));
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        stop(gate.arrivals()[0]);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(running.result().unwrap_err().is_worker_lost());
    }
}
