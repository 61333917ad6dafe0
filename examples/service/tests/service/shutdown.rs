//! The end of the service: in good order, at its deadline, and at once.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use rustix::process::{Signal, test_kill_process};

use crate::clients::{head, read_head, send_picture};
use crate::pictures;
use crate::running::{Running, until};

/// More than an end takes for which nothing has to be waited for.
const SOON: Duration = Duration::from_secs(5);

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn what_runs_and_what_is_queued_is_finished_before_the_end() {
    let one = [
        "--hash-workers",
        "1",
        "--hash-passes",
        "100",
        "--thumbnail-workers",
        "1",
    ];
    let mut service = Running::start(&one).await;
    let mut idle = service.connect();
    idle.write_all(HEALTH).unwrap();
    assert!(read_head(&mut idle).starts_with("HTTP/1.1 200"));

    let slow = pictures::black(12_000);
    let picture = pictures::png();
    let (running, queued, first, second, ()) = tokio::join!(
        service.thumbnail(&slow, "running"),
        async {
            service.logged("decoding", "running").await;
            service.thumbnail(&picture, "queued").await
        },
        service.hash("first"),
        service.hash("second"),
        async {
            one_runs_and_one_is_queued(&service).await;
            service.signal(Signal::TERM);
            service.logged("draining", "").await;
            until("nobody listens", async || !service.listens()).await;
            // A connection that is still open tells its owner to go elsewhere.
            idle.write_all(HEALTH).unwrap();
            let head = read_head(&mut idle);
            assert!(head.starts_with("HTTP/1.1 503"), "{head}");
            assert!(head.contains("connection: close"), "{head}");
            assert_eq!(
                service.times_logged("shrunk", "running"),
                0,
                "it was asked meanwhile"
            );
        },
    );
    for answer in [running, queued, first, second] {
        assert_eq!(answer.status, 200, "{}", answer.error());
    }
    assert_eq!(service.ended(SOON).await, Some(0));
    service.logged("ended", "").await;
    assert_eq!(
        service.times_logged("the deadline has passed: what is left is given up", ""),
        0
    );
}

#[tokio::test]
async fn work_that_begins_while_the_service_drains_is_refused() {
    let one = ["--thumbnail-workers", "1"];
    let mut service = Running::start(&one).await;
    let mut late = service.connect();
    late.write_all(HEALTH).unwrap();
    read_head(&mut late);
    let mut slow_sender = service.connect();
    slow_sender.write_all(&head("slow", 1_000)).unwrap();
    until("it is being received", async || {
        service.metric("http_requests_running").await == 2.0
    })
    .await;

    let slow = pictures::black(12_000);
    let (running, ()) = tokio::join!(service.thumbnail(&slow, "running"), async {
        service.logged("decoding", "running").await;
        service.signal(Signal::TERM);
        service.logged("draining", "").await;
        // Who is still sending is told to stop, and nobody waits for it.
        let answer = read_head(&mut slow_sender);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        late.write_all(&head("late", 0)).unwrap();
        let answer = read_head(&mut late);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert_eq!(
            service.times_logged("shrunk", "running"),
            0,
            "they were refused meanwhile"
        );
    });
    assert_eq!(running.status, 200, "{}", running.error());
    assert_eq!(service.ended(SOON).await, Some(0));
}

#[tokio::test]
async fn at_the_deadline_what_is_left_is_given_up_and_answered() {
    let few = [
        ["--hash-workers", "1"],
        ["--hash-passes", "100000"],
        ["--thumbnail-workers", "1"],
        ["--shutdown-deadline", "200ms"],
    ];
    let mut service = Running::start(few.as_flattened()).await;
    let workers = service.workers();
    let slow = pictures::black(12_000);
    let picture = pictures::png();
    let (running, queued, hashing, hash, begun) = tokio::join!(
        service.thumbnail(&slow, "running"),
        async {
            service.logged("decoding", "running").await;
            service.thumbnail(&picture, "queued").await
        },
        service.hash("hashing"),
        async {
            service.logged("hashing", "hashing").await;
            service.hash("waiting").await
        },
        async {
            one_runs_and_one_is_queued(&service).await;
            let begun = Instant::now();
            service.signal(Signal::TERM);
            begun
        },
    );
    for answer in [running, queued, hashing, hash] {
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (503, "the service shuts down")
        );
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(service.ended(SOON).await, Some(0));
    assert_eq!(service.times_logged("shrunk", ""), 0);
    for worker in workers {
        assert!(test_kill_process(worker).is_err(), "{worker:?} is left");
    }
}

#[tokio::test]
async fn connections_that_do_nothing_hold_nothing_up() {
    let mut service = Running::start(&[]).await;
    let mut idle = service.connect();
    idle.write_all(HEALTH).unwrap();
    read_head(&mut idle);
    let silent = service.connect();
    let mut halfway = service.connect();
    halfway.write_all(b"POST /hash HTTP/1.1\r\nHo").unwrap();
    let mut sending = service.connect();
    sending.write_all(&head("sending", 1_000)).unwrap();
    until("it is being received", async || {
        service.metric("http_requests_running").await == 2.0
    })
    .await;

    service.signal(Signal::INT);
    assert_eq!(service.ended(SOON).await, Some(0));
    drop((idle, silent, halfway, sending));
}

#[tokio::test]
async fn a_connection_between_two_requests_is_closed() {
    let mut service = Running::start(&[]).await;
    let mut idle = service.connect();
    idle.write_all(HEALTH).unwrap();
    read_head(&mut idle);
    service.signal(Signal::TERM);
    assert_eq!(service.ended(SOON).await, Some(0));
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    service.logged("ended", "").await;
    assert_eq!(
        service.times_logged("clients do not take their answers", ""),
        0
    );
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut service = Running::start(&["--thumbnail-workers", "1"]).await;
    let workers = service.workers();
    let stream = send_picture(&service, &pictures::black(12_000), "running");
    service.logged("decoding", "running").await;
    service.signal(Signal::TERM);
    service.logged("draining", "").await;
    service.signal(Signal::TERM);
    assert_eq!(service.ended(SOON).await, Some(128 + 15));
    assert_eq!(service.times_logged("shrunk", "running"), 0);
    for worker in workers {
        until("the worker is gone", async || {
            test_kill_process(worker).is_err()
        })
        .await;
    }
    drop(stream);
}

/// In each of the pools, whose workers are busy with the first task.
async fn one_runs_and_one_is_queued(service: &Running) {
    // Not those that are queued: the one that runs was one of these before.
    for pool in ["thumbnail", "hash"] {
        let taken = format!(r#"concurrent_futures_tasks_submitted_total{{pool="{pool}"}}"#);
        until("two tasks are there", async || {
            service.metric(&taken).await == 2.0
        })
        .await;
    }
}
