//! Runtimes: the pool works in one, outside of any, from several, and after their end.

use std::time::Duration;

use concurrent_futures::{Executor, Promise, Rejection, ThreadPoolExecutor, as_completed, wait};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::harness::{Gate, tests};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}

tests! {
    fn a_pool_works_outside_of_any_runtime() {
        let pool = ThreadPoolExecutor::new(2);
        assert_eq!(pool.submit(u64::pow, (2, 8)).result().unwrap(), 256);
        // There is no runtime that would leave a spawned future lying for ever.
        assert!(pool.spawn(|| Handle::try_current().is_err()).result().unwrap());
    }

    fn a_task_can_use_the_runtime_it_was_submitted_from() {
        for runtime in [current_thread(), multi_thread()] {
            let pool = ThreadPoolExecutor::new(1);
            let slept = runtime.block_on(async {
                pool.spawn(|| {
                    Handle::current().block_on(async {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        tokio::spawn(async { "spawned" }).await.unwrap()
                    })
                })
                .await
            });
            assert_eq!(slept.unwrap(), "spawned");
        }
    }

    fn one_pool_serves_several_runtimes_and_outlives_them() {
        let pool = ThreadPoolExecutor::new(2);
        let mut leftover = Vec::new();
        for _ in 0..3 {
            for runtime in [current_thread(), multi_thread()] {
                let own = runtime.handle().id();
                let seen = runtime.block_on(async {
                    pool.spawn(|| Handle::current().id()).await.unwrap()
                });
                assert_eq!(seen, own);
                let _entered = runtime.enter();
                leftover.push(pool.submit(|| 7, ()));
            }
        }
        for future in leftover {
            assert_eq!(future.result().unwrap(), 7);
        }
    }

    fn a_pool_made_in_spawn_blocking_or_in_a_runtime_that_is_gone_works_elsewhere() {
        let first = current_thread();
        let made = first.block_on(async { ThreadPoolExecutor::new(1) });
        let in_blocking = first
            .block_on(async { tokio::task::spawn_blocking(|| ThreadPoolExecutor::new(1)).await })
            .unwrap();
        drop(first);
        multi_thread().block_on(async {
            for pool in [made, in_blocking] {
                assert_eq!(pool.submit(|| 7, ()).await.unwrap(), 7);
            }
        });
    }

    fn blocking_in_async_code_is_an_error_that_says_what_to_do() {
        for runtime in [current_thread(), multi_thread()] {
            runtime.block_on(async {
                let refuse = || {
                    let (_promise, future) = Promise::<u8>::new();
                    let error = future.result().unwrap_err();
                    assert!(error.is_would_block());
                    assert!(error.to_string().contains("use .await"), "{error}");
                    let (_promise, mut future) = Promise::<u8>::new();
                    let limit = Duration::from_secs(1);
                    assert!(future.result_timeout(limit).unwrap_err().is_would_block());
                    assert!(wait([&mut future]).blocking_wait().unwrap_err().is_would_block());
                    let mut set = as_completed([&mut future]);
                    assert!(set.blocking_next().unwrap_err().is_would_block());
                    assert_eq!(set.len(), 1, "nothing is lost");
                };
                refuse();
                tokio::spawn(async move { refuse() }).await.unwrap();
            });
        }
    }

    fn what_is_there_already_is_given_in_async_code_too() {
        current_thread().block_on(async {
            let (promise, future) = Promise::new();
            promise.fulfil(7).unwrap();
            assert_eq!(future.result().unwrap(), 7);
        });
    }

    fn blocking_works_where_tokio_lets_people_block() {
        let runtime = multi_thread();
        runtime.block_on(async {
            let pool = ThreadPoolExecutor::new(1);
            let inside = pool.clone();
            let blocking = tokio::task::spawn_blocking(move || inside.submit(|| 7, ()).result());
            assert_eq!(blocking.await.unwrap().unwrap(), 7);
            let in_place = tokio::spawn(async move {
                tokio::task::block_in_place(|| pool.submit(|| 8, ()).result())
            });
            assert_eq!(in_place.await.unwrap().unwrap(), 8);
        });
    }

    fn dropping_a_pool_in_a_current_thread_runtime_returns_at_once_and_all_resolves() {
        let gate = Gate::default();
        current_thread().block_on(async {
            let pool = ThreadPoolExecutor::new(1);
            let inside = gate.clone();
            let running = pool.spawn(move || inside.pass());
            let pending: Vec<_> = (0..10_u64).map(|n| pool.submit(|n: u64| n, n)).collect();
            let start = std::time::Instant::now();
            drop(pool);
            assert!(start.elapsed() < Duration::from_millis(50));
            gate.open();
            running.await.unwrap();
            for (n, future) in (0..).zip(pending) {
                assert_eq!(future.await.unwrap(), n);
            }
        });
    }

    fn a_pool_on_a_shared_runtime_works_and_keeps_its_bound() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tokio-shared")
            .build()
            .unwrap();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let gate = Gate::default();
        let futures: Vec<_> = (0..20)
            .map(|_| {
                let gate = gate.clone();
                pool.spawn(move || {
                    gate.pass();
                    std::thread::current().name().map(str::to_owned)
                })
            })
            .collect();
        gate.wait_for(2);
        assert_eq!((gate.arrived(), pool.stats().workers()), (2, 2));
        gate.open();
        for future in futures {
            assert_eq!(future.result().unwrap().unwrap(), "tokio-shared");
        }
    }

    fn the_end_of_a_shared_runtime_rejects_what_is_queued_and_does_not_wait_for_it() {
        let runtime = multi_thread();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let gate = Gate::default();
        let inside = gate.clone();
        let running = pool.spawn(move || {
            inside.pass();
            7
        });
        gate.wait_for(1);
        let queued: Vec<_> = (0..100).map(|_| pool.submit(|| 1, ())).collect();
        let dropper = std::thread::spawn(move || drop(runtime));
        for future in queued {
            let error = future.result().unwrap_err();
            assert_eq!(error.rejection(), Some(Rejection::Broken));
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("runtime"), "{cause}");
        }
        gate.open();
        dropper.join().unwrap();
        assert_eq!(running.result().unwrap(), 7, "the body in hand is run to its end");
        assert!(pool.submit(|| 1, ()).result().unwrap_err().is_rejected());
    }

    fn a_shared_runtime_whose_blocking_pool_is_small_serves_others_too() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        // More work than a tenure, so that the lease has to let the other in before its end.
        let spin = || {
            let start = std::time::Instant::now();
            while start.elapsed() < Duration::from_millis(5) {}
        };
        let futures: Vec<_> = (0..200).map(|_| pool.spawn(spin)).collect();
        let other = runtime.block_on(async { tokio::task::spawn_blocking(|| 7).await.unwrap() });
        let left = futures.iter().filter(|future| !future.is_done()).count();
        assert_eq!(other, 7);
        assert!(left > 0, "the other had to wait for the whole backlog");
        for future in futures {
            future.result().unwrap();
        }
    }

    fn tasks_that_use_rayon_under_a_mutex_do_not_run_each_other() {
        use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
        let rayon = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let rayon = std::sync::Arc::new(rayon);
        let pool = ThreadPoolExecutor::new(4);
        let lock = std::sync::Arc::new(std::sync::Mutex::new(0_u64));
        let futures: Vec<_> = (0..100)
            .map(|_| {
                let (lock, rayon) = (std::sync::Arc::clone(&lock), std::sync::Arc::clone(&rayon));
                pool.spawn(move || {
                    let mut sum = lock.lock().unwrap();
                    *sum += rayon.install(|| (0..1_000_u64).into_par_iter().sum::<u64>());
                })
            })
            .collect();
        for future in futures {
            future.result().unwrap();
        }
        assert_eq!(*lock.lock().unwrap(), 100 * 499_500);
    }

    fn a_shared_runtime_that_gets_no_thread_resolves_the_queue_with_the_cause() {
        let runtime = Builder::new_current_thread().thread_stack_size(1 << 60).build().unwrap();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        for _ in 0..3 {
            let error = pool.spawn(|| 7).result().unwrap_err();
            assert_eq!(error.rejection(), Some(Rejection::Broken));
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("thread"), "{cause}");
        }
        assert_eq!(pool.stats().workers(), 0);
    }
}
