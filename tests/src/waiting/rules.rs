//! The rules by which a pool helps those of its tasks that wait.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::time::Duration;

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Promise, TaskError, TaskFuture, ThreadPoolExecutor,
    as_completed, task, wait,
};
use tokio::runtime::Handle;

use super::{LONG, block_on, depth_by};
use crate::harness::{Gate, eventually, tests, threads_of_ours};

/// Runs `body` as a task of a pool with one worker, which it gets.
fn alone<T: Send + 'static>(body: impl FnOnce(&ThreadPoolExecutor) -> T + Send + 'static) -> T {
    let pool = ThreadPoolExecutor::new(1);
    let inner = pool.clone();
    let value = pool.spawn(move || body(&inner)).result().unwrap();
    eventually("nobody waits any more", || {
        pool.stats().extra_workers() == 0 && pool.stats().blocked() == 0
    });
    value
}

fn fibonacci(pool: &ThreadPoolExecutor, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let inner = pool.clone();
    let other = pool.spawn(move || fibonacci(&inner, n - 1));
    fibonacci(pool, n - 2) + other.result().unwrap()
}

/// Tasks that wait for each other in a circle, each on a worker of its own; what they got.
fn circle(length: usize, take: fn(TaskFuture<String>) -> Result<String, TaskError>) -> Vec<String> {
    let pool = ThreadPoolExecutor::new(length);
    let (say, said) = mpsc::channel();
    let all_run = Arc::new(Barrier::new(length));
    let (senders, futures): (Vec<_>, Vec<_>) = (0..length)
        .map(|_| {
            let (send, receive) = mpsc::channel::<TaskFuture<String>>();
            let (say, all_run) = (say.clone(), Arc::clone(&all_run));
            let future = pool.spawn(move || {
                all_run.wait();
                let text = match take(receive.recv().unwrap()) {
                    Ok(text) => text,
                    Err(error) => error.to_string(),
                };
                say.send(text.clone()).unwrap();
                text
            });
            (send, future)
        })
        .unzip();
    let mut next: Vec<_> = futures.into_iter().collect();
    next.rotate_left(1);
    for (send, future) in senders.iter().zip(next) {
        send.send(future).unwrap();
    }
    (0..length).map(|_| said.recv().unwrap()).collect()
}

struct WaitsWhenDropped(Option<TaskFuture<u32>>, mpsc::Sender<u32>);

impl Drop for WaitsWhenDropped {
    fn drop(&mut self) {
        let value = self.0.take().unwrap().result().unwrap();
        self.1.send(value).unwrap();
    }
}

