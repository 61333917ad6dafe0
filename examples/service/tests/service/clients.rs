//! Clients that go away, and clients that are slow.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::test_kill_process;
use tokio::time::sleep;

use crate::pictures;
use crate::running::{LIMIT, Running, until};

#[tokio::test]
async fn a_client_that_goes_away_ends_the_worker_that_works_for_it() {
    let service = Running::start(&["--thumbnail-workers", "1"]).await;
    let [worker] = service.workers()[..] else {
        panic!("one worker is started with the service")
    };
    let slow = pictures::black(12_000);
    let stream = send_picture(&service, &slow, "impatient");
    service.logged("decoding", "impatient").await;
    drop(stream);
    until("the worker is gone", async || {
        test_kill_process(worker).is_err()
    })
    .await;
    service.logged("answered", "impatient").await;
    assert_eq!(service.times_logged("shrunk", "impatient"), 0);
    assert_eq!(
        service.times_logged("decoding", "impatient"),
        1,
        "it is not tried again"
    );
    let gone = r#"http_requests_total{route="/thumbnail",status="499"}"#;
    assert_eq!(service.metric(gone).await, 1.0);
    service.assert_healthy().await;
}

#[tokio::test]
async fn what_a_client_has_queued_that_goes_away_never_runs() {
    let one = ["--hash-workers", "1", "--hash-passes", "300"];
    let service = Running::start(&one).await;
    let (running, ()) = tokio::join!(service.hash("running"), async {
        service.logged("hashing", "running").await;
        let mut stream = service.connect();
        let head = "POST /hash HTTP/1.1\r\nHost: x\r\nx-request-id: impatient\r\nContent-Length: 16\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(br#"{"password": ""}"#).unwrap();
        let queued = r#"concurrent_futures_tasks_queued{pool="hash"}"#;
        until("it is queued", async || service.metric(queued).await == 1.0).await;
        drop(stream);
        let cancelled =
            r#"concurrent_futures_tasks_finished_total{pool="hash",outcome="cancelled"}"#;
        until("it is cancelled", async || {
            service.metric(cancelled).await == 1.0
        })
        .await;
        assert_eq!(
            service.times_logged("hashed", "running"),
            0,
            "the only thread was busy meanwhile"
        );
    });
    assert_eq!(running.status, 200);
    service.assert_healthy().await;
    assert_eq!(service.times_logged("hashing", "impatient"), 0);
}

#[tokio::test]
async fn a_slow_sender_holds_no_place_and_is_sent_away() {
    let one = [
        "--thumbnail-workers",
        "1",
        "--thumbnail-queue",
        "0",
        "--body-timeout",
        "700ms",
    ];
    let service = Running::start(&one).await;
    let mut slow = service.connect();
    let begun = Instant::now();
    slow.write_all(&head("slow", 1_000)).unwrap();
    slow.write_all(b"a few bytes").unwrap();
    let running = "http_requests_running";
    until("it is being received", async || {
        service.metric(running).await == 2.0
    })
    .await;
    let answer = service.thumbnail(&pictures::png(), "quick").await;
    assert_eq!(answer.status, 200, "{}", answer.error());
    assert!(
        begun.elapsed() < Duration::from_millis(700),
        "the slow one is still at it"
    );

    let answer = read_head(&mut slow);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(700));
}

#[tokio::test]
async fn bodies_that_are_on_their_way_take_no_more_memory_than_they_may() {
    let little = ["--body-memory", "64KiB", "--picture-size", "64KiB"];
    let service = Running::start(&little).await;
    // None of these is sent to its end, so there is no other answer.
    let begin = |length: usize, sent: usize| {
        let mut stream = service.connect();
        stream.write_all(&head("slow", length)).unwrap();
        stream.write_all(&vec![7; sent]).unwrap();
        stream
    };
    let begun = Instant::now();
    let (slow, mut refused) = loop {
        assert!(begun.elapsed() < LIMIT, "there is memory for both");
        let slow = begin(60 << 10, (60 << 10) - 1);
        // If the other one is first, it is the slow one that is refused.
        sleep(Duration::from_millis(100)).await;
        let other = begin(6 << 10, 5 << 10);
        other
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        if other.peek(&mut [0]).is_ok() {
            break (slow, other);
        }
    };
    let answer = read_head(&mut refused);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    // One that fits is taken.
    assert_eq!(
        service
            .thumbnail(&pictures::black(10), "small")
            .await
            .status,
        200
    );
    drop(slow);
    until("the memory is given back", async || {
        service.thumbnail(&[7; 60 << 10], "").await.status == 422
    })
    .await;
}

