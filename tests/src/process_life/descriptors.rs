//! Tasks that close or replace the descriptors of their worker harm themselves at most.

use concurrent_futures::{Blob, Executor, ProcessPoolExecutor, Shutdown};

use super::door::Door;
use super::system::{Process, assert_ended};
use super::visit::pass;
use crate::harness::tests;

fn park() {
    loop {
        std::thread::park();
    }
}

fn works(pool: &ProcessPoolExecutor) {
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Every copy of the channel is replaced by something else.
fn replace_sockets((): ()) {
    for number in 3..4096 {
        let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
        if target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            // SAFETY: it is done to a process that is meant to be broken.
            unsafe { libc::dup2(0, number) };
        }
    }
}

fn close_all((): ()) {
    for number in 0..=1024 {
        // SAFETY: it is done to a process that is meant to be broken.
        unsafe { libc::close(number) };
    }
}

tests! {
    fn a_task_that_closes_or_replaces_every_descriptor_harms_no_task_after_it() {
        // Small values go through shared memory, which needs no descriptor; large ones need the channel.
        let large = vec![7_u8; 1 << 20];
        for ruin in [close_all as fn(()), replace_sockets] {
            let pool = ProcessPoolExecutor::new(1);
            for _ in 0..3 {
                works(&pool);
                // It may be found out while it runs, or when it is over, or when the channel is needed.
                match pool.submit_fn(ruin, ()).result() {
                    Ok(()) => {}
                    Err(error) => assert!(error.is_worker_lost(), "{error}"),
                }
                works(&pool);
                assert_eq!(pool.submit(|bytes: Vec<u8>| bytes.len(), large.clone()).result().unwrap(), 1 << 20);
                assert_eq!(pool.submit(|bytes: Vec<u8>| bytes, large.clone()).result().unwrap(), large);
            }
        }
    }

    fn a_result_that_needs_the_channel_which_a_task_has_closed_fails_and_the_next_does_not() {
        let pool = ProcessPoolExecutor::new(1);
        let give = |length: usize| vec![7_u8; length];
        let close_and_give = |length: usize| {
            close_all(());
            vec![7_u8; length]
        };
        // The pool has no memory yet that would be large enough.
        for megabytes in [1, 8, 64] {
            let length: usize = megabytes << 20;
            let lost = pool.submit(close_and_give, length).result();
            let lost = lost.map(|bytes| bytes.len()).unwrap_err();
            assert!(lost.is_worker_lost() || lost.is_codec(), "{lost}");
            // The worker cannot give anything large any more, and must not be given the chance to say so.
            assert!(pool.submit(give, length).result().unwrap() == vec![7_u8; length]);
        }
    }

    fn a_result_in_memory_that_the_pool_has_needs_no_channel() {
        let pool = ProcessPoolExecutor::new(1);
        let pids = [(); 2].map(|()| {
            let given = pool.submit(|| (std::process::id(), vec![7_u8; 1 << 20]), ());
            let (pid, bytes) = given.result().unwrap();
            assert!(bytes == vec![7_u8; 1 << 20]);
            pool.submit(close_all, ()).result().unwrap();
            pid
        });
        assert_eq!(pids[0], pids[1]);
    }

    fn a_task_that_has_closed_every_descriptor_can_still_be_aborted() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        let close_and_stay = |door: String| {
            pass(door);
            close_all(());
            park();
        };
        let running = pool.submit(close_and_stay, door.name());
        let visitor = door.visitor();
        let worker = Process::of(visitor.pid());
        visitor.let_in();
        running.abort();
        let error = running.result().unwrap_err();
        assert!(error.is_aborted() || error.is_worker_lost(), "{error}");
        assert_ended(&[worker]);
        works(&pool);
    }

    fn tasks_that_wait_take_no_more_descriptors_than_memory_has_slots_however_their_arguments_grow() {
        let pool = ProcessPoolExecutor::new(1);
        let door = Door::new();
        let running = pool.submit(pass, door.name());
        let visitor = door.visitor();
        let before = open_files();
        // The second one does not fit beside the first, so that both go to larger memory.
        let give = |first: Blob, second: Blob| first.len() + second.len();
        let arguments = || (Blob::from(vec![1; 40_000]), Blob::from(vec![2; 40_000]));
        let futures: Vec<_> = (0..200).map(|_| pool.submit(give, arguments())).collect();
        let more = open_files() - before;
        assert!(more <= 64, "{more} descriptors for 200 tasks");
        drop(visitor);
        running.result().unwrap();
        assert!(futures.into_iter().all(|future| future.result().unwrap() == 80_000));
    }

    fn a_large_result_that_nobody_takes_keeps_no_descriptors_of_a_worker_that_is_gone() {
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let pool = builder.max_tasks_per_worker(1).build().unwrap();
        let give = |number: u8| vec![number; 1 << 20];
        let before = open_files();
        let futures: Vec<_> = (0..20).map(|number| pool.submit(give, number)).collect();
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        let more = open_files().saturating_sub(before);
        assert!(more <= 5, "{more} descriptors of 20 workers");
        for (number, future) in (0..).zip(futures) {
            assert_eq!(future.result().unwrap(), [number; 1 << 20]);
        }
    }

    fn a_pool_that_is_shut_down_keeps_no_memory_for_large_arguments() {
        let pool = ProcessPoolExecutor::new(2);
        let before = open_files();
        let give = |bytes: Blob| bytes.len();
        let futures: Vec<_> = (0..10).map(|_| pool.submit(give, vec![7; 1 << 20].into())).collect();
        assert!(futures.into_iter().all(|future| future.result().unwrap() == 1 << 20));
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        // The notifier's is used again and again.
        let more = open_files().saturating_sub(before);
        assert!(more <= 2, "{more} descriptors");
    }
}
