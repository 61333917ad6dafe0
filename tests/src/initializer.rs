//! The initializer: once in each worker, and what its failure means.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use concurrent_futures::{Executor, Rejection, Shutdown, ThreadPoolExecutor};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::harness::{Gate, tests};

tests! {
    fn it_runs_once_in_each_worker_before_any_task_with_what_it_captured() {
        thread_local! {
            static MARK: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
        }
        let runs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        let argument = 7;
        let pool = ThreadPoolExecutor::builder()
            .max_workers(3)
            .initializer(move || {
                count.fetch_add(1, Ordering::SeqCst);
                MARK.set(MARK.get() + argument);
            })
            .build()
            .unwrap();
        let gate = Gate::default();
        let futures: Vec<_> = (0..30)
            .map(|_| {
                let gate = gate.clone();
                pool.spawn(move || {
                    gate.pass();
                    MARK.get()
                })
            })
            .collect();
        gate.wait_for(3);
        gate.open();
        for future in futures {
            assert_eq!(future.result().unwrap(), 7);
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    fn its_failure_breaks_the_pool_with_its_own_message() {
        for panics in [false, true] {
            let gate = Gate::default();
            let inside = gate.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1)
                .initializer(move || {
                    inside.pass();
                    if panics {
                        panic!("no database");
                    }
                    Err::<(), _>("no database")
                })
                .build()
                .unwrap();
            let pending: Vec<_> = (0..10).map(|_| pool.submit(|| 1, ())).collect();
            gate.open();
            let later = pending.into_iter().map(|future| future.result().unwrap_err());
            let errors: Vec<_> = later.chain([pool.submit(|| 1, ()).result().unwrap_err()]).collect();
            for error in errors {
                assert_eq!(error.rejection(), Some(Rejection::Broken));
                let cause = std::error::Error::source(&error).unwrap().to_string();
                assert!(cause.contains("no database"), "{cause}");
            }
            pool.blocking_shutdown(Shutdown::new()).unwrap();
        }
    }

    fn a_pool_that_failed_releases_what_it_held() {
        let captured = Arc::new(());
        let held = Arc::clone(&captured);
        let messages = Arc::new(Mutex::new(0));
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .initializer(move || {
                let _held = &held;
                Err::<(), _>("no luck")
            })
            .build()
            .unwrap();
        for _ in 0..100 {
            let argument = Arc::clone(&captured);
            let messages = Arc::clone(&messages);
            pool.spawn(move || drop(argument))
                .on_done(move |_, _| *messages.lock().unwrap() += 1);
        }
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        drop(pool);
        crate::harness::eventually("all is released", || Arc::strong_count(&captured) == 1);
        assert_eq!(*messages.lock().unwrap(), 100);
    }

    fn an_error_whose_text_panics_breaks_the_pool_and_nothing_else() {
        #[derive(Debug)]
        struct Mute;
        impl std::fmt::Display for Mute {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                panic!("an error without a text")
            }
        }
        impl std::error::Error for Mute {}
        // Formats every field of every event, as a log does.
        struct Formats;
        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Formats {
            fn on_event(
                &self,
                event: &tracing::Event<'_>,
                _: tracing_subscriber::layer::Context<'_, S>,
            ) {
                event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                    drop(format!("{value:?}"));
                });
            }
        }
        let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(Formats));
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(move || {
                // For the rest of this thread's life, the log of the failure included.
                std::mem::forget(tracing::dispatcher::set_default(&dispatch));
                Err::<(), _>(Mute)
            })
            .build()
            .unwrap();
        let error = pool.spawn(|| 7).result().unwrap_err();
        assert!(error.is_rejected());
        assert!(error.downcast_ref::<Mute>().is_some(), "the cause is the initializer's own");
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        assert_eq!(pool.stats().workers(), 0);
    }
}
