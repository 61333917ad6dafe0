//! Waits that are hard to see or to judge: futures that were polled and put away, callbacks and drops,
//! executors inside of executors, circles that something else ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Clock, Executor, InlineExecutor, Observer, Outcome, Promise, Run, Shutdown, TaskFuture, TaskId,
    TaskInfo, TaskOptions, ThreadPoolExecutor, as_completed, try_join_all, wait,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::{LONG, block_on, depth_by};
use crate::harness::{Gate, eventually, tests};

/// Waits in a way in which no task is run in place.
fn any_of<T>(futures: impl IntoIterator<Item = TaskFuture<T>>) -> T {
    let mut waited = wait(futures).first_completed().blocking_wait().unwrap();
    waited.done.pop().unwrap().result().unwrap()
}

/// Whether the wait for it was refused.
fn is_deadlock<T>(future: TaskFuture<T>) -> bool {
    future.result().is_err_and(|error| error.is_deadlock())
}

fn some_wait(pool: &ThreadPoolExecutor, count: usize) {
    eventually("so many wait", || pool.stats().blocked() == count);
}

/// The flag is for who is woken while something else on its thread is parked.
struct Unparks(Thread, AtomicBool);

impl Unparks {
    fn new() -> Arc<Self> {
        Arc::new(Self(std::thread::current(), AtomicBool::new(false)))
    }

    fn park(&self) {
        while !self.1.swap(false, Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Without a runtime, so that what is polled may block.
fn park_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unparks = Unparks::new();
    let waker = Waker::from(Arc::clone(&unparks));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        unparks.park();
    }
}

/// A task of a pool of one worker that awaits a promise and a child; `together` says how. The promise is kept
/// when the child has run.
fn awaits<F: Future<Output = u32>>(
    together: impl FnOnce(TaskFuture<u32>, TaskFuture<u32>) -> F + Send + 'static,
) -> u32 {
    let pool = ThreadPoolExecutor::new(1);
    let inner = pool.clone();
    let (promise, promised) = Promise::new();
    let (say, said) = mpsc::channel();
    let task = pool.spawn(move || {
        let child = inner.spawn(move || {
            say.send(()).unwrap();
            7
        });
        block_on(together(promised, child))
    });
    said.recv().unwrap();
    promise.fulfil(1).unwrap();
    task.result().unwrap()
}

/// A task that is at a gate, and then does `work`: so that others wait for it before.
fn waited_for<T: Send + 'static>(
    pool: &ThreadPoolExecutor,
    work: impl FnOnce() -> T + Send + 'static,
) -> (TaskFuture<T>, Gate) {
    let gate = Gate::default();
    let opened = gate.clone();
    let task = pool.spawn(move || {
        opened.pass();
        work()
    });
    gate.wait_for(1);
    (task, gate)
}

/// Two tasks that wait for each other, each on a worker of its own; what they got.
fn circle_of_two(pool: &ThreadPoolExecutor, first: TaskOptions) -> [String; 2] {
    let both = Arc::new(Barrier::new(2));
    let (say, said) = mpsc::channel();
    let (senders, tasks): (Vec<_>, Vec<_>) = [first, TaskOptions::new()]
        .into_iter()
        .enumerate()
        .map(|(number, options)| {
            let (send, receive) = mpsc::channel::<TaskFuture<usize>>();
            let (both, say) = (Arc::clone(&both), say.clone());
            let task = pool.with(options).spawn(move || {
                both.wait();
                let result = receive.recv().unwrap().result();
                let text = match result {
                    Ok(other) => format!("result {other}"),
                    Err(error) if error.is_deadlock() => "deadlock".to_owned(),
                    Err(error) => format!("{:?}", error.clock().unwrap()),
                };
                say.send((number, text)).unwrap();
                number
            });
            (send, task)
        })
        .unzip();
    for (send, task) in senders.iter().zip(tasks.into_iter().rev()) {
        send.send(task).unwrap();
    }
    let mut texts = [said.recv().unwrap(), said.recv().unwrap()];
    texts.sort();
    texts.map(|(_, text)| text)
}

