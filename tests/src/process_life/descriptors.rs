//! Tasks that close or replace the descriptors of their worker harm themselves at most.

use concurrent_futures::{Executor, ProcessPoolExecutor};

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
        // More each time, since memory that the pool knows already needs no channel.
        for length in [1_usize << 20, 1 << 21, 1 << 22] {
            let error = pool.submit(close_and_give, length).result().map(|bytes| bytes.len()).unwrap_err();
            assert!(error.is_worker_lost() || error.is_codec(), "{error}");
            // The worker cannot give anything large any more, and must not be given the chance to say so.
            assert!(pool.submit(give, length).result().unwrap() == vec![7_u8; length]);
        }
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
}
