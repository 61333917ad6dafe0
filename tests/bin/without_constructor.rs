//! A pool of processes in a program that has no life before `main` when the feature is off.

use concurrent_futures::{Executor, ProcessPoolExecutor, worker};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("init") => {
            worker::init();
            println!("main");
            let pool = ProcessPoolExecutor::new(1);
            println!("{}", pool.submit(u64::pow, (2, 10)).result().unwrap());
        }
        Some("no-init") => {
            println!("main");
            match ProcessPoolExecutor::builder().build() {
                Ok(_) => println!("built"),
                Err(error) => println!("{:?}: {error}", error.kind()),
            }
        }
        Some("panic") => {
            worker::init();
            let pool = ProcessPoolExecutor::new(1);
            let lost = pool.submit(|| -> u32 { panic!("too much to bear") }, ());
            let error = lost.result().unwrap_err();
            println!("{:?}", error.worker_exit());
            println!("{}", error.message().unwrap_or_default());
            println!("{}", pool.submit(u64::pow, (2, 10)).result().unwrap());
        }
        other => panic!("unknown way to start: {other:?}"),
    }
}
