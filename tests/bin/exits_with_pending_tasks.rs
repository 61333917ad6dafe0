//! Ends in the way that its argument names, while tasks run and others wait in the queue.

use std::sync::mpsc;

use concurrent_futures::{Executor, ThreadPoolExecutor};

fn main() {
    let pool = ThreadPoolExecutor::new(2);
    let (started, is_started) = mpsc::channel();
    for _ in 0..100 {
        let started = started.clone();
        pool.spawn(move || {
            started.send(()).expect("main still receives");
            loop {
                std::thread::park();
            }
        })
        .detach();
    }
    for _ in 0..pool.max_workers() {
        is_started.recv().expect("a task starts");
    }
    match std::env::args().nth(1).as_deref() {
        Some("return") => {}
        Some("exit") => std::process::exit(7),
        Some("drop") => drop(pool),
        other => panic!("unknown way to end: {other:?}"),
    }
}