#[tokio::test]
async fn who_says_that_a_body_is_large_and_sends_nothing_takes_nothing_from_others() {
    let little = ["--body-memory", "64KiB", "--picture-size", "64KiB"];
    let service = Running::start(&little).await;
    let silent: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = service.connect();
            stream.write_all(&head("silent", 64 << 10)).unwrap();
            stream
        })
        .collect();
    until("all are being received", async || {
        service.metric("http_requests_running").await == silent.len() as f64 + 1.0
    })
    .await;
    assert_eq!(service.thumbnail(&[7; 60 << 10], "").await.status, 422);
    assert_eq!(service.hash("meanwhile").await.status, 200);
}

#[tokio::test]
async fn a_body_is_not_received_if_there_is_no_place_for_its_task() {
    let one = ["--thumbnail-workers", "1", "--thumbnail-queue", "0"];
    let service = Running::start(&one).await;
    let slow = pictures::black(12_000);
    let (busy, ()) = tokio::join!(service.thumbnail(&slow, "busy"), async {
        service.logged("decoding", "busy").await;
        let mut stream = service.connect();
        stream.write_all(&head("refused", 1 << 20)).unwrap();
        let answer = read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert_eq!(
            service.times_logged("shrunk", "busy"),
            0,
            "it was refused while the other one ran"
        );
        // One that waits to be told is not told to send.
        let mut stream = service.connect();
        let head = String::from_utf8(head("expects", 1 << 20)).unwrap();
        let head = head.replace("Host", "Expect: 100-continue\r\nHost");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "nothing is waited for");
        assert_eq!(
            service.times_logged("shrunk", "busy"),
            0,
            "it was closed while the other one ran"
        );
    });
    assert_eq!(busy.status, 200, "{}", busy.error());
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let service = Running::start(&[]).await;
    let stalled = service.stall_log();
    // More than a pipe takes.
    for _ in 0..1_000 {
        let request = service.client().post(service.url("/hash"));
        let answer = request.header("x-request-id", "unread").send().await;
        assert_eq!(answer.unwrap().status(), 400);
    }
    drop(stalled);
    service.logged_times(1_000, "answered", "unread").await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let service = Running::start(&["--idle-timeout", "300ms"]).await;
    let mut silent = service.connect();
    let mut halfway = service.connect();
    halfway.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    let mut kept = service.connect();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    for stream in [&mut silent, &mut halfway, &mut kept] {
        stream.read_to_string(&mut text).expect("it is closed");
    }
    assert!(text.contains("200 OK"), "{text}");
    service.assert_healthy().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_another_one_to_end() {
    const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let service = Running::start(&["--max-connections", "1"]).await;
    let mut first = service.connect();
    first.write_all(HEALTH).unwrap();
    assert!(read_head(&mut first).starts_with("HTTP/1.1 200"));
    let mut second = service.connect();
    second.write_all(HEALTH).unwrap();
    second
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(second.peek(&mut [0]).is_err(), "it is answered too soon");
    drop(first);
    second.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(read_head(&mut second).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_sent_away() {
    const REQUESTS: usize = 5_000;
    let service = Running::start(&["--idle-timeout", "500ms"]).await;
    let mut stream = service.connect();
    // More than the system takes in between, and than one write.
    stream
        .write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS))
        .unwrap();
    let served = r#"http_requests_total{route="/metrics",status="200"}"#;
    until("it is stuck", async || {
        let before = service.metric(served).await;
        sleep(Duration::from_millis(100)).await;
        // To ask is one itself.
        service.metric(served).await == before + 1.0
    })
    .await;
    sleep(Duration::from_millis(800)).await;
    let mut text = Vec::new();
    // Reset, or ended.
    let _ = stream.read_to_end(&mut text);
    let answers = String::from_utf8_lossy(&text)
        .matches("HTTP/1.1 200")
        .count();
    assert!((1..REQUESTS).contains(&answers), "{answers} answers");
    service.assert_healthy().await;
}

pub(crate) fn head(id: &str, length: usize) -> Vec<u8> {
    format!(
        "POST /thumbnail?width=9&height=9 HTTP/1.1\r\nHost: x\r\nx-request-id: {id}\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

pub(crate) fn send_picture(service: &Running, picture: &[u8], id: &str) -> TcpStream {
    let mut stream = service.connect();
    stream.write_all(&head(id, picture.len())).unwrap();
    stream.write_all(picture).unwrap();
    stream
}

/// The head of an answer; what follows it is read as well.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut byte).expect("an answer");
        assert_ne!(length, 0, "closed after {head:?}");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.split("\r\n").next().unwrap();
    stream
        .read_exact(&mut vec![0; length.parse().unwrap()])
        .unwrap();
    head
}
