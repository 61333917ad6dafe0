//! The suite `fetch`: requests to a server in this process, sixteen at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor, as_completed};
use fetch::{Httpbin, Target, fetch};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::measure::{Case, OURS, Subject};

const WORKERS: usize = 16;
const REQUESTS: u64 = 2_000;

pub(crate) const CASES: [Case; 1] = [Case {
    name: "get",
    unit: "us",
    subjects: || {
        vec![
            Subject::new(OURS, REQUESTS, ours),
            Subject::new("blocking-threads-by-hand", REQUESTS, by_hand),
            Subject::new("buffer-unordered-16", REQUESTS, buffer_unordered),
        ]
    },
}];

/// The demo's httpbin, which starts with the first look at it and never ends.
static SERVER: LazyLock<Httpbin> =
    LazyLock::new(|| Httpbin::start().expect("there is a free port"));

/// What the demo's own function is called with.
fn target() -> Target {
    Target {
        base_url: SERVER.base_url().to_owned(),
        timeout: Duration::from_secs(30),
        fail_at: u32::MAX,
    }
}

/// Requests are numbered as the demo's are.
fn numbers(requests: u64) -> u32 {
    u32::try_from(requests).expect("fewer requests than 32 bits can count")
}

fn assert_is_answer(number: u32, answer: &Value) {
    assert_eq!(answer["number"], number.to_string());
}

fn microseconds(time: Duration, requests: u64) -> f64 {
    time.as_secs_f64() * 1e6 / requests as f64
}

/// Our pool and our `as_completed`, in blocking code. The threads start within the time, as those
/// made by hand do.
fn ours(requests: u64) -> f64 {
    let run = |requests: u64| {
        let requests = numbers(requests);
        let pool = ThreadPoolExecutor::new(WORKERS);
        let target = target();
        let submit = |number| (number, pool.try_submit(fetch, (target.clone(), number)));
        let futures = (0..requests).map(submit);
        for (number, future) in as_completed(futures) {
            assert_is_answer(number, &future.result().expect("the server answers"));
        }
        pool
    };
    shut_down(&run(requests / 10));
    let start = Instant::now();
    let pool = run(requests);
    let time = start.elapsed();
    shut_down(&pool);
    microseconds(time, requests)
}

fn shut_down(pool: &ThreadPoolExecutor) {
    pool.blocking_shutdown(Shutdown::new())
        .expect("nothing here is async");
}

/// Threads that take numbers from a counter, and send the answers to a channel.
fn by_hand(requests: u64) -> f64 {
    let run = |requests: u64| {
        let requests = numbers(requests);
        let next = Arc::new(AtomicU32::new(0));
        let (sender, answers) = mpsc::channel();
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (next, sender, target) = (Arc::clone(&next), sender.clone(), target());
                thread::spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            break;
                        }
                        sender
                            .send((number, fetch(target.clone(), number)))
                            .expect("somebody receives");
                    }
                })
            })
            .collect();
        drop(sender);
        for (number, answer) in answers {
            assert_is_answer(number, &answer.expect("the server answers"));
        }
        workers
    };
    join(run(requests / 10));
    let start = Instant::now();
    let workers = run(requests);
    let time = start.elapsed();
    join(workers);
    microseconds(time, requests)
}

fn join(workers: Vec<thread::JoinHandle<()>>) {
    for worker in workers {
        worker.join().expect("workers do not panic");
    }
}

/// No blocking at all.
fn buffer_unordered(requests: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("there are threads");
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("there is nothing to fail");
    let url = format!("{}/get", SERVER.base_url());
    let run = async |requests: u64| {
        let requests = numbers(requests);
        let answers = stream::iter(0..requests).map(|number| {
            let request = client.get(&url).query(&[("number", number)]);
            async move {
                let answer = request.send().await?.error_for_status()?.bytes().await?;
                let answer: Value = serde_json::from_slice(&answer)?;
                Ok::<_, Box<dyn std::error::Error>>((number, answer))
            }
        });
        let mut answers = answers.buffer_unordered(WORKERS);
        while let Some(answer) = answers.next().await {
            let (number, answer) = answer.expect("the server answers");
            assert_is_answer(number, &answer["args"]);
        }
    };
    runtime.block_on(async {
        run(requests / 10).await;
        let start = Instant::now();
        run(requests).await;
        microseconds(start.elapsed(), requests)
    })
}
