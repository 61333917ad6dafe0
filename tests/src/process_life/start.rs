//! Pools start without ceremony, wherever they are made, and workers are whole programs.

use concurrent_futures::{Executor, ProcessPoolExecutor};

use super::programs::{START, program, said};
use crate::harness::tests;

registry::submit!(registry::Plugin("of this program"));

tests! {
    fn a_pool_works_in_main_without_a_runtime() {
        assert_eq!(said(&mut program(START, "blocking")), "main\n1024\n");
    }

    fn a_pool_works_in_runtimes_of_both_kinds_and_in_spawn_blocking() {
        for flavor in ["multi-thread", "current-thread"] {
            assert_eq!(said(&mut program(START, flavor)), "main\n1024\n2048\n");
        }
    }

    fn a_static_pool_outlives_the_runtimes_that_use_it() {
        assert_eq!(said(&mut program(START, "static")), "main\n0\n1\n4\n9\n");
    }

    fn a_pool_is_shared_by_several_runtimes_at_a_time() {
        let pool = ProcessPoolExecutor::new(2);
        let users: Vec<_> = (0..4_u32)
            .map(|user| {
                let pool = pool.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async move {
                        for round in 0..50 {
                            let sum = pool.submit(u32::saturating_add, (user, round)).await;
                            assert_eq!(sum.unwrap(), user + round);
                        }
                    });
                })
            })
            .collect();
        for user in users {
            user.join().unwrap();
        }
    }

    fn the_first_submit_may_come_from_a_thread_that_ends_at_once() {
        // The kernel's signal about a parent's death is bound to the thread that starts the worker.
        let pool = ProcessPoolExecutor::new(1);
        let submitted = {
            let pool = pool.clone();
            std::thread::spawn(move || pool.submit(std::process::id, ())).join().unwrap()
        };
        let pid = submitted.result().unwrap();
        for _ in 0..100 {
            assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
        }
    }

    fn workers_have_what_constructors_of_the_program_and_of_its_libraries_have_made() {
        let here = registry::names();
        assert_eq!(here, ["of a library", "of this program"]);
        let pool = ProcessPoolExecutor::new(1);
        assert_eq!(pool.submit(registry::names, ()).result().unwrap(), here);
        // And where the linker has put them after those of the library.
        let there = said(&mut program(START, "constructors"));
        assert_eq!(there, format!("main\n{here:?}\n"));
    }

    fn workers_have_the_arguments_of_the_program() {
        let here: Vec<String> = std::env::args().collect();
        let pool = ProcessPoolExecutor::new(1);
        let there = pool.submit(|| std::env::args().collect::<Vec<String>>(), ());
        assert_eq!(there.result().unwrap(), here);
    }
}
