//! The threads of a pool: how many, how they are called, and what happens when there are none.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::{BuildError, Executor, Rejection, ThreadPoolExecutor};

use crate::harness::{Gate, busy_pool, eventually, tests, threads_of_ours};

fn name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

tests! {
    fn zero_workers_are_refused_with_a_clear_error() {
        let error: BuildError = ThreadPoolExecutor::builder().max_workers(0).build().unwrap_err();
        assert_eq!(error.to_string(), "max_workers is 0: give at least 1");
        let panic = std::panic::catch_unwind(|| ThreadPoolExecutor::new(0)).unwrap_err();
        assert_eq!(*panic.downcast::<String>().unwrap(), error.to_string());
    }

    fn options_that_contradict_each_other_are_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let builder = || ThreadPoolExecutor::builder().runtime(runtime.handle().clone());
        for builder in [
            builder().thread_name_prefix("x"),
            builder().initializer(|| ()),
            builder().stack_size(1 << 20),
            builder().keep_alive(Duration::from_secs(1)),
        ] {
            assert!(builder.build().unwrap_err().to_string().contains("runtime"));
        }
        let nul = ThreadPoolExecutor::builder().thread_name_prefix("a\0b").build();
        assert!(nul.unwrap_err().to_string().contains("NUL"));
    }

    fn the_default_number_of_workers_is_that_of_python() {
        let pool = ThreadPoolExecutor::builder().build().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap();
        let bits: u32 = mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum();
        // A quota of the control group can only make it fewer.
        assert!(pool.max_workers() <= 32.min(bits as usize + 4));
        assert!(pool.max_workers() >= 5);
    }

    fn extreme_numbers_of_workers_cost_nothing_until_they_are_used() {
        for workers in [1, usize::MAX] {
            let pool = ThreadPoolExecutor::new(workers);
            assert_eq!(pool.max_workers(), workers);
            assert_eq!(pool.map(|n: u64| n, 0..10).into_iter().map(Result::unwrap).sum::<u64>(), 45);
            assert!(pool.stats().workers() <= 20);
        }
    }

    fn no_thread_is_started_before_the_first_task() {
        let pool = ThreadPoolExecutor::new(4);
        assert!(threads_of_ours().is_empty());
        pool.submit(|| (), ()).result().unwrap();
        assert_eq!(threads_of_ours().len(), 1);
    }

    fn fifteen_times_as_many_blocked_tasks_as_workers_use_exactly_the_workers() {
        let pool = ThreadPoolExecutor::new(4);
        let gate = Gate::default();
        let futures: Vec<_> = (0..15 * 4)
            .map(|_| {
                let gate = gate.clone();
                pool.spawn(move || gate.pass())
            })
            .collect();
        gate.wait_for(4);
        let stats = pool.stats();
        assert_eq!((stats.workers(), stats.running(), stats.queued()), (4, 4, 56));
        assert_eq!(threads_of_ours().len(), 4);
        gate.open();
        for future in futures {
            future.result().unwrap();
        }
        assert_eq!(gate.arrived(), 60);
        assert!(threads_of_ours().len() <= 4);
    }

    fn calls_one_after_another_use_one_worker() {
        let pool = ThreadPoolExecutor::new(8);
        let names: HashSet<_> = (0..30)
            .map(|_| {
                let name = pool.submit(name, ()).result().unwrap();
                // The worker is idle only some time after its task's result is there.
                eventually("the worker is idle", || pool.stats().idle() == 1);
                name
            })
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(pool.stats().workers(), 1);
    }

    fn threads_bear_the_prefix_and_a_number() {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(3)
            .thread_name_prefix("pool-resize")
            .build()
            .unwrap();
        let gate = Gate::default();
        let futures: Vec<_> = (0..3)
            .map(|_| {
                let gate = gate.clone();
                pool.spawn(move || {
                    gate.pass();
                    name()
                })
            })
            .collect();
        gate.wait_for(3);
        gate.open();
        let names: HashSet<_> = futures.into_iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(names, ["pool-resize-0", "pool-resize-1", "pool-resize-2"].map(str::to_owned).into());
    }

    fn default_names_are_unique() {
        let names: HashSet<_> = (0..10)
            .map(|_| ThreadPoolExecutor::new(1).submit(name, ()).result().unwrap())
            .collect();
        assert_eq!(names.len(), 10, "{names:?}");
        assert!(names.iter().all(|name| name.starts_with("pool-") && name.len() <= 15));
    }

    fn threads_without_work_end_after_the_keep_alive_time() {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .keep_alive(Duration::from_millis(20))
            .build()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
            eventually("the thread ends", || threads_of_ours().is_empty());
            assert_eq!(pool.stats().workers(), 0);
        }
        assert_eq!(pool.stats().submitted(), 3, "what was counted is not lost with the worker");
        assert_eq!(pool.stats().finished(), 3);
    }

    fn the_stack_size_is_that_of_the_threads() {
        fn deep(depth: usize) -> usize {
            let frame = std::hint::black_box([depth; 128]);
            if depth == 0 { frame[0] } else { deep(depth - 1) + 1 }
        }
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .stack_size(256 << 20)
            .build()
            .unwrap();
        assert_eq!(pool.submit(deep, 50_000).result().unwrap(), 50_000);
    }

    fn a_thread_that_the_system_refuses_resolves_the_queue_with_the_cause() {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            // More than an address space holds.
            .stack_size(1 << 60)
            .build()
            .unwrap();
        for _ in 0..3 {
            let error = pool.submit(|| 1, ()).result().unwrap_err();
            assert_eq!(error.rejection(), Some(Rejection::Broken));
            assert!(std::error::Error::source(&error).is_some(), "{error:?}");
        }
        let stats = pool.stats();
        assert_eq!((stats.workers(), stats.finished()), (0, stats.submitted()));
    }

    fn a_hundred_submitters_on_a_thousand_workers_stall_nobody() {
        let pool = ThreadPoolExecutor::new(1_000);
        let done = Arc::new(AtomicUsize::new(0));
        let submitters: Vec<_> = (0..100)
            .map(|_| {
                let (pool, done) = (pool.clone(), Arc::clone(&done));
                std::thread::spawn(move || {
                    let mut worst = Duration::ZERO;
                    let futures: Vec<_> = (0..600)
                        .map(|_| {
                            let done = Arc::clone(&done);
                            let start = Instant::now();
                            let future = pool.spawn(move || {
                                std::thread::sleep(Duration::from_micros(200));
                                done.fetch_add(1, Ordering::Relaxed);
                            });
                            worst = worst.max(start.elapsed());
                            future
                        })
                        .collect();
                    for future in futures {
                        future.result().unwrap();
                    }
                    worst
                })
            })
            .collect();
        for submitter in submitters {
            let worst = submitter.join().unwrap();
            assert!(worst < Duration::from_secs(10), "a submit took {worst:?}");
        }
        assert_eq!(done.load(Ordering::Relaxed), 60_000);
        assert!(pool.stats().workers() <= 1_000);
    }

    fn millions_of_tiny_futures_take_flat_memory() {
        let pool = ThreadPoolExecutor::new(2);
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
        };
        let run = |count: u64| {
            let sum: u64 = pool.mapping().window(1_000).map(|n: u64| n, 0..count).into_iter().map(Result::unwrap).sum();
            assert_eq!(sum, count * (count - 1) / 2);
        };
        run(100_000);
        let before = resident();
        run(2_000_000);
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more after two million tasks");
    }

    fn the_order_is_that_of_submission() {
        let (pool, gate) = busy_pool();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let futures: Vec<_> = (0..1_000)
            .map(|n| {
                let order = Arc::clone(&order);
                pool.spawn(move || order.lock().unwrap().push(n))
            })
            .collect();
        gate.open();
        for future in futures {
            future.result().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..1_000).collect::<Vec<_>>());
    }
}
