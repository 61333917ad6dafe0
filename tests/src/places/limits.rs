//! What is taken, what is refused, and when a place is free again.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use concurrent_futures::{
    Executor, Outcome, ProcessPoolExecutor, Ran, Rejection, TaskOptions, ThreadPoolExecutor,
};
use futures_util::FutureExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::{Limited, full, is_full};
use crate::harness::{Gate, Processes, Threads, eventually, on_every_pool, tests};
on_every_pool!(
    with_a_limit_of_0_a_task_is_taken_only_if_a_worker_is_free,
    as_many_are_taken_as_there_are_workers_and_the_limit_says,
    a_place_is_free_again_before_the_result_is_seen,
    a_task_that_fails_or_panics_gives_its_place_back,
    a_queued_task_that_is_cancelled_gives_its_place_back_at_once,
    a_task_whose_time_in_the_queue_is_over_gives_its_place_back,
    whatever_is_submitted_is_taken_or_rejected_and_counted_once,
);

fn with_a_limit_of_0_a_task_is_taken_only_if_a_worker_is_free<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(1, 0);
    let named = pool.with(TaskOptions::new().name("one more"));
    let error = named.submit(u64::pow, (2, 10)).result().unwrap_err();
    assert_eq!(error.rejection(), Some(Rejection::QueueFull));
    assert_eq!(error.ran(), Ran::No);
    assert_eq!(
        error.to_string(),
        "the task `one more` was not taken: the queue is full: wait for a place with reserve, \
         or raise queue_limit or queue_bytes"
    );
    let stats = S::stats(&pool);
    assert_eq!((stats.submitted(), stats.rejected()), (1, 1));
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

fn as_many_are_taken_as_there_are_workers_and_the_limit_says<S: Limited>() {
    let (pool, gate, tasks) = full::<S>(2, 3);
    assert!(is_full(&pool.submit(u64::pow, (2, 10)).result()));
    assert!(is_full(&pool.submit_fn(u32::count_ones, 7).result()));
    assert!(is_full(&pool.try_reserve()));
    assert_eq!(S::stats(&pool).rejected(), 2, "a reservation is no task");
    gate.open();
    for task in tasks {
        task.result().unwrap();
    }
    let permits: Vec<_> = (0..5).map(|_| pool.try_reserve().unwrap()).collect();
    assert!(is_full(&pool.try_reserve()));
    drop(permits);
    assert_eq!(S::stats(&pool).finished_with(Outcome::Succeeded), 5);
}

fn a_place_is_free_again_before_the_result_is_seen<S: Limited>() {
    let pool = S::limited(1, 0);
    for n in 0..1_000 {
        assert_eq!(pool.submit(u64::pow, (n, 1)).result().unwrap(), n);
        let permit = pool.try_reserve().unwrap();
        assert_eq!(permit.submit(u64::pow, (n, 1)).result().unwrap(), n);
    }
    let permit = pool.try_reserve().unwrap();
    let callback = Gate::default();
    // Open from the start: the callback runs on this thread if the task is over already.
    callback.open();
    let (after, seen) = (callback.clone(), pool.clone());
    let future = permit.submit(u64::pow, (2, 10));
    future.on_done(move |_, _| {
        drop(seen.try_reserve().unwrap());
        after.pass();
    });
    callback.wait_for(1);
    future.result().unwrap();
}

fn a_task_that_fails_or_panics_gives_its_place_back<S: Limited>() {
    let pool = S::limited(1, 0);
    for _ in 0..10 {
        let panics = pool.submit(|| -> u32 { panic!("no luck") }, ());
        assert!(panics.result().unwrap_err().is_panicked());
        let fails = pool.try_submit(|| Err::<u32, _>("no luck"), ());
        assert!(fails.result().unwrap_err().is_failed());
    }
}

fn a_queued_task_that_is_cancelled_gives_its_place_back_at_once<S: Limited>() {
    let (pool, gate, mut tasks) = full::<S>(1, 5);
    let mut waiting = pin!(pool.reserve());
    assert!((&mut waiting).now_or_never().is_none());
    // Neither the next one nor the last.
    assert!(tasks.remove(3).cancel());
    let permit = waiting.now_or_never().unwrap().unwrap();
    drop(permit);
    for task in &tasks[2..] {
        assert!(task.cancel());
    }
    let permits: Vec<_> = (0..4).map(|_| pool.try_reserve().unwrap()).collect();
    assert!(is_full(&pool.try_reserve()));
    drop(permits);
    gate.open();
    assert!(tasks.remove(0).result().is_ok());
}

