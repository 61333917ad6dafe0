//! More workers, and fewer, while the pool works.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use concurrent_futures::{Executor, ProcessPoolExecutor, Rejection, Shutdown};

use super::{eventually_idle, gates, pids, warm_pool};
use crate::harness::{PathGate, children, eventually, pass, tests};

/// Appends a number to a list.
fn note(list: PathBuf, number: u8) {
    let list = OpenOptions::new().append(true).create(true).open(list);
    list.unwrap().write_all(&[number]).unwrap();
}

tests! {
    fn growing_starts_further_workers_for_what_is_queued_at_once() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(1);
        let futures = [(); 3].map(|()| pool.submit(pass, gate.door()));
        gate.wait_for(1);
        assert_eq!((pool.max_workers(), pool.stats().max_workers()), (1, 1));
        pool.resize(3).unwrap();
        assert_eq!((pool.max_workers(), pool.stats().max_workers()), (3, 3));
        gate.wait_for(3);
        gate.open();
        for future in futures {
            future.result().unwrap();
        }
    }

    fn shrinking_lets_idle_workers_go_at_once_and_the_rest_go_on() {
        let pool = warm_pool(4);
        let before = pids(&pool);
        pool.resize(1).unwrap();
        eventually("three are gone", || pool.worker_stats().len() == 1 && children().len() == 1);
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        assert!(before.contains(&pid), "none was started for it");
    }

    fn shrinking_ends_no_task_and_nothing_begins_before_enough_workers_have_gone() {
        let pool = ProcessPoolExecutor::new(3);
        let [first, second, third, next] = gates();
        let running = [&first, &second, &third].map(|gate| {
            let future = pool.submit(pass, gate.door());
            gate.wait_for(1);
            future
        });
        pool.resize(1).unwrap();
        let queued = pool.submit(pass, next.door());
        first.open();
        eventually("one has gone", || pool.worker_stats().len() == 2);
        assert_eq!(next.arrived(), 0);
        second.open();
        eventually("two have gone", || pool.worker_stats().len() == 1);
        assert_eq!(next.arrived(), 0);
        third.open();
        next.wait_for(1);
        assert_eq!(pool.worker_stats().len(), 1);
        next.open();
        queued.result().unwrap();
        for future in running {
            future.result().unwrap();
        }
    }

    fn one_that_was_too_many_stays_if_another_is_lost_meanwhile() {
        let pool = ProcessPoolExecutor::new(2);
        let [kept, lost] = gates();
        let running = pool.submit(pass, kept.door());
        kept.wait_for(1);
        let aborted = pool.submit(pass, lost.door());
        lost.wait_for(1);
        pool.resize(1).unwrap();
        let next = pool.submit(std::process::id, ());
        aborted.abort();
        assert!(aborted.result().unwrap_err().is_aborted());
        eventually("it is gone", || pool.worker_stats().len() == 1);
        kept.open();
        running.result().unwrap();
        assert_eq!(next.result().unwrap(), kept.arrivals()[0]);
    }

    fn what_lies_ready_at_those_that_go_runs_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let pool = warm_pool(3);
        // So short that some may lie ready behind others.
        for future in [(); 100].map(|()| pool.submit(|| (), ())) {
            future.result().unwrap();
        }
        let opened = gates::<3>();
        let running = [0, 1, 2].map(|index: usize| {
            let future = pool.submit(pass, opened[index].door());
            opened[index].wait_for(1);
            future
        });
        let notes: Vec<_> = (0..60)
            .map(|number: u8| pool.submit(note, (list.clone(), number)))
            .collect();
        pool.resize(1).unwrap();
        for gate in &opened {
            gate.open();
        }
        for future in running {
            future.result().unwrap();
        }
        for future in notes {
            future.result().unwrap();
        }
        assert_eq!(std::fs::read(list).unwrap(), Vec::from_iter(0..60));
    }

    fn workers_that_are_starting_are_let_go_and_their_task_runs_elsewhere() {
        let initialized = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(3)
            .initializer(pass, initialized.door())
            .build()
            .unwrap();
        let futures = [(); 3].map(|()| pool.submit(std::process::id, ()));
        initialized.wait_for(3);
        pool.resize(1).unwrap();
        eventually("two are gone", || children().len() == 1);
        initialized.open();
        let pids = futures.map(|future| future.result().unwrap());
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    }

    fn the_queue_limit_counts_from_the_new_number() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
        let full = || pool.try_reserve().unwrap_err().rejection() == Some(Rejection::QueueFull);
        let mut taken = Vec::from([(); 2].map(|()| pool.submit(pass, gate.door())));
        assert!(full());
        let waiting = [(); 2].map(|()| pool.admission().enter());
        pool.resize(2).unwrap();
        let [first, second] = waiting;
        let place = first.result().unwrap();
        assert!(!second.is_done() && full());
        drop(place);
        drop(second.result().unwrap());
        taken.push(pool.submit(pass, gate.door()));
        pool.resize(1).unwrap();
        assert!(full(), "three are there, and two may be");
        gate.open();
        for future in taken {
            future.result().unwrap();
        }
        let permits = [(); 2].map(|()| pool.try_reserve().unwrap());
        assert!(full());
        drop(permits);
    }

    fn a_map_that_is_being_taken_follows() {
        let pool = ProcessPoolExecutor::new(1);
        let pulled = Cell::new(0);
        let items = (0..10_000_u64).inspect(|_| pulled.set(pulled.get() + 1));
        let mut results = pool.map(|n: u64| n, items);
        results.blocking_next().unwrap().unwrap();
        assert!(pulled.get() < 16, "{}", pulled.get());
        pool.resize(8).unwrap();
        for _ in 0..3 {
            results.blocking_next().unwrap().unwrap();
        }
        assert!(pulled.get() >= 16, "{}", pulled.get());
    }

    fn no_workers_are_refused() {
        let pool = ProcessPoolExecutor::new(2);
        let error = pool.resize(0).unwrap_err();
        assert_eq!(error.to_string(), "max_workers is 0: give at least 1");
        assert_eq!(pool.max_workers(), 2);
    }

    fn resizes_at_the_same_time_lose_nothing_and_the_number_holds_in_the_end() {
        let pool = ProcessPoolExecutor::builder().max_workers(2).queue_limit(1_000_000).build().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for numbers in [[1, 4, 2], [3, 1, 4]] {
                let (pool, is_over) = (&pool, &is_over);
                scope.spawn(move || {
                    for number in numbers.iter().cycle() {
                        pool.resize(*number).unwrap();
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                });
            }
            let numbers = Vec::from_iter(0..3_000_u64);
            let futures: Vec<_> = numbers.iter().map(|n| pool.submit(|n: u64| n, *n)).collect();
            let results: Vec<_> = futures.into_iter().map(|future| future.result().unwrap()).collect();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(results, numbers);
        });
        pool.resize(2).unwrap();
        pool.warm_up().result().unwrap();
        eventually_idle(&pool, 2);
        let places = 1_000_002;
        let permits: Vec<_> = (0..10).map(|_| pool.try_reserve().unwrap()).collect();
        assert!(format!("{:?}", pool.admission()).contains(&format!("places: {places}")));
        drop(permits);
    }

    fn a_resize_does_no_harm_to_a_pool_that_ends_or_has_ended() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::new(2);
        let running = [(); 3].map(|()| pool.submit(pass, gate.door()));
        gate.wait_for(2);
        let ending = pool.shutdown(Shutdown::new());
        pool.resize(3).unwrap();
        gate.wait_for(3);
        pool.resize(1).unwrap();
        gate.open();
        for future in running {
            future.result().unwrap();
        }
        ending.result().unwrap();
        pool.resize(5).unwrap();
        assert_eq!(pool.max_workers(), 5);
        assert_eq!(pool.submit(|| 1, ()).result().unwrap_err().rejection(), Some(Rejection::ShutDown));
        assert!(children().is_empty());

        let broken = ProcessPoolExecutor::builder().max_workers(1).initializer(|| Err::<(), _>("no"), ());
        let broken = broken.build().unwrap();
        broken.submit(|| 1, ()).result().unwrap_err();
        broken.resize(3).unwrap();
        assert_eq!(broken.submit(|| 1, ()).result().unwrap_err().rejection(), Some(Rejection::Broken));

        let killed = warm_pool(2);
        killed.kill_workers();
        killed.resize(1).unwrap();
        killed.resize(4).unwrap();
        killed.blocking_shutdown(Shutdown::new()).unwrap();
        assert!(children().is_empty());
    }

    fn growing_again_keeps_those_that_have_not_gone() {
        let pool = ProcessPoolExecutor::new(2);
        let gate = PathGate::new();
        let running = [(); 2].map(|()| pool.submit(pass, gate.door()));
        gate.wait_for(2);
        pool.resize(1).unwrap();
        pool.resize(2).unwrap();
        gate.open();
        for future in running {
            future.result().unwrap();
        }
        eventually_idle(&pool, 2);
        let mut before = gate.arrivals();
        before.sort_unstable();
        let mut now = pids(&pool);
        now.sort_unstable();
        assert_eq!(now, before);
    }
}
