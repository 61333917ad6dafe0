//! The order in which a thread pool takes tasks of several priorities.

use std::sync::{Arc, Mutex};

use concurrent_futures::{
    Executor, Outcome, Shutdown, TaskFuture, TaskOptions, ThreadPoolExecutor,
};

use crate::harness::{busy_pool, tests};

/// Notes the order in which its tasks run, on a pool whose worker is kept busy until they are queued.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<usize>>>);

impl Order {
    fn spawn(&self, pool: &ThreadPoolExecutor, priority: i32, number: usize) -> TaskFuture<()> {
        let order = Arc::clone(&self.0);
        let options = TaskOptions::new().priority(priority);
        pool.with(options)
            .spawn(move || order.lock().unwrap().push(number))
    }

    fn seen(&self) -> Vec<usize> {
        self.0.lock().unwrap().clone()
    }
}

fn finish(futures: Vec<TaskFuture<()>>) {
    for future in futures {
        future.result().unwrap();
    }
}

tests! {
    fn the_most_urgent_goes_first_and_equals_go_in_their_order() {
        let (pool, gate) = busy_pool();
        let order = Order::default();
        let priorities = [0, 5, -1, 5, 0, i32::MIN, i32::MAX, -1];
        let futures = (0..).zip(priorities).map(|(number, priority)| order.spawn(&pool, priority, number)).collect();
        assert_eq!(pool.stats().queued(), 8);
        gate.open();
        finish(futures);
        assert_eq!(order.seen(), [6, 1, 3, 0, 4, 2, 7, 5]);
    }

    fn tasks_without_a_priority_keep_their_order_before_and_after_urgent_ones() {
        let order = Order::default();
        let (pool, gate) = busy_pool();
        let mut futures: Vec<_> = (0..100).map(|number| order.spawn(&pool, 0, number)).collect();
        futures.push(order.spawn(&pool, 1, 1_000));
        futures.extend((100..200).map(|number| order.spawn(&pool, 0, number)));
        gate.open();
        finish(futures);
        let futures = (200..300).map(|number| order.spawn(&pool, 0, number)).collect();
        finish(futures);
        let wanted: Vec<usize> = std::iter::once(1_000).chain(0..300).collect();
        assert_eq!(order.seen(), wanted);
    }

    fn nothing_waits_for_ever_behind_urgent_tasks() {
        let order = Order::default();
        let (pool, gate) = busy_pool();
        let mut futures = vec![order.spawn(&pool, -7, 1_000), order.spawn(&pool, 0, 2_000)];
        futures.extend((0..100).map(|number| order.spawn(&pool, 1, number)));
        gate.open();
        finish(futures);
        let seen = order.seen();
        let place = |wanted| seen.iter().position(|number| *number == wanted).unwrap();
        assert!(place(1_000) <= 16, "{seen:?}");
        assert!(place(2_000) <= 32, "{seen:?}");
    }

    fn cancelled_tasks_of_any_priority_are_gone() {
        let order = Order::default();
        let (pool, gate) = busy_pool();
        let futures: Vec<_> = (0..1_000)
            .map(|number| order.spawn(&pool, i32::try_from(number % 3).unwrap() - 1, number))
            .collect();
        for future in futures.iter().skip(1) {
            assert!(future.cancel());
        }
        assert_eq!(pool.stats().queued(), 1);
        gate.open();
        assert_eq!(futures.into_iter().filter_map(|future| future.result().ok()).count(), 1);
        assert_eq!(order.seen(), [0]);
        let stats = pool.stats();
        assert_eq!(stats.finished_with(Outcome::Cancelled), 999);
        assert_eq!(stats.queued() + stats.running() + stats.finished(), stats.submitted());
    }

    fn shutdown_reaches_tasks_of_all_priorities() {
        for cancels in [false, true] {
            let order = Order::default();
            let (pool, gate) = busy_pool();
            let futures: Vec<_> = (0..10)
                .map(|number| order.spawn(&pool, i32::try_from(number).unwrap() - 5, number))
                .collect();
            let shutdown = pool.shutdown(Shutdown::new().cancel_pending(cancels));
            gate.open();
            shutdown.result().unwrap();
            let cancelled = futures.iter().filter(|future| future.is_cancelled()).count();
            assert_eq!((cancelled, order.seen().len()), if cancels { (10, 0) } else { (0, 10) });
            let refused = order.spawn(&pool, 3, 11);
            assert!(refused.result().unwrap_err().is_rejected());
        }
    }

    fn an_urgent_task_that_is_waited_for_runs_in_place_too() {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let sum = pool.spawn(move || {
            let children: Vec<_> = (0..100_i32)
                .map(|n| inner.with(TaskOptions::new().priority(n % 5)).spawn(move || n))
                .collect();
            children.into_iter().map(|child| child.result().unwrap()).sum::<i32>()
        });
        assert_eq!(sum.result().unwrap(), 4_950);
        assert_eq!(pool.stats().queued(), 0);
    }
}