tests! {
    fn a_task_waits_for_a_task_of_its_own_pool_of_one_worker() {
        assert_eq!(alone(|pool| pool.spawn(|| 7).result().unwrap()), 7);
        assert_eq!(alone(|pool| pool.spawn(|| 7).shared().result().unwrap()), 7);
    }

    fn it_runs_in_place_where_it_is_waited_for() {
        let (waiting, waited_for) = alone(|pool| {
            let here = std::thread::current().id();
            (here, pool.spawn(|| std::thread::current().id()).result().unwrap())
        });
        assert_eq!(waiting, waited_for);
    }

    fn a_timed_wait_gets_an_extra_worker_and_keeps_its_limit() {
        let (waiting, waited_for) = alone(|pool| {
            let here = std::thread::current().id();
            (here, pool.spawn(|| std::thread::current().id()).result_timeout(LONG).unwrap())
        });
        assert_ne!(waiting, waited_for);
        alone(|pool| {
            let gate = Gate::default();
            let opened = gate.clone();
            let mut future = pool.spawn(move || opened.pass());
            let error = future.result_timeout(Duration::from_millis(20)).unwrap_err();
            assert!(error.is_timed_out());
            gate.open();
            future.result().unwrap();
        });
    }

    fn wait_for_tasks_of_the_own_pool() {
        alone(|pool| {
            let futures: Vec<_> = (0..10).map(|n| pool.spawn(move || n)).collect();
            let waited = wait(futures).blocking_wait().unwrap();
            assert_eq!((waited.done.len(), waited.pending.len()), (10, 0));
            let futures: Vec<_> = (0..10).map(|n| pool.spawn(move || n)).collect();
            let waited = wait(futures).first_completed().blocking_wait().unwrap();
            assert!(!waited.done.is_empty());
            let futures: Vec<_> = (0..10).map(|n| pool.spawn(move || n)).collect();
            let waited = wait(futures).first_error().blocking_wait().unwrap();
            assert_eq!(waited.done.len(), 10);
            let futures: Vec<_> = (0..10).map(|n| pool.spawn(move || n)).collect();
            let waited = wait(futures).timeout(LONG).blocking_wait().unwrap();
            assert_eq!(waited.done.len(), 10);
        });
    }

    fn as_completed_over_tasks_of_the_own_pool() {
        alone(|pool| {
            let sum: u32 = as_completed((0..100).map(|n| pool.spawn(move || n)))
                .into_iter()
                .map(|future| future.result().unwrap())
                .sum();
            assert_eq!(sum, 4_950);
            let mut done = as_completed((0..10).map(|n| pool.spawn(move || n))).timeout(LONG);
            let mut count = 0;
            while let Some(future) = done.blocking_next() {
                future.unwrap().result().unwrap();
                count += 1;
            }
            assert_eq!(count, 10);
        });
    }

    fn a_map_on_the_own_pool() {
        alone(|pool| {
            let square = |n: u64| n * n;
            let wanted: Vec<u64> = (0..1_000).map(square).collect();
            let ordered: Result<Vec<u64>, _> = pool.map(square, 0..1_000_u64).into_iter().collect();
            assert_eq!(ordered.unwrap(), wanted);
            let timed = pool.mapping().timeout(LONG).map(square, 0..1_000_u64).into_iter().collect();
            assert_eq!(Result::<Vec<u64>, _>::unwrap(timed), wanted);
            let mut any: Vec<u64> = pool
                .mapping()
                .unordered()
                .map(square, 0..1_000_u64)
                .into_iter()
                .collect::<Result<_, _>>()
                .unwrap();
            any.sort_unstable();
            assert_eq!(any, wanted);
        });
    }

    fn block_on_an_await_of_the_own_pool() {
        alone(|pool| {
            assert_eq!(block_on(pool.spawn(|| 7)).unwrap(), 7);
            assert_eq!(block_on(pool.spawn(|| 7).shared()).unwrap(), 7);
            let sum = block_on(async {
                let mut sum = 0;
                let mut done = as_completed((0..20).map(|n| pool.spawn(move || n)));
                while let Some(future) = done.next().await {
                    sum += future.await.unwrap();
                }
                let mut squares = pool.map(|n: u64| n * n, 0..20_u64);
                while let Some(square) = squares.next().await {
                    sum += square.unwrap();
                }
                let futures: Vec<_> = (0..5).map(|n| pool.spawn(move || n)).collect();
                sum + wait(futures).await.done.len() as u64
            });
            assert_eq!(sum, 190 + 2_470 + 5);
        });
    }

    fn a_body_in_place_may_block_on_a_future_and_one_awaited_too() {
        alone(|pool| {
            let body = || block_on(async { tokio::time::sleep(Duration::from_millis(1)).await; 7 });
            assert_eq!(pool.spawn(body).result().unwrap(), 7);
            assert_eq!(block_on(pool.spawn(body)).unwrap(), 7);
            assert_eq!(pool.spawn(body).result_timeout(LONG).unwrap(), 7);
        });
    }

    fn a_blocking_wait_in_async_code_of_a_task_runs_nothing_in_place() {
        alone(|pool| {
            let has_run = Arc::new(AtomicBool::new(false));
            let runs = Arc::clone(&has_run);
            let error = block_on(async {
                pool.spawn(move || runs.store(true, Ordering::SeqCst)).result().unwrap_err()
            });
            assert!(error.is_would_block());
            assert!(!has_run.load(Ordering::SeqCst));
        });
    }

    fn waits_nest_ten_thousand_deep() {
        for workers in [1, 2] {
            let pool = ThreadPoolExecutor::new(workers);
            let inner = pool.clone();
            let depth = pool.spawn(move || depth_by(&inner, 10_000, |future| future.result().unwrap()));
            assert_eq!(depth.result().unwrap(), 10_000);
            eventually("nobody waits any more", || pool.stats().extra_workers() == 0);
        }
    }

    fn timed_and_async_waits_nest() {
        for take in [
            |future: TaskFuture<usize>| { let mut future = future; future.result_timeout(LONG).unwrap() },
            |future: TaskFuture<usize>| block_on(future).unwrap(),
        ] {
            let pool = ThreadPoolExecutor::new(1);
            let inner = pool.clone();
            let depth = pool.spawn(move || depth_by(&inner, 100, take));
            assert_eq!(depth.result().unwrap(), 100);
            eventually("nobody waits any more", || pool.stats().extra_workers() == 0);
        }
    }

    fn there_are_no_more_extra_workers_than_tasks_wait_in_a_chain() {
        // Ten tasks that each wait for one: an extra worker that took the next of the ten, and not
        // the one that is waited for, would need another extra worker.
        let pool = ThreadPoolExecutor::new(1);
        let names = Arc::new(Mutex::new(HashSet::new()));
        let (all_queued, go) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let futures: Vec<_> = (0..10)
            .map(|_| {
                let (inner, names, gate) = (pool.clone(), Arc::clone(&names), all_queued.clone());
                let most = Arc::clone(&go);
                pool.spawn(move || {
                    gate.pass();
                    let counting = inner.clone();
                    let mut child = inner.spawn(move || {
                        most.fetch_max(counting.stats().extra_workers(), Ordering::SeqCst);
                    });
                    child.result_timeout(LONG).unwrap();
                    names.lock().unwrap().insert(std::thread::current().id());
                })
            })
            .collect();
        all_queued.open();
        for future in futures {
            future.result().unwrap();
        }
        assert_eq!(go.load(Ordering::SeqCst), 1);
        assert_eq!(names.lock().unwrap().len(), 1);
    }

    fn fork_and_join_on_one_worker_and_on_several() {
        for workers in [1, 2, 8] {
            let pool = ThreadPoolExecutor::new(workers);
            let inner = pool.clone();
            assert_eq!(pool.spawn(move || fibonacci(&inner, 16)).result().unwrap(), 987);
            let stats = pool.stats();
            assert_eq!(stats.submitted(), stats.finished());
            assert_eq!((stats.queued(), stats.running()), (0, 0));
        }
    }

    fn two_pools_whose_tasks_wait_for_each_others_queued_tasks() {
        for take in [
            |future: TaskFuture<u32>| future.result().unwrap(),
            |future: TaskFuture<u32>| { let mut future = future; future.result_timeout(LONG).unwrap() },
            |future: TaskFuture<u32>| block_on(future).unwrap(),
            |future: TaskFuture<u32>| wait([future]).first_completed().blocking_wait().unwrap().done.pop().unwrap().result().unwrap(),
        ] {
            let (first, second) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
            let both = Arc::new(Barrier::new(2));
            let cross = |from: &ThreadPoolExecutor, to: &ThreadPoolExecutor, value: u32| {
                let (both, to) = (Arc::clone(&both), to.clone());
                from.spawn(move || {
                    both.wait();
                    take(to.spawn(move || value))
                })
            };
            let (one, two) = (cross(&first, &second, 1), cross(&second, &first, 2));
            assert_eq!((one.result().unwrap(), two.result().unwrap()), (1, 2));
            for pool in [&first, &second] {
                eventually("nobody waits any more", || pool.stats().extra_workers() == 0 && pool.stats().blocked() == 0);
            }
        }
    }

    fn a_circle_of_waiting_tasks_is_an_error_for_each_of_them() {
        for length in [1, 2, 5] {
            let texts = circle(length, TaskFuture::result);
            for text in &texts {
                assert!(text.contains("waits for itself: task "), "{text}");
                assert_eq!(text.matches("waits for task").count(), length, "{text}");
            }
        }
        let texts = circle(3, |future| future.shared().result());
        assert!(texts.iter().all(|text| text.contains("waits for itself")));
        let texts = circle(2, |future| {
            wait([future]).blocking_wait().map(|waited| format!("{:?}", waited.done.len()))
        });
        assert!(texts.iter().all(|text| text.contains("waits for itself")));
    }

    fn a_circle_with_a_time_limit_in_it_ends_at_the_limit() {
        let texts = circle(2, |mut future| future.result_timeout(Duration::from_millis(50)));
        // One gives up, and the other has its result, or both give up at once.
        assert!(texts.iter().any(|text| text.contains("had no result within")), "{texts:?}");
        assert!(texts.iter().all(|text| !text.contains("waits for itself")), "{texts:?}");
    }

    fn a_task_in_place_that_waits_for_the_one_below_it_is_an_error() {
        let pool = ThreadPoolExecutor::new(1);
        let (send, receive) = mpsc::channel::<TaskFuture<()>>();
        let (say, said) = mpsc::channel();
        let inner = pool.clone();
        let below = pool.spawn(move || {
            let future = receive.recv().unwrap();
            inner.spawn(move || say.send(future.result().unwrap_err()).unwrap()).result().unwrap();
        });
        send.send(below).unwrap();
        assert!(said.recv().unwrap().is_deadlock());
    }

    fn waits_for_any_of_several_and_for_promises_are_no_deadlocks() {
        // Each waits for the other, or for a promise that is kept when both wait.
        let pool = ThreadPoolExecutor::new(2);
        let (promises, futures): (Vec<_>, Vec<_>) = (0..2).map(|_| Promise::<String>::new()).unzip();
        let (senders, tasks): (Vec<_>, Vec<_>) = futures
            .into_iter()
            .map(|promised| {
                let (send, receive) = mpsc::channel::<TaskFuture<String>>();
                let task = pool.spawn(move || {
                    let other = receive.recv().unwrap();
                    let waited = wait([other, promised]).first_completed().blocking_wait().unwrap();
                    waited.done.into_iter().next().unwrap().result().unwrap()
                });
                (send, task)
            })
            .unzip();
        let handles: Vec<_> = tasks.iter().map(TaskFuture::handle).collect();
        for (send, task) in senders.iter().zip(tasks.into_iter().rev()) {
            send.send(task).unwrap();
        }
        eventually("all wait", || pool.stats().blocked() == 2);
        assert_eq!(pool.stats().extra_workers(), 0);
        for promise in promises {
            promise.fulfil("kept".to_owned()).ok();
        }
        eventually("the tasks are over", || handles.iter().all(concurrent_futures::TaskHandle::is_done));
        // And a promise alone, with work queued behind the wait.
        let pool = ThreadPoolExecutor::new(1);
        let (promise, promised) = Promise::new();
        let waits = pool.spawn(move || promised.result().unwrap());
        let behind = pool.spawn(|| 2);
        eventually("all wait", || pool.stats().blocked() == 1);
        assert_eq!(pool.stats().extra_workers(), 0);
        assert!(!behind.is_done());
        promise.fulfil(1).unwrap();
        assert_eq!((waits.result().unwrap(), behind.result().unwrap()), (1, 2));
    }

    fn a_wait_in_a_callback_of_the_own_pool() {
        let pool = ThreadPoolExecutor::new(1);
        let (say, said) = mpsc::channel();
        for is_timed in [false, true] {
            let gate = Gate::default();
            let (opened, inner, say) = (gate.clone(), pool.clone(), say.clone());
            let future = pool.spawn(move || opened.pass());
            future.on_done(move |_, _| {
                let mut child = inner.spawn(|| 7);
                let value = if is_timed { child.result_timeout(LONG) } else { child.result() };
                say.send(value.unwrap()).unwrap();
            });
            gate.open();
            future.result().unwrap();
            assert_eq!(said.recv().unwrap(), 7);
        }
    }

    fn a_wait_in_a_drop_on_the_own_pool() {
        let pool = ThreadPoolExecutor::new(1);
        let (say, said) = mpsc::channel();
        // Of what the closure has captured, and of a result that nobody takes.
        let gate = Gate::default();
        let opened = gate.clone();
        let blocks = pool.spawn(move || opened.pass());
        let captured = WaitsWhenDropped(Some(pool.spawn(|| 1)), say.clone());
        let captures = pool.spawn(move || drop(captured));
        let result = WaitsWhenDropped(Some(pool.spawn(|| 2)), say);
        pool.spawn(move || result).detach();
        gate.open();
        blocks.result().unwrap();
        captures.result().unwrap();
        assert_eq!([said.recv().unwrap(), said.recv().unwrap()], [1, 2]);
    }

    fn a_wait_in_an_initializer_for_a_task_of_the_pool() {
        static POOL: Mutex<Option<ThreadPoolExecutor>> = Mutex::new(None);
        let own = || POOL.lock().unwrap().clone().unwrap();
        let build = |initializer: fn() -> Result<(), TaskError>| {
            let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(initializer).build().unwrap();
            *POOL.lock().unwrap() = Some(pool.clone());
            pool
        };
        // In place.
        let pool = build(|| POOL.lock().unwrap().clone().unwrap().spawn(|| 7).result().map(drop));
        assert_eq!(pool.spawn(|| 1).result().unwrap(), 1);
        // With a limit an extra worker is needed, whose initializer would need another one.
        let pool = build(|| {
            let mut child = POOL.lock().unwrap().clone().unwrap().spawn(|| 7);
            child.result_timeout(LONG).map(drop)
        });
        let error = pool.spawn(|| 1).result().unwrap_err();
        assert!(error.is_rejected(), "{error}");
        drop((pool, own()));
        *POOL.lock().unwrap() = None;
    }

    fn unrelated_work_is_not_run_under_a_lock_that_a_waiting_task_holds() {
        for is_timed in [false, true] {
            let pool = ThreadPoolExecutor::new(1);
            let lock = Arc::new(Mutex::new(()));
            let (held, inner) = (Arc::clone(&lock), pool.clone());
            let (send, receive) = mpsc::channel::<TaskFuture<u32>>();
            let holder = pool.spawn(move || {
                let _held = held.lock().unwrap();
                let mut child = receive.recv().unwrap();
                drop(inner);
                if is_timed { child.result_timeout(LONG) } else { child.result() }
            });
            // Queued before the task that is waited for, it would be taken first.
            let wants = Arc::clone(&lock);
            let unrelated = pool.spawn(move || drop(wants.lock().unwrap()));
            send.send(pool.spawn(|| 7)).unwrap();
            assert_eq!(holder.result().unwrap().unwrap(), 7);
            unrelated.result().unwrap();
        }
    }

    fn blocked_and_extra_workers_are_seen_and_go_away() {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, inner) = (Gate::default(), pool.clone());
        let opened = gate.clone();
        let waits = pool.spawn(move || inner.spawn(move || opened.pass()).result_timeout(LONG));
        gate.wait_for(1);
        let stats = pool.stats();
        assert_eq!((stats.workers(), stats.blocked(), stats.extra_workers()), (1, 1, 1));
        assert_eq!((stats.running(), stats.queued(), stats.occupied()), (2, 0, 2));
        assert_eq!(threads_of_ours().len(), 2);
        gate.open();
        waits.result().unwrap().unwrap();
        eventually("nobody waits any more", || pool.stats().extra_workers() == 0 && pool.stats().blocked() == 0);
        eventually("one thread is left", || threads_of_ours().len() == 1);
    }

    fn shutdown_waits_for_extra_workers_too() {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, inner) = (Gate::default(), pool.clone());
        let opened = gate.clone();
        let waits = pool.spawn(move || {
            inner.spawn(move || opened.pass()).result_timeout(Duration::from_millis(10)).is_err()
        });
        assert!(waits.result().unwrap());
        let mut shutdown = pool.shutdown(concurrent_futures::Shutdown::new());
        assert!(shutdown.result_timeout(Duration::from_millis(20)).unwrap_err().is_timed_out());
        gate.open();
        shutdown.result().unwrap();
        assert_eq!(pool.stats().extra_workers(), 0);
    }

    fn ten_thousand_tasks_that_wait_for_processes_add_no_worker() {
        static PROCESSES: OnceLock<Mutex<Option<ProcessPoolExecutor>>> = OnceLock::new();
        let processes = ProcessPoolExecutor::new(2);
        *PROCESSES.get_or_init(Mutex::default).lock().unwrap() = Some(processes.clone());
        let threads = ThreadPoolExecutor::new(16);
        let names = Arc::new(Mutex::new(HashSet::new()));
        let sum: u64 = as_completed((0..10_000_u64).map(|n| {
            let (processes, names) = (processes.clone(), Arc::clone(&names));
            threads.spawn(move || {
                names.lock().unwrap().insert(std::thread::current().id());
                processes.submit(u64::wrapping_add, (n, 1)).result().unwrap()
            })
        }))
        .into_iter()
        .map(|future| future.result().unwrap())
        .sum();
        assert_eq!(sum, 50_005_000);
        assert!(names.lock().unwrap().len() <= 16);
        *PROCESSES.get().unwrap().lock().unwrap() = None;
    }

    fn a_pool_whose_tasks_wait_for_another_that_waits_for_the_outside_adds_no_worker() {
        let (outer, inner) = (ThreadPoolExecutor::new(4), ThreadPoolExecutor::new(2));
        let (promises, futures): (Vec<_>, Vec<_>) = (0..4).map(|_| Promise::<u32>::new()).unzip();
        let tasks: Vec<_> = futures
            .into_iter()
            .map(|promised| {
                let inner = inner.clone();
                outer.spawn(move || inner.spawn(move || promised.result().unwrap()).result().unwrap())
            })
            .collect();
        eventually("all wait", || outer.stats().blocked() == 4 && inner.stats().blocked() == 2);
        assert_eq!((outer.stats().extra_workers(), inner.stats().extra_workers()), (0, 0));
        for promise in promises {
            promise.fulfil(1).unwrap();
        }
        assert_eq!(tasks.into_iter().map(|task| task.result().unwrap()).sum::<u32>(), 4);
    }

    fn a_future_that_was_polled_and_dropped_is_not_waited_for() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let (say, said) = mpsc::channel();
        let gate = Gate::default();
        let opened = gate.clone();
        let task = pool.spawn(move || {
            let mut child = inner.spawn(|| 7);
            block_on(async {
                let never = std::future::ready(());
                tokio::select! { biased; _ = &mut child => unreachable!("nobody runs it"), () = never => {} }
            });
            child.cancel();
            drop(child);
            say.send(inner.stats().blocked()).unwrap();
            opened.pass();
        });
        assert_eq!(said.recv().unwrap(), 0);
        gate.open();
        task.result().unwrap();
    }

    fn what_runs_in_place_is_still_the_current_task_and_can_be_asked_to_stop() {
        alone(|pool| {
            let outer = task::current().unwrap().id();
            let child = pool.spawn(|| task::current().unwrap().id());
            let id = child.id();
            assert_eq!(child.result().unwrap(), id);
            assert_eq!(task::current().unwrap().id(), outer);
        });
    }

    fn a_panic_in_place_is_the_childs_alone() {
        alone(|pool| {
            let error = pool.spawn(|| panic!("in place")).result().map(drop).unwrap_err();
            assert!(error.is_panicked());
            assert_eq!(pool.spawn(|| 7).result().unwrap(), 7);
        });
    }

    fn thread_locals_of_the_waiting_task_are_seen_in_place() {
        thread_local! {
            static NOTE: RefCell<u32> = const { RefCell::new(0) };
        }
        alone(|pool| {
            NOTE.set(5);
            assert_eq!(pool.spawn(|| NOTE.take()).result().unwrap(), 5);
        });
    }

    fn many_tasks_in_place_leave_nothing_in_the_queue() {
        // The worker never comes back to the queue while the loop runs.
        alone(|pool| {
            for n in 0..100_000_u64 {
                let first = pool.spawn(move || n);
                let second = pool.spawn(move || n);
                assert_eq!(first.result().unwrap() + second.result().unwrap(), 2 * n);
            }
            assert_eq!(pool.stats().queued(), 0);
        });
    }

    fn a_wait_for_a_place_in_the_own_pool_gets_one() {
        // The worker holds one place, and what is queued the others: an extra worker makes room.
        for is_awaited in [false, true] {
            let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(2).build().unwrap();
            let inner = pool.clone();
            let sum = pool.spawn(move || {
                let queued: Vec<_> = (0..2).map(|n| inner.spawn(move || n)).collect();
                let permit = if is_awaited { block_on(inner.reserve()) } else { inner.blocking_reserve() };
                let last = permit.unwrap().spawn(|| 10);
                queued.into_iter().chain([last]).map(|future| future.result().unwrap()).sum::<u32>()
            });
            assert_eq!(sum.result().unwrap(), 11);
            eventually("nobody waits any more", || pool.stats().extra_workers() == 0);
        }
    }

    fn tasks_that_fill_their_pool_and_wait_for_a_place_get_an_error() {
        let pool = ThreadPoolExecutor::builder().max_workers(2).queue_limit(0).build().unwrap();
        let both = Arc::new(Barrier::new(2));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let (inner, both) = (pool.clone(), Arc::clone(&both));
                pool.spawn(move || {
                    both.wait();
                    inner.blocking_reserve().map(drop)
                })
            })
            .collect();
        let results: Vec<_> = tasks.into_iter().map(|task| task.result().unwrap()).collect();
        // One has to be refused; it ends, and the other has its place.
        let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(!refused.is_empty() && refused.iter().all(TaskError::is_deadlock), "{refused:?}");
    }

    fn a_permit_that_somebody_else_has_may_come_back() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
        let inner = pool.clone();
        let permit = pool.try_reserve().unwrap();
        let waits = pool.spawn(move || inner.blocking_reserve().map(drop));
        eventually("it waits", || pool.stats().blocked() == 1);
        assert_eq!(pool.stats().extra_workers(), 0);
        drop(permit);
        waits.result().unwrap().unwrap();
    }

    fn a_map_on_the_own_full_pool() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(0).build().unwrap();
        let inner = pool.clone();
        let sum = pool.spawn(move || inner.map(|n: u32| n, 0..10_u32).into_iter().collect::<Result<Vec<_>, _>>());
        // The only place is the task's own, so the map goes on without one.
        assert_eq!(sum.result().unwrap().unwrap().len(), 10);
    }

    fn a_wait_for_the_end_of_a_pool_whose_task_waits_for_the_own_queue() {
        let (first, second) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
        let (own, other) = (first.clone(), second.clone());
        let waits = first.spawn(move || {
            let queued = own.spawn(|| 7);
            let needs_it = other.spawn(move || queued.result().unwrap());
            other.blocking_shutdown(concurrent_futures::Shutdown::new()).unwrap();
            needs_it.result().unwrap()
        });
        assert_eq!(waits.result().unwrap(), 7);
    }

    fn a_circle_through_the_end_of_a_pool_is_an_error() {
        let (first, second) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
        let (send, receive) = mpsc::channel::<TaskFuture<TaskError>>();
        let other = second.clone();
        let waits = first.spawn(move || {
            let me = receive.recv().unwrap();
            let needs_me = other.spawn(move || me.result().unwrap_err());
            let error = other.blocking_shutdown(concurrent_futures::Shutdown::new()).unwrap_err();
            assert!(needs_me.result().unwrap().is_deadlock());
            error
        });
        let handle = waits.handle();
        send.send(waits).unwrap();
        eventually("the task ends", || handle.is_done());
        assert_eq!(handle.outcome(), Some(concurrent_futures::Outcome::Succeeded));
    }

    fn on_the_blocking_threads_of_a_runtime() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let pool = ThreadPoolExecutor::builder().max_workers(1).runtime(runtime.handle().clone()).build().unwrap();
        let inner = pool.clone();
        let depth = pool.spawn(move || depth_by(&inner, 1_000, |future| future.result().unwrap()));
        assert_eq!(depth.result().unwrap(), 1_000);
        let inner = pool.clone();
        let awaited = pool.spawn(move || Handle::current().block_on(inner.spawn(|| 7)));
        let entered = runtime.enter();
        assert_eq!(awaited.result().map(Result::ok).ok().flatten(), None.or(Some(7)));
        drop(entered);
        drop(pool);
    }
}
