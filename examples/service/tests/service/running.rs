//! The service as a child process that cannot outlive its test, its log, and requests to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::sleep;

/// How long anything may take before its test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Tests that measure have the machine for themselves.
static MACHINE: RwLock<()> = RwLock::const_new(());

#[expect(dead_code, reason = "kept for their drops")]
enum Share {
    Some(RwLockReadGuard<'static, ()>),
    All(RwLockWriteGuard<'static, ()>),
}

/// A running service.
pub(crate) struct Running {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    address: SocketAddr,
    client: Client,
    _share: Share,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) content_type: String,
    pub(crate) request_id: String,
    pub(crate) body: Vec<u8>,
}

impl Running {
    /// Starts a service.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let share = Share::Some(MACHINE.read().await);
        Self::start_with(arguments, share).await
    }

    /// Starts a service while no other test runs.
    pub(crate) async fn start_alone(arguments: &[&str]) -> Self {
        let share = Share::All(MACHINE.write().await);
        Self::start_with(arguments, share).await
    }

    async fn start_with(arguments: &[&str], share: Share) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_service"))
            .args(["--listen", "127.0.0.1:0", "--log", "info,service=debug"])
            // Whatever else the machine does: what is to happen in time says so itself.
            .args([
                "--nice",
                "0",
                "--queue-timeout",
                "30s",
                "--thumbnail-timeout",
                "30s",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("the log is JSON");
                kept.lock().unwrap().push(line);
            }
        });
        let mut running = Self {
            child,
            log,
            address: ([127, 0, 0, 1], 0).into(),
            client: Client::builder().timeout(LIMIT).build().unwrap(),
            _share: share,
        };
        running.logged("listening", "").await;
        running.address = {
            let log = running.log.lock().unwrap();
            let mut addresses = log.iter().filter_map(|line| line["address"].as_str());
            addresses.next().unwrap().parse().unwrap()
        };
        running
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client that keeps its connections.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// A connection for those who do not keep to the rules.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the service listens");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Whether a new connection is accepted, or at least queued.
    pub(crate) fn listens(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    /// Sends a picture with a name for the request.
    pub(crate) async fn thumbnail(&self, picture: &[u8], id: &str) -> Answer {
        self.thumbnail_within((64, 64), picture, id).await
    }

    /// The same, for a thumbnail within this width and height.
    pub(crate) async fn thumbnail_within(
        &self,
        (width, height): (u32, u32),
        picture: &[u8],
        id: &str,
    ) -> Answer {
        let url = self.url(&format!("/thumbnail?width={width}&height={height}"));
        let request = self.client.post(url);
        let request = request.header("x-request-id", id).body(picture.to_vec());
        Answer::of(request.send().await.unwrap()).await
    }

    /// Sends a password with a name for the request.
    pub(crate) async fn hash(&self, id: &str) -> Answer {
        let request = self.client.post(self.url("/hash"));
        let request = request
            .header("x-request-id", id)
            .body(r#"{"password": "hunter42"}"#);
        Answer::of(request.send().await.unwrap()).await
    }

    /// The value of a series of `/metrics`; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// How often the log says `message` of the request `id`; of any request if that is empty.
    pub(crate) fn times_logged(&self, message: &str, id: &str) -> usize {
        let of_request = |line: &Value| match id {
            "" => true,
            id => line["spans"][0]["request_id"] == id,
        };
        let log = self.log.lock().unwrap();
        let lines = log.iter().filter(|line| line["message"] == message);
        lines.filter(|line| of_request(line)).count()
    }

    /// Waits until the log says `message` of the request `id`.
    pub(crate) async fn logged(&self, message: &str, id: &str) {
        self.logged_times(1, message, id).await;
    }

    /// Waits until the log says it so often.
    pub(crate) async fn logged_times(&self, times: usize, message: &str, id: &str) {
        let what = format!("{message:?} of {id:?} in the log");
        until(&what, async || self.times_logged(message, id) >= times).await;
    }

    /// Nobody reads the log until what is returned is dropped.
    pub(crate) fn stall_log(&self) -> mpsc::Sender<()> {
        let (locked, is_locked) = mpsc::channel();
        let (held, is_held) = mpsc::channel();
        let log = Arc::clone(&self.log);
        thread::spawn(move || {
            let _log = log.lock().unwrap();
            locked.send(()).unwrap();
            let _ = is_held.recv();
        });
        is_locked.recv().unwrap();
        held
    }

    /// The log, for messages of tests.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap();
        log.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The worker processes.
    pub(crate) fn workers(&self) -> Vec<Pid> {
        let parent = self.child.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name is in brackets, and may have spaces.
            let mut fields = stat.rsplit_once(") ")?.1.split(' ');
            let lives = fields.next()? != "Z";
            (lives && fields.next()? == parent).then(|| Pid::from_raw(pid))?
        });
        processes.collect()
    }

    /// The threads of the service by name, and the worker processes as `worker`, with the nice value of each.
    pub(crate) fn priorities(&self) -> Vec<(String, i32)> {
        let read = |name: Option<&str>, path: String| {
            let stat = fs::read_to_string(path).ok()?;
            let (begin, end) = stat.rsplit_once(") ")?;
            let name = name.or_else(|| Some(begin.split_once('(')?.1))?.to_owned();
            // The first of these is the third field, and the nice value is the 19th.
            Some((name, end.split(' ').nth(16)?.parse().ok()?))
        };
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let threads = threads.filter_map(|entry| {
            let path = entry.ok()?.path().join("stat");
            read(None, path.to_str()?.to_owned())
        });
        let workers = self.workers().into_iter();
        let workers = workers.filter_map(|pid| {
            read(
                Some("worker"),
                format!("/proc/{}/stat", pid.as_raw_nonzero()),
            )
        });
        threads.chain(workers).collect()
    }

    /// Kills a worker; it may be gone already.
    pub(crate) fn kill_a_worker(&self) {
        if let Some(pid) = self.workers().first() {
            let _ = kill_process(*pid, Signal::KILL);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the service runs");
    }

    /// Waits for the end, and gives the exit code.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                begun.elapsed() < limit,
                "the service runs after {limit:?}:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The service answers as if nothing had happened, with all its workers.
    pub(crate) async fn assert_healthy(&self) {
        assert_eq!(self.get("/healthz").await.status, 200);
        assert_eq!(self.hash("after").await.status, 200);
        let answer = self.thumbnail(&crate::pictures::png(), "after").await;
        assert_eq!(answer.status, 200, "{}", answer.error());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail for a service that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        Self {
            status: response.status().as_u16(),
            retry_after: header("retry-after").is_some(),
            content_type: header("content-type").unwrap_or_default(),
            request_id: header("x-request-id").unwrap_or_default(),
            body: response.bytes().await.unwrap().into(),
        }
    }

    /// The reason that the body states; panics if this is no answer that the service may give.
    pub(crate) fn error(&self) -> String {
        if self.status == 200 {
            return String::new();
        }
        assert!(
            (400..500).contains(&self.status) || [503, 504].contains(&self.status),
            "{self:?}"
        );
        assert_eq!(
            self.retry_after,
            self.status == StatusCode::SERVICE_UNAVAILABLE,
            "{self:?}"
        );
        let body: Value = serde_json::from_slice(&self.body).expect("errors are JSON");
        let reason = body["error"].as_str().expect("errors state a reason");
        assert!(!reason.is_empty() && !reason.contains("panic"), "{self:?}");
        reason.to_owned()
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