/// Taken by a task of [`InlineExecutor`], which captures nothing.
static CHILD: Mutex<Option<TaskFuture<u32>>> = Mutex::new(None);

fn take_child() -> TaskFuture<u32> {
    CHILD.lock().unwrap().take().unwrap()
}

/// A tree of tasks, each of which waits for its children as they finish; the leaves, and the most extra
/// workers that there were.
fn leaves(pool: &ThreadPoolExecutor, depth: usize, most: &Arc<AtomicUsize>) -> usize {
    most.fetch_max(pool.stats().extra_workers(), Ordering::SeqCst);
    if depth == 0 {
        return 1;
    }
    let children = (0..3).map(|_| {
        let (pool, most) = (pool.clone(), Arc::clone(most));
        pool.clone().spawn(move || leaves(&pool, depth - 1, &most))
    });
    let done = as_completed(children).into_iter();
    done.map(|child| child.result().unwrap()).sum()
}

tests! {
    fn a_tree_of_tasks_that_wait_takes_as_many_extra_workers_as_it_is_deep() {
        let pool = ThreadPoolExecutor::new(1);
        let (inner, most) = (pool.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        assert_eq!(pool.spawn(move || leaves(&inner, 5, &seen)).result().unwrap(), 243);
        assert!(most.load(Ordering::SeqCst) <= 5, "{most:?}");
    }

    fn try_join_all_runs_the_tasks_of_the_own_pool_in_place() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let same = pool.spawn(move || {
            let here = std::thread::current().id();
            let children = (0..10).map(|_| inner.spawn(|| std::thread::current().id()));
            let all = try_join_all(children).blocking_wait().unwrap();
            all.iter().filter(|thread| **thread == here).count()
        });
        assert_eq!(same.result().unwrap(), 10);
        assert_eq!(pool.stats().extra_workers(), 0);
    }

    fn the_error_of_a_circle_has_the_names_of_its_tasks() {
        let pool = ThreadPoolExecutor::new(1);
        let (send, receive) = mpsc::channel::<TaskFuture<()>>();
        let (say, said) = mpsc::channel();
        let named = |name: &str| TaskOptions::new().name(name.to_owned());
        let (inner, other) = (pool.clone(), named("other"));
        let below = pool.with(named("one")).spawn(move || {
            let me = receive.recv().unwrap();
            let child = inner.with(other).spawn(move || say.send(me.result().unwrap_err()).unwrap());
            child.result().unwrap();
        });
        send.send(below).unwrap();
        let text = said.recv().unwrap().to_string();
        assert!(text.contains("`one` waits for") && text.contains("`other`, which waits"), "{text}");
    }

    fn a_future_that_was_polled_and_kept_does_not_hide_the_next_one() {
        let sum = awaits(|mut promised, child| async move {
            assert!(futures_util::poll!(&mut promised).is_pending());
            child.await.unwrap() + promised.await.unwrap()
        });
        assert_eq!(sum, 8);
    }

    fn futures_that_are_joined_go_on_one_by_one() {
        let sum = awaits(|promised, child| async move {
            let (first, second) = tokio::join!(promised, child);
            first.unwrap() + second.unwrap()
        });
        assert_eq!(sum, 8);
        let sum = awaits(|promised, child| async move {
            let mut all = FuturesUnordered::from_iter([promised, child]);
            let mut sum = 0;
            while let Some(value) = all.next().await {
                sum += value.unwrap();
            }
            sum
        });
        assert_eq!(sum, 8);
    }

    fn a_polled_future_that_leaves_its_task_is_waited_for_by_nobody() {
        let pool = ThreadPoolExecutor::new(1);
        let (promise, mut promised) = Promise::<u32>::new();
        let kept = pool.spawn(move || {
            block_on(async { assert!(futures_util::poll!(&mut promised).is_pending()) });
            promised
        });
        let kept = kept.result().unwrap();
        some_wait(&pool, 0);
        let inner = pool.clone();
        let task = pool.spawn(move || block_on(inner.spawn(|| 7)).unwrap());
        assert_eq!(task.result().unwrap(), 7);
        promise.fulfil(1).unwrap();
        assert_eq!(kept.result().unwrap(), 1);
    }

    fn a_future_that_is_polled_with_a_waker_that_does_nothing_is_seen() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let task = pool.spawn(move || {
            let mut child = pin!(inner.spawn(|| 7));
            loop {
                if let Poll::Ready(value) = child.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    return value.unwrap();
                }
                std::thread::yield_now();
            }
        });
        assert_eq!(task.result().unwrap(), 7);
    }

    fn a_panic_in_the_poll_of_a_blocking_wait_hides_no_later_poll() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let task = pool.spawn(move || {
            let (promise, mut over) = Promise::<u32>::new();
            promise.fulfil(1).unwrap();
            over.result_timeout(LONG).unwrap();
            let again = catch_unwind(AssertUnwindSafe(|| over.result_timeout(LONG)));
            assert!(again.is_err(), "the result was taken");
            park_on(inner.spawn(|| 7)).unwrap()
        });
        assert_eq!(task.result().unwrap(), 7);
    }

    fn who_blocks_inside_of_a_poll_is_looked_at_when_that_is_over() {
        // Whoever else begins to wait meanwhile sees that this one can go on, and needs no help yet. At times
        // it is too early for that, and then it is helped at once.
        for _ in 0..20 {
            let pool = ThreadPoolExecutor::new(2);
            let (promise, promised) = Promise::<u32>::new();
            let inner = pool.clone();
            let (other, gate) = waited_for(&pool, move || any_of([inner.spawn(|| 7)]));
            let (inner, (say, said)) = (pool.clone(), mpsc::channel());
            let polls = pool.spawn(move || {
                let (mut child, mut promised) = (inner.spawn(|| 7), Some(promised));
                park_on(std::future::poll_fn(move |context| {
                    let poll = pin!(&mut child).poll(context);
                    if let Some(promised) = promised.take() {
                        say.send(()).unwrap();
                        promised.result().unwrap();
                    }
                    poll
                }))
                .unwrap()
            });
            said.recv().unwrap();
            gate.open();
            eventually("both wait, or were helped", || pool.stats().blocked() == 2 || other.is_done());
            promise.fulfil(1).unwrap();
            assert_eq!((polls.result().unwrap(), other.result().unwrap()), (7, 7));
        }
    }

    fn a_task_whose_callback_waits_is_not_over_for_those_that_wait_for_it() {
        let pool = ThreadPoolExecutor::new(2);
        let (task, gate) = waited_for(&pool, || 1);
        let (inner, (say, said)) = (pool.clone(), mpsc::channel());
        task.on_done(move |_, _| say.send(any_of([inner.spawn(|| 7)])).unwrap());
        let waits = pool.spawn(move || task.result().unwrap());
        some_wait(&pool, 1);
        gate.open();
        assert_eq!((waits.result().unwrap(), said.recv().unwrap()), (1, 7));
    }

    fn a_circle_through_a_callback_is_an_error() {
        let pool = ThreadPoolExecutor::new(2);
        let (task, gate) = waited_for(&pool, || 1);
        let (send, receive) = mpsc::channel::<TaskFuture<bool>>();
        let (say, said) = mpsc::channel();
        task.on_done(move |_, _| say.send(is_deadlock(receive.recv().unwrap())).unwrap());
        let (note, noted) = mpsc::channel();
        let waits = pool.spawn(move || {
            let is_refused = is_deadlock(task);
            note.send(is_refused).unwrap();
            is_refused
        });
        some_wait(&pool, 1);
        send.send(waits).unwrap();
        gate.open();
        assert!(said.recv().unwrap() && noted.recv().unwrap());
    }

    fn a_task_whose_observer_waits_is_not_over_for_those_that_wait_for_it() {
        struct Waits(Mutex<Option<(TaskId, ThreadPoolExecutor)>>);

        impl Observer for Waits {
            fn finished(&self, task: TaskInfo<'_>, _: Outcome, _: Option<Run>) {
                let taken = self.0.lock().unwrap().take_if(|(id, _)| *id == task.id());
                if let Some((_, pool)) = taken {
                    assert_eq!(any_of([pool.spawn(|| 7)]), 7);
                }
            }
        }
        let observer = Arc::new(Waits(Mutex::default()));
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .observer(Arc::clone(&observer) as Arc<dyn Observer>)
            .build()
            .unwrap();
        let (task, gate) = waited_for(&pool, || 1);
        *observer.0.lock().unwrap() = Some((task.id(), pool.clone()));
        let waits = pool.spawn(move || task.result().unwrap());
        some_wait(&pool, 1);
        gate.open();
        assert_eq!(waits.result().unwrap(), 1);
        assert!(observer.0.lock().unwrap().is_none(), "it has waited");
    }

    fn a_cancelled_task_whose_captures_wait_is_not_over_for_those_that_wait_for_it() {
        struct Waits(ThreadPoolExecutor);

        impl Drop for Waits {
            fn drop(&mut self) {
                assert_eq!(any_of([self.0.spawn(|| 7)]), 7);
            }
        }
        let (pool, (other, busy)) = (ThreadPoolExecutor::new(2), crate::harness::busy_pool());
        let captured = Waits(pool.clone());
        let victim = other.spawn(move || drop(captured));
        let handle = victim.handle();
        let (cancels, gate) = waited_for(&pool, move || handle.cancel());
        let waits = pool.spawn(move || {
            let mut waited = wait([victim]).first_completed().blocking_wait().unwrap();
            waited.done.pop().unwrap().result().unwrap_err()
        });
        some_wait(&pool, 1);
        gate.open();
        assert!(cancels.result().unwrap());
        assert!(waits.result().unwrap().is_cancelled());
        busy.open();
    }

    fn a_wait_in_an_inline_task_is_one_of_the_task_around_it() {
        let pool = ThreadPoolExecutor::new(2);
        let inner = pool.clone();
        let (task, gate) = waited_for(&pool, move || {
            *CHILD.lock().unwrap() = Some(inner.spawn(|| 7));
            InlineExecutor::new().submit(|| any_of([take_child()]), ()).result().unwrap()
        });
        let waits = pool.spawn(move || task.result().unwrap());
        some_wait(&pool, 1);
        gate.open();
        assert_eq!(waits.result().unwrap(), 7);
    }

    fn a_circle_through_an_inline_task_is_an_error() {
        let pool = ThreadPoolExecutor::new(2);
        let (say, said) = mpsc::channel();
        let other = say.clone();
        let (task, gate) = waited_for(&pool, move || {
            let inline = InlineExecutor::new().submit(|| is_deadlock(take_child()), ());
            say.send(inline.result().unwrap()).unwrap();
        });
        *CHILD.lock().unwrap() = Some(pool.spawn(move || {
            other.send(is_deadlock(task)).unwrap();
            2
        }));
        some_wait(&pool, 1);
        gate.open();
        assert!(said.recv().unwrap() && said.recv().unwrap());
    }

    fn who_waits_for_any_of_very_many_is_helped_with_the_one_that_is_queued() {
        let count = 40;
        let pool = ThreadPoolExecutor::new(count + 1);
        let (send, receive) = mpsc::channel::<Vec<TaskFuture<u32>>>();
        let inner = pool.clone();
        let (task, gate) = waited_for(&pool, move || {
            let mut futures = receive.recv().unwrap();
            futures.push(inner.spawn(|| 7));
            any_of(futures)
        });
        let task = task.shared();
        let others = (0..count).map(|_| {
            let task = task.clone();
            pool.spawn(move || {
                wait([task]).first_completed().blocking_wait().unwrap();
                0
            })
        });
        send.send(others.collect()).unwrap();
        some_wait(&pool, count);
        gate.open();
        assert_eq!(task.result().unwrap(), 7);
    }

    fn the_limit_of_a_running_time_ends_a_wait_inside_of_the_pool() {
        for workers in [1, 2] {
            let pool = ThreadPoolExecutor::new(workers);
            let (inner, gate) = (pool.clone(), Gate::default());
            let opened = gate.clone();
            let error = pool.spawn(move || {
                let brief = TaskOptions::new().run_timeout(Duration::from_millis(20));
                inner.with(brief).spawn(move || opened.pass()).result().unwrap_err()
            });
            assert_eq!(error.result().unwrap().clock(), Some(Clock::Run));
            gate.open();
        }
    }

    fn a_circle_that_the_limit_of_a_running_time_ends_is_none() {
        let pool = ThreadPoolExecutor::new(2);
        let brief = TaskOptions::new().run_timeout(Duration::from_millis(20));
        assert_eq!(circle_of_two(&pool, brief), ["result 1", "Run"]);
        assert_eq!(circle_of_two(&pool, TaskOptions::new()), ["deadlock", "deadlock"]);
    }

    fn in_a_circle_that_closes_in_place_only_who_blocks_is_refused() {
        let pool = ThreadPoolExecutor::new(1);
        let (to_first, for_first) = mpsc::channel::<TaskFuture<bool>>();
        let (to_second, for_second) = mpsc::channel::<TaskFuture<bool>>();
        let (say, said) = mpsc::channel();
        let first = pool.spawn(move || {
            let was_refused = for_first.recv().unwrap().result().unwrap();
            say.send(was_refused).unwrap();
            was_refused
        });
        let second = pool.spawn(move || is_deadlock(for_second.recv().unwrap()));
        to_second.send(first).unwrap();
        to_first.send(second).unwrap();
        assert!(said.recv().unwrap());
    }

    fn a_runtime_that_has_no_thread_for_a_second_worker_hides_no_wait() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let inner = pool.clone();
        let task = pool.spawn(move || any_of([inner.spawn(|| 7)]));
        assert_eq!(task.result().unwrap(), 7);
        // Nor one that is deeper than the runtime has threads.
        let inner = pool.clone();
        let depth = pool.spawn(move || depth_by(&inner, 20, |future| any_of([future])));
        assert_eq!(depth.result().unwrap(), 20);
    }

    fn who_waits_for_the_end_of_another_pool_hangs_with_its_tasks() {
        let (first, second) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
        let queues_in = first.clone();
        let (task, gate) = waited_for(&second, move || queues_in.spawn(|| 7).result().unwrap());
        let other = second.clone();
        let waits = first.spawn(move || other.blocking_shutdown(Shutdown::new()).unwrap());
        some_wait(&first, 1);
        gate.open();
        assert_eq!(task.result().unwrap(), 7);
        waits.result().unwrap();
    }

    fn an_initializer_may_wait_for_another_pool_that_waits_for_this_one() {
        let second = ThreadPoolExecutor::new(1);
        let used = second.clone();
        let first = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(move || used.spawn(|| ()).result())
            .build()
            .unwrap();
        let (own, other) = (first.clone(), second.clone());
        let task = first.spawn(move || {
            let mut queued = own.spawn(|| 7);
            // It needs an extra worker here, whose initializer needs one there.
            other.spawn(move || queued.result_timeout(LONG)).result().unwrap()
        });
        assert_eq!(task.result().unwrap().unwrap(), 7);
    }

    fn an_extra_worker_stays_for_the_next_task() {
        let started = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&started);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(move || _ = counter.fetch_add(1, Ordering::SeqCst))
            .build()
            .unwrap();
        let inner = pool.clone();
        let sum = pool.spawn(move || {
            let children = as_completed((0..200).map(|n| inner.spawn(move || n)));
            children.into_iter().map(|child| child.result().unwrap()).sum::<u32>()
        });
        assert_eq!(sum.result().unwrap(), 19_900);
        // On a busy machine it may find the next task only when it is gone.
        let started = started.load(Ordering::SeqCst);
        assert!((2..100).contains(&started), "{started} workers");
    }

    fn a_long_chain_of_waits_with_limits_takes_little_time() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let start = Instant::now();
        let depth = pool.spawn(move || {
            depth_by(&inner, 200, |mut future| future.result_timeout(LONG).unwrap())
        });
        assert_eq!(depth.result().unwrap(), 200);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
