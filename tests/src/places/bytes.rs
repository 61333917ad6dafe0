//! The limit of the bytes that a pool of processes keeps.

use std::pin::pin;

use concurrent_futures::{Executor, ProcessPoolExecutor};
use futures_util::FutureExt as _;

use super::is_full;
use crate::harness::{Door, PathGate, tests};
tests! {
    fn encoded_arguments_are_taken_until_the_limit_is_reached() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).queue_bytes(1_000).build().unwrap();
        let gate = PathGate::new();
        let submit = |bytes: usize| pool.submit(hold, (gate.door(), "x".repeat(bytes)));
        let mut tasks = vec![submit(1), submit(300), submit(300)];
        // Less than the limit is kept, so that one more is taken, however large.
        tasks.push(submit(5_000));
        assert!(is_full(&submit(1).result()));
        assert!(is_full(&pool.try_reserve()));
        let mut waiting = pin!(pool.reserve());
        assert!((&mut waiting).now_or_never().is_none());
        assert!(tasks.pop().unwrap().cancel());
        let permit = waiting.now_or_never().unwrap().unwrap();
        // Who has a permit is not held back.
        tasks.push(permit.submit(hold, (gate.door(), "x".repeat(5_000))));
        assert!(is_full(&pool.try_reserve()));
        assert_eq!(pool.stats().rejected(), 1);
        gate.open();
        for task in tasks {
            task.result().unwrap();
        }
        assert_eq!(submit(50_000).result().unwrap(), 50_000);
        let sum: usize = pool.map(|text: String| text.len(), (0..50).map(|_| "x".repeat(700)))
            .into_iter()
            .map(Result::unwrap)
            .sum();
        assert_eq!(sum, 35_000);
    }

    fn when_much_is_given_back_all_who_wait_and_have_room_go_on() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).queue_bytes(1_000).build().unwrap();
        let gate = PathGate::new();
        let large = pool.submit(hold, (gate.door(), "x".repeat(2_000)));
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pool.reserve())).collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        gate.open();
        large.result().unwrap();
        for mut wait in waiting {
            assert!((&mut wait).now_or_never().unwrap().is_ok());
        }
    }

    fn a_limit_of_no_bytes_is_refused() {
        let error = ProcessPoolExecutor::builder().queue_bytes(0).build().unwrap_err();
        assert_eq!(error.to_string(), "queue_bytes is 0: nothing would be taken; give at least 1");
    }
}

/// Waits at the gate, and says how long the text is.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
fn hold(door: Door, text: String) -> usize {
    door.pass();
    text.len()
}
