//! The more urgent task is run first, wherever the others lie, and none waits for ever.

use concurrent_futures::{
    Executor, Outcome, ProcessPoolExecutor, Shutdown, TaskFuture, TaskOptions,
};

use crate::harness::{Door, PathGate, Processes, busy, eventually, tests};

/// Runs something that says how many have run before it.
fn submit(pool: &ProcessPoolExecutor, priority: i32, order: &PathGate) -> TaskFuture<usize> {
    let count = |door: Door| {
        door.arrive();
        door.arrivals().len() - 1
    };
    let options = TaskOptions::new().priority(priority);
    pool.with(options).submit(count, order.door())
}

/// A pool whose worker runs a task until the gate is open, and may have others lie ready: tasks were short
/// so far.
fn busy_and_used_to_short_tasks() -> (ProcessPoolExecutor, PathGate) {
    let pool = ProcessPoolExecutor::new(1);
    let short: Vec<_> = (0..500).map(|_| pool.submit(|| (), ())).collect();
    assert!(short.into_iter().all(|future| future.result().is_ok()));
    let gate = PathGate::new();
    pool.submit(crate::harness::pass, gate.door()).detach();
    gate.wait_for(1);
    (pool, gate)
}

fn places(futures: Vec<TaskFuture<usize>>) -> Vec<usize> {
    let results = futures.into_iter().map(TaskFuture::result);
    results.map(Result::unwrap).collect()
}

tests! {
    fn the_most_urgent_task_is_run_first_and_equals_in_their_order() {
        let (pool, gate) = busy::<Processes>();
        let order = PathGate::new();
        let priorities = [0, 3, -1, 3, 0, i32::MAX, i32::MIN];
        let futures = priorities.map(|priority| submit(&pool, priority, &order));
        gate.open();
        assert_eq!(places(futures.into()), [3, 1, 5, 2, 4, 0, 6]);
    }

    fn an_urgent_task_does_not_wait_behind_those_that_lie_ready() {
        for (less, more) in [(0, 1), (-1, 0), (-2, -1), (1, 2)] {
            let (pool, gate) = busy_and_used_to_short_tasks();
            let order = PathGate::new();
            let ready: Vec<_> = (0..30).map(|_| submit(&pool, less, &order)).collect();
            let urgent: Vec<_> = (0..2).map(|_| submit(&pool, more, &order)).collect();
            gate.open();
            assert_eq!(places(urgent), [0, 1], "{more} before {less}");
            assert_eq!(places(ready), (2..32).collect::<Vec<_>>());
        }
    }

    fn an_urgent_task_does_not_wait_for_another_worker_than_the_one_that_starts() {
        let gate = PathGate::new();
        let start = |door: Door| door.pass();
        let builder = ProcessPoolExecutor::builder().max_workers(1).initializer(start, gate.door());
        let pool = builder.build().unwrap();
        let order = PathGate::new();
        let first = submit(&pool, 0, &order);
        gate.wait_for(1);
        let urgent = submit(&pool, 1, &order);
        gate.open();
        assert_eq!((urgent.result().unwrap(), first.result().unwrap()), (0, 1));
    }

    fn of_sixteen_tasks_one_is_the_oldest() {
        let (pool, gate) = busy::<Processes>();
        let order = PathGate::new();
        let old: Vec<_> = (0..2).map(|_| submit(&pool, -1, &order)).collect();
        let urgent: Vec<_> = (0..40).map(|_| submit(&pool, 1, &order)).collect();
        gate.open();
        assert_eq!(places(old), [15, 31]);
        assert_eq!(places(urgent).into_iter().max(), Some(41));
    }

    fn a_task_comes_to_its_turn_however_many_urgent_ones_follow() {
        let (pool, gate) = busy_and_used_to_short_tasks();
        let order = PathGate::new();
        let old = submit(&pool, -1, &order);
        let mut urgent = std::collections::VecDeque::new();
        gate.open();
        // There are always urgent ones that wait.
        for round in 0_u32.. {
            assert!(round < 10_000, "it does not come to its turn");
            urgent.push_back(pool.with(TaskOptions::new().priority(1)).submit(u64::pow, (2, 10)));
            if urgent.len() > 60 {
                urgent.pop_front().unwrap().result().unwrap();
            }
            if old.is_done() {
                break;
            }
        }
        old.result().unwrap();
    }

    fn what_waits_can_be_cancelled_whatever_its_priority() {
        let (pool, gate) = busy::<Processes>();
        let order = PathGate::new();
        let queued: Vec<_> = (-20..20).map(|priority| submit(&pool, priority, &order)).collect();
        for (n, future) in queued.iter().enumerate() {
            assert!(n % 3 > 0 || future.cancel());
        }
        let closed = pool.shutdown(Shutdown::new().cancel_pending(true));
        assert!(queued.into_iter().all(|future| future.result().unwrap_err().is_cancelled()));
        gate.open();
        closed.result().unwrap();
        assert_eq!(pool.stats().finished_with(Outcome::Cancelled), 40);
        eventually("all is counted", || pool.stats().finished() == 41);
        assert_eq!(order.arrived(), 0);
    }

    fn the_items_of_an_urgent_map_go_before_those_of_another() {
        let (pool, gate) = busy::<Processes>();
        let order = PathGate::new();
        let count = |door: Door| {
            door.arrive();
            door.arrivals().len() - 1
        };
        let map = |priority: i32| {
            let mapping = pool.with(TaskOptions::new().priority(priority)).mapping();
            mapping.window(6).chunk_size(2).map(count, vec![order.door(); 6])
        };
        let (slow, urgent) = (map(0), map(1));
        gate.open();
        let urgent: Result<Vec<_>, _> = urgent.into_iter().collect();
        assert_eq!(urgent.unwrap(), (0..6).collect::<Vec<_>>());
        let slow: Result<Vec<_>, _> = slow.into_iter().collect();
        assert_eq!(slow.unwrap(), (6..12).collect::<Vec<_>>());
    }
}
