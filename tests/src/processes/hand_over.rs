//! Tasks that lie ready at a worker, are given back, or are given up: none is forgotten, none runs for
//! nobody.

use std::fs;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, ProcessPoolExecutor, Shutdown, TaskOptions};

use crate::harness::{Door, PathGate, eventually, pass, tests};

/// Enough of nothing that the pool lays several tasks ready at a worker afterwards.
fn make_quick(pool: &ProcessPoolExecutor) {
    let quick: Vec<_> = (0..200).map(|_| pool.submit(|| (), ())).collect();
    for future in quick {
        future.result().unwrap();
    }
}

fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

/// Processor time of this process and all its threads, in ticks of ten milliseconds.
fn processor_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn pass_and_count((door, counted): (Door, Door)) {
    counted.arrive();
    door.pass();
}

tests! {
    fn a_worker_whose_ring_is_full_of_cancelled_tasks_gets_the_next_one() {
        let pool = ProcessPoolExecutor::new(1);
        make_quick(&pool);
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        // Together they are more than the ring holds.
        let behind: Vec<_> = (0..20).map(|_| pool.submit(length, vec![7; 40_000])).collect();
        gate.wait_for(1);
        for future in &behind {
            assert!(future.cancel());
        }
        let next = pool.submit(length, vec![7; 40_000]);
        gate.open();
        running.result().unwrap();
        assert_eq!(next.result().unwrap(), 40_000);
    }

    fn a_worker_that_was_given_too_much_and_nothing_of_it_runs_gets_the_next_one() {
        let pool = ProcessPoolExecutor::new(1);
        make_quick(&pool);
        for _ in 0..8 {
            let all: Vec<_> = (0..20).map(|_| pool.submit(length, vec![7; 40_000])).collect();
            for future in &all {
                future.cancel();
            }
            assert_eq!(pool.submit(length, vec![7; 40_000]).result().unwrap(), 40_000);
        }
    }

    fn ending_the_workers_ends_a_running_map_and_starts_nothing_for_the_rest() {
        for end in [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers] {
            let pool = ProcessPoolExecutor::new(1);
            let (gate, counted) = (PathGate::new(), PathGate::new());
            let items = vec![(gate.door(), counted.door()); 10];
            let results = pool.mapping().window(20).chunk_size(10).map(pass_and_count, items);
            gate.wait_for(1);
            end(&pool);
            let results: Vec<_> = results.into_iter().collect();
            assert_eq!(results.len(), 10);
            assert!(results[0].as_ref().unwrap_err().is_aborted(), "{results:?}");
            assert!(results[1..].iter().all(|result| result.as_ref().unwrap_err().is_cancelled()), "{results:?}");
            pool.blocking_shutdown(Shutdown::new()).unwrap();
            assert_eq!(counted.arrived(), 1);
        }
    }

    fn what_waits_behind_a_task_that_is_stopped_need_not_wait_for_its_end() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .kill_grace(Duration::from_secs(3_600))
            .build()
            .unwrap();
        make_quick(&pool);
        let gate = PathGate::new();
        let stubborn = |door: Door| {
            // SAFETY: no handler is installed that could do harm.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            door.pass();
        };
        let stopped = pool.submit(stubborn, gate.door());
        let other_gate = PathGate::new();
        let other = pool.submit(pass, other_gate.door());
        gate.wait_for(1);
        other_gate.wait_for(1);
        // They lie ready at both workers, since both were quick.
        let behind: Vec<_> = (0..20).map(|_| pool.submit(|| 1, ())).collect();
        assert_eq!(stopped.abort(), concurrent_futures::AbortOutcome::Stopped);
        other_gate.open();
        other.result().unwrap();
        for mut future in behind {
            assert_eq!(future.result_timeout(Duration::from_secs(20)).unwrap(), 1);
        }
        assert!(!stopped.is_done());
        pool.kill_workers();
        assert!(stopped.result().unwrap_err().is_aborted());
    }

    fn many_large_arguments_that_wait_leave_descriptors_to_others() {
        let pool = ProcessPoolExecutor::new(1);
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let waiting: Vec<_> = (0..300).map(|_| pool.submit(length, vec![7; 200_000])).collect();
        assert!(open() - before < 100, "{} more", open() - before);
        gate.open();
        running.result().unwrap();
        for future in waiting {
            assert_eq!(future.result().unwrap(), 200_000);
        }
    }

    fn a_pool_that_is_ended_while_a_worker_starts_does_not_wait_for_it() {
        for end in [ProcessPoolExecutor::terminate_workers, ProcessPoolExecutor::kill_workers] {
            for pause in [0, 100, 500, 1_000, 2_000] {
                let pool = ProcessPoolExecutor::builder()
                    .max_workers(1)
                    .initializer(std::thread::sleep, Duration::from_secs(3_600))
                    .build()
                    .unwrap();
                let future = pool.submit(|| 1, ());
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(pause) {}
                end(&pool);
                assert!(future.result().unwrap_err().is_cancelled());
                pool.blocking_shutdown(Shutdown::new()).unwrap();
                assert!(start.elapsed() < Duration::from_secs(10));
            }
        }
    }

    fn a_time_of_zero_to_be_idle_costs_no_processor_time() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .idle_timeout(Duration::ZERO)
            .build()
            .unwrap();
        let gate = PathGate::new();
        let running = pool.submit(pass, gate.door());
        gate.wait_for(1);
        let before = processor_ticks();
        std::thread::sleep(Duration::from_millis(500));
        assert!(processor_ticks() - before < 20, "{} ticks", processor_ticks() - before);
        gate.open();
        running.result().unwrap();
        eventually("the worker leaves", || pool.worker_stats().is_empty());
    }

    fn a_limit_that_is_over_at_once_is_noticed_each_time() {
        let pool = ProcessPoolExecutor::new(2);
        let brief = TaskOptions::new().run_timeout(Duration::from_micros(1));
        for _ in 0..20 {
            let future = pool.with(brief.clone()).submit(std::thread::sleep, Duration::from_secs(3_600));
            assert!(future.result().unwrap_err().is_timed_out());
        }
    }
}