fn a_task_whose_time_in_the_queue_is_over_gives_its_place_back<S: Limited>() {
    let (pool, gate, mut tasks) = full::<S>(1, 1);
    assert!(tasks.pop().unwrap().cancel());
    let impatient = TaskOptions::new().queue_timeout(Duration::from_millis(5));
    let future = pool.with(impatient).submit(u64::pow, (2, 10));
    assert!(is_full(&pool.try_reserve()));
    assert!(future.result().unwrap_err().is_timed_out());
    assert!(pool.try_reserve().is_ok());
    gate.open();
    tasks.remove(0).result().unwrap();
}

fn whatever_is_submitted_is_taken_or_rejected_and_counted_once<S: Limited>() {
    let pool = S::limited(2, 8);
    let rejected = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (pool, rejected) = (&pool, &rejected);
            scope.spawn(move || {
                for n in 0..500 {
                    let future = pool.submit(u64::pow, (n, 1));
                    if n % 7 == number {
                        future.cancel();
                    }
                    if is_full(&future.result()) {
                        rejected.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let stats = S::stats(&pool);
    assert_eq!(stats.rejected(), rejected.into_inner());
    assert_eq!(stats.submitted() + stats.rejected(), 2_000);
    assert_eq!(stats.finished(), stats.submitted());
    let permits: Vec<_> = (0..10).map(|_| pool.try_reserve().unwrap()).collect();
    assert!(
        is_full(&pool.try_reserve()),
        "no place is lost, and none won"
    );
    drop(permits);
}

/// Counts the events of this crate.
#[derive(Clone, Default)]
struct Events(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, _event: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

tests! {
    fn the_place_goes_after_what_the_closure_has_captured() {
        struct Looks(ThreadPoolExecutor, Arc<AtomicUsize>);
        impl Drop for Looks {
            fn drop(&mut self) {
                self.1.fetch_add(usize::from(is_full(&self.0.try_reserve())), Ordering::Relaxed);
            }
        }
        let pool = Threads::limited(1, 0);
        let times_full = Arc::new(AtomicUsize::new(0));
        let looks = Looks(pool.clone(), Arc::clone(&times_full));
        pool.spawn(move || drop(looks)).result().unwrap();
        let looks = Looks(pool.clone(), Arc::clone(&times_full));
        pool.spawn(move || { let _kept = &looks; }).result().unwrap();
        assert_eq!(times_full.load(Ordering::Relaxed), 2);
    }

    fn a_body_that_goes_on_after_its_time_keeps_its_place() {
        let pool = Threads::limited(1, 0);
        let gate = Gate::default();
        let inside = gate.clone();
        let timed = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(5)));
        let late = timed.spawn(move || inside.pass());
        assert!(late.result().unwrap_err().is_timed_out());
        assert!(is_full(&pool.try_reserve()));
        gate.open();
        assert_eq!(pool.blocking_reserve().unwrap().spawn(|| 7).result().unwrap(), 7);
    }

    fn a_task_that_loses_or_is_stopped_with_its_worker_gives_its_place_back() {
        let pool = Processes::limited(1, 0);
        let lost = pool.submit(|| -> u32 { std::process::abort() }, ());
        assert!(lost.result().unwrap_err().is_worker_lost());
        let (pool, _gate, mut tasks) = full::<Processes>(1, 0);
        let stopped = tasks.remove(0);
        stopped.abort();
        assert!(stopped.result().unwrap_err().is_aborted());
        assert!(pool.try_reserve().is_ok());
    }

    fn a_task_that_cannot_be_encoded_gives_its_place_back() {
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .queue_limit(0)
            .max_payload(100)
            .build()
            .unwrap();
        for _ in 0..3 {
            let future = pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; 1_000]);
            assert!(future.result().unwrap_err().is_too_large());
        }
        let stats = pool.stats();
        assert_eq!((stats.submitted(), stats.rejected()), (3, 0));
    }

    fn a_submission_that_is_rejected_because_the_queue_is_full_is_traced() {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.clone());
        let (pool, gate, _tasks) = full::<Threads>(1, 0);
        tracing::subscriber::with_default(subscriber, || {
            pool.submit(u64::pow, (2, 10)).detach();
        });
        assert_eq!(events.0.load(Ordering::Relaxed), 1);
        gate.open();
        eventually("the place is given back", || pool.try_reserve().is_ok());
    }
}
