//! Many clients at a time, and what is left for others.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{interval_at, sleep};

use crate::pictures;
use crate::running::{Answer, Running, until};

const CLIENTS: usize = 24;
const REQUESTS: usize = 8;

/// How long a client that is refused waits before it sends its next request.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long 99 of 100 questions for its health may take, however much the service has to do.
const LIMIT_OF_HEALTH: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_hostile_pictures_and_dying_workers_leave_nothing_without_an_answer() {
    let limits = [
        ["--thumbnail-workers", "2"],
        ["--thumbnail-memory", "64MiB"],
        ["--thumbnail-timeout", "400ms"],
        ["--thumbnail-queue", "6"],
        ["--hash-workers", "2"],
        ["--hash-queue", "6"],
        ["--picture-size", "256KiB"],
    ];
    let service = Running::start_alone(limits.as_flattened()).await;
    let pictures: &'static [Vec<u8>] = Vec::leak(vec![
        pictures::png(),
        pictures::jpeg(),
        pictures::cut_off(pictures::png()),
        pictures::liar(),
        pictures::black(6_800),
        pictures::inflating_pixels(),
        pictures::black(4_000),
        vec![7; 300 << 10],
    ]);

    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let http = service.client();
        let hash = http.post(service.url("/hash")).body(r#"{"password": "x"}"#);
        let thumbnail = http.post(service.url("/thumbnail?width=4096&height=4096"));
        clients.spawn(async move {
            let mut answers = Vec::new();
            for number in 0..REQUESTS {
                // Each client in an order of its own.
                let which = (client * 5 + number) % (pictures.len() + 2);
                // As large as can be, so that some picture takes more memory than there is.
                let request = match pictures.get(which) {
                    Some(picture) => thumbnail.try_clone().unwrap().body(picture.as_slice()),
                    None => hash.try_clone().unwrap(),
                };
                let route = if which < pictures.len() {
                    "/thumbnail"
                } else {
                    "/hash"
                };
                let response = request.send().await.expect("an answer, within the limit");
                let answer = Answer::of(response).await;
                answer.error();
                if answer.retry_after {
                    sleep(PATIENCE).await;
                }
                answers.push((route, answer.status));
            }
            answers
        });
    }
    let mut answers = BTreeMap::<_, usize>::new();
    let mut killed = 0;
    // Whether clients come to their end meanwhile or not.
    let mut kills = interval_at(
        (Instant::now() + Duration::from_millis(50)).into(),
        Duration::from_millis(150),
    );
    loop {
        tokio::select! {
            joined = clients.join_next() => match joined {
                Some(of_client) => of_client.unwrap().into_iter().for_each(|answer| *answers.entry(answer).or_default() += 1),
                None => break,
            },
            _ = kills.tick() => {
                service.kill_a_worker();
                killed += 1;
            }
        }
    }
    println!("under load: {answers:?}, {killed} workers killed");
    assert!(killed > 0, "the load was over too soon");
    assert_eq!(answers.values().sum::<usize>(), CLIENTS * REQUESTS);
    for answer in [
        ("/hash", 200),
        ("/thumbnail", 200),
        ("/thumbnail", 413),
        ("/thumbnail", 422),
    ] {
        assert!(answers.contains_key(&answer), "{answers:?}");
    }

    // The service has counted what was sent, and so have its pools.
    for ((route, status), count) in &answers {
        let series = format!(r#"http_requests_total{{route="{route}",status="{status}"}}"#);
        assert_eq!(service.metric(&series).await, *count as f64, "{series}");
    }
    let succeeded = |pool| {
        format!(r#"concurrent_futures_tasks_finished_total{{pool="{pool}",outcome="succeeded"}}"#)
    };
    assert_eq!(
        service.metric(&succeeded("hash")).await,
        answers[&("/hash", 200)] as f64
    );
    for pool in ["hash", "thumbnail"] {
        for left in ["tasks_queued", "tasks_running", "places_taken"] {
            let series = format!(r#"concurrent_futures_{left}{{pool="{pool}"}}"#);
            until(&series, async || service.metric(&series).await == 0.0).await;
        }
    }
    assert_eq!(
        service.metric("http_requests_running").await,
        1.0,
        "the one that asks"
    );
    service.assert_healthy().await;
}

#[tokio::test]
async fn health_is_answered_while_both_pools_are_saturated() {
    const PROBES: usize = 400;
    let service = Running::start_alone(&["--nice", "10", "--hash-passes", "10"]).await;
    let over = AtomicBool::new(false);
    let picture = pictures::black(4_000);
    let (mut times, mut of_machine) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        // Plain clients, which cost little themselves, and more of them than there are workers and places.
        for client in 0..24 {
            let (service, over, picture) = (&service, &over, &picture);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match client % 2 {
                        0 => ask(service, "/hash", br#"{"password": "x"}"#),
                        _ => ask(service, "/thumbnail?width=50&height=50", picture),
                    }
                }
            });
        }
        let mut probe = service.connect();
        let mut control = echo();
        thread::sleep(Duration::from_millis(300));
        for _ in 0..PROBES {
            times.push(ask_health(&mut probe));
            of_machine.push(ask_health(&mut control));
            thread::sleep(Duration::from_millis(5));
        }
        over.store(true, Ordering::Relaxed);
    });
    times.sort();
    of_machine.sort();
    let p99 = |times: &[Duration]| times[PROBES * 99 / 100];
    let said = format!(
        "median {:?}, p99 {:?}, worst {:?}; p99 of the machine {:?}",
        times[PROBES / 2],
        p99(&times),
        times[PROBES - 1],
        p99(&of_machine)
    );
    println!("/healthz under load: {said}");
    // Where other programs keep the machine busy, nothing on it is answered in time.
    assert!(
        p99(&times) < LIMIT_OF_HEALTH.max(2 * p99(&of_machine)),
        "{said}"
    );
    for pool in ["hash", "thumbnail"] {
        let series = format!(
            r#"concurrent_futures_tasks_finished_total{{pool="{pool}",outcome="succeeded"}}"#
        );
        assert!(service.metric(&series).await > 0.0, "{series}");
    }
    service.assert_healthy().await;
}

/// A request on a connection of its own. What is answered does not matter; a refused client comes back a little later.
fn ask(service: &Running, path: &str, body: &[u8]) {
    let mut stream = service.connect();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    if sent.and_then(|()| stream.read_to_end(&mut answer)).is_err()
        || !answer.starts_with(b"HTTP/1.1 200")
    {
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask_health(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    begun.elapsed()
}

/// A connection to a thread of this test that answers at once, as soon as the machine lets it.
fn echo() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        }
    });
    stream
}
