//! Panics: reported for what they are, and no harm to anybody else.

use std::sync::{Arc, Mutex};

use concurrent_futures::{
    Executor, Outcome, ProcessPoolExecutor, Promise, ThreadPoolExecutor, as_completed,
};

use crate::harness::{Subject, on_every_executor, tests};

on_every_executor!(
    message_and_place_of_a_panic_are_reported,
    every_kind_of_payload_is_reported,
    misuse_that_panics_is_found_at_the_line_of_who_called,
);

fn message_and_place_of_a_panic_are_reported<S: Subject>() {
    let executor = S::with_workers(1);
    let error = executor
        .submit(|n: u32| -> u32 { panic!("number {n}") }, 7)
        .result()
        .unwrap_err();
    assert!(error.is_panicked());
    assert_eq!(error.message().unwrap(), "number 7");
    let location = error.location().unwrap();
    assert!(location.contains("panics.rs:"), "{location}");
    assert!(
        error.to_string().contains("panicked: number 7 (at "),
        "{error}"
    );
}

fn misuse_that_panics_is_found_at_the_line_of_who_called<S: Subject>() {
    let executor = S::with_workers(1);
    let misuses: [fn(()); 3] = [
        |()| drop(ThreadPoolExecutor::new(0)),
        |()| drop(ProcessPoolExecutor::new(0)),
        |()| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (_promise, future) = Promise::<u8>::new();
                for _ in as_completed([future]) {}
            });
        },
    ];
    for misuse in misuses {
        let error = executor.submit_fn(misuse, ()).result().unwrap_err();
        let location = error.location().unwrap();
        assert!(location.contains("panics.rs:"), "{location}");
    }
}

fn every_kind_of_payload_is_reported<S: Subject>() {
    let executor = S::with_workers(1);
    let message = |future: concurrent_futures::TaskFuture<()>| {
        future.result().unwrap_err().message().unwrap().into_owned()
    };
    assert_eq!(message(executor.submit(|| panic!("text"), ())), "text");
    let number = executor.submit(|| std::panic::panic_any(7_i32), ());
    assert_eq!(message(number), "7i32");
    struct Nothing;
    let unit = executor.submit(|| std::panic::panic_any(Nothing), ());
    assert!(message(unit).contains("no text"));
    let long = executor.submit(|| panic!("{}", "x".repeat(1 << 20)), ());
    // A worker cuts what it sends.
    assert!(message(long).starts_with(&"x".repeat(1 << 16)));
}

tests! {
    fn a_payload_whose_drop_panics_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop of a panic's payload");
            }
        }
        let pool = ThreadPoolExecutor::new(1);
        let future = pool.spawn(|| std::panic::panic_any(Bomb));
        assert!(future.result().unwrap_err().is_panicked());
        assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
    }

    fn a_long_text_is_kept_whole_on_threads() {
        let pool = ThreadPoolExecutor::new(1);
        let long = pool.submit(|| panic!("{}", "x".repeat(1 << 20)), ());
        assert_eq!(long.result().map(|()| 0).unwrap_err().message().unwrap().len(), 1 << 20);
    }

    fn drops_that_panic_are_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop of a result or an argument");
            }
        }
        let (pool, gate) = crate::harness::busy_pool();
        pool.spawn(|| Bomb).detach();
        let bomb = Bomb;
        let cancelled = pool.spawn(move || drop(bomb));
        assert!(cancelled.cancel());
        gate.open();
        assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
    }

    fn a_panic_under_a_users_lock_poisons_that_lock_and_nothing_else() {
        let pool = ThreadPoolExecutor::new(1);
        let lock = Arc::new(Mutex::new(0));
        let held = Arc::clone(&lock);
        let future = pool.spawn(move || {
            let _guard = held.lock().unwrap();
            panic!("under the lock");
        });
        assert_eq!(future.result().unwrap_err().message().unwrap(), "under the lock");
        assert!(lock.is_poisoned());
        assert_eq!(pool.submit(|| 1, ()).result().unwrap(), 1);
        let stats = pool.stats();
        assert_eq!(stats.finished_with(Outcome::Panicked), 1);
        assert_eq!(stats.workers(), 1);
    }
}
