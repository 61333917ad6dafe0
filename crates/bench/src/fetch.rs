//! The suite `fetch`: requests to a server in this process, sixteen at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use axum::extract::RawQuery;
use axum::routing::get;
use concurrent_futures::{Executor, Shutdown, ThreadPoolExecutor, as_completed};
use futures_util::{StreamExt, stream};

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

/// The address of the server, which starts with the first look at it and never ends.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(listener));
    address
});

/// The client of all blocking subjects.
static CLIENT: LazyLock<reqwest::blocking::Client> = LazyLock::new(|| {
    reqwest::blocking::Client::builder()
        .no_proxy()
        .build()
        .expect("there is a thread")
});

fn serve(listener: std::net::TcpListener) {
    let echo = async |RawQuery(query): RawQuery| query.unwrap_or_default();
    let routes = axum::Router::new().route("/get", get(echo));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("the system has what it needs");
    runtime.block_on(async {
        listener
            .set_nonblocking(true)
            .expect("sockets can be switched");
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is not blocking");
        axum::serve(listener, routes)
            .await
            .expect("it serves as long as the process lives");
    });
}

fn address_of(number: u64) -> String {
    format!("http://{}/get?number={number}", *SERVER)
}

fn fetch(number: u64) -> Result<String, reqwest::Error> {
    CLIENT
        .get(address_of(number))
        .send()?
        .error_for_status()?
        .text()
}

fn assert_is_answer(number: u64, answer: &str) {
    assert_eq!(answer.strip_prefix("number="), Some(&*number.to_string()));
}

fn microseconds(time: Duration, requests: u64) -> f64 {
    time.as_secs_f64() * 1e6 / requests as f64
}

/// Our pool and our `as_completed`, in blocking code. The threads start within the time, as those
/// made by hand do.
fn ours(requests: u64) -> f64 {
    let run = |requests| {
        let pool = ThreadPoolExecutor::new(WORKERS);
        let futures = (0..requests).map(|number| (number, pool.try_submit(fetch, number)));
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
    let run = |requests| {
        let next = Arc::new(AtomicU64::new(0));
        let (sender, answers) = mpsc::channel();
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (next, sender) = (Arc::clone(&next), sender.clone());
                thread::spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            break;
                        }
                        sender
                            .send((number, fetch(number)))
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
    let run = async |requests| {
        let answers = stream::iter(0..requests).map(|number| {
            let request = client.get(address_of(number));
            async move {
                let answer = request.send().await?.error_for_status()?.text().await?;
                Ok::<_, reqwest::Error>((number, answer))
            }
        });
        let mut answers = answers.buffer_unordered(WORKERS);
        while let Some(answer) = answers.next().await {
            let (number, answer) = answer.expect("the server answers");
            assert_is_answer(number, &answer);
        }
    };
    runtime.block_on(async {
        run(requests / 10).await;
        let start = Instant::now();
        run(requests).await;
        microseconds(start.elapsed(), requests)
    })
}
