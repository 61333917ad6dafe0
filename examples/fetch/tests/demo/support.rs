//! The demo as a child process that cannot outlive its test, and servers that misbehave on purpose.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a demo may take before its test kills it and fails.
const WATCHDOG: Duration = Duration::from_secs(30);

/// The line of a number that failed.
pub(crate) const WRONG: &str = "something goes wrong....";

/// What `--executor` takes. The demo does the same on each.
pub(crate) const EXECUTORS: [&str; 2] = ["threads", "processes"];

enum Event {
    Stdout(String),
    Stderr(String),
    Closed,
}

/// A running demo.
pub(crate) struct Demo {
    child: Child,
    events: Receiver<Event>,
    unclosed: usize,
    stdout: Vec<String>,
    stderr: Vec<String>,
    deadline: Instant,
}

/// What a demo left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Demo {
    /// Starts a demo whose output is read.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let (mut demo, stdout, sender) = Self::spawn(arguments);
        demo.unclosed += 1;
        forward(stdout, sender, Event::Stdout);
        demo
    }

    /// Starts a demo whose stdout is left to the test.
    pub(crate) fn start_unread(arguments: &[&str]) -> (Self, BufReader<ChildStdout>) {
        let (demo, stdout, _) = Self::spawn(arguments);
        (demo, BufReader::new(stdout))
    }

    /// Runs a demo to its end.
    pub(crate) fn run(arguments: &[&str]) -> Ended {
        Self::start(arguments).finish()
    }

    fn spawn(arguments: &[&str]) -> (Self, ChildStdout, Sender<Event>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fetch"))
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let (sender, events) = channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        forward(
            child.stderr.take().expect("stderr is piped"),
            sender.clone(),
            Event::Stderr,
        );
        let deadline = Instant::now() + WATCHDOG;
        let demo = Self {
            child,
            events,
            unclosed: 1,
            stdout: Vec::new(),
            stderr: Vec::new(),
            deadline,
        };
        (demo, stdout, sender)
    }

    /// Waits until stdout has `count` lines.
    pub(crate) fn wait_for_lines(&mut self, count: usize) {
        while self.stdout.len() < count {
            self.take_event();
        }
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("the demo runs until it is waited for");
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Ended {
        while self.unclosed > 0 {
            self.take_event();
        }
        let status = self.child.wait().expect("the demo can be waited for");
        Ended {
            code: status.code(),
            stdout: std::mem::take(&mut self.stdout),
            stderr: self.stderr.join("\n"),
        }
    }

    fn take_event(&mut self) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(Event::Stdout(line)) => self.stdout.push(line),
            Ok(Event::Stderr(line)) => self.stderr.push(line),
            Ok(Event::Closed) => self.unclosed -= 1,
            Err(_) => panic!(
                "the demo did not get there in {WATCHDOG:?}; stdout {:?}, stderr {:?}",
                self.stdout, self.stderr
            ),
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Both fail for a demo that has ended, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: impl Read + Send + 'static, sender: Sender<Event>, event: fn(String) -> Event) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(event(line));
        }
        let _ = sender.send(Event::Closed);
    });
}

/// Serves `answer` to each request, on a thread each, and gives the base URL; `answer` takes the number that was asked
/// for and gives status line and body, and may block.
pub(crate) fn serve(
    answer: impl Fn(u32) -> (&'static str, String) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base_url = format!(
        "http://{}",
        listener
            .local_addr()
            .expect("a bound socket has an address")
    );
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || respond(stream, &*answer));
        }
    });
    base_url
}

fn respond(mut stream: TcpStream, answer: &dyn Fn(u32) -> (&'static str, String)) {
    let request = BufReader::new(&stream).lines().map_while(Result::ok);
    let head: Vec<String> = request.take_while(|line| !line.is_empty()).collect();
    let number = head[0]
        .split(['=', ' '])
        .filter_map(|part| part.parse().ok())
        .next();
    let (status, body) = answer(number.unwrap_or_else(|| panic!("no number in {:?}", head[0])));
    let length = body.len();
    // The demo may be gone by now.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// What a httpbin answers to `number`, as far as the demo reads it.
pub(crate) fn args(number: u32) -> (&'static str, String) {
    ("200 OK", format!(r#"{{"args": {{"number": "{number}"}}}}"#))
}

/// The line of a number that was fetched.
pub(crate) fn line(number: u32) -> String {
    format!(r#"{number} ---> {{"number":"{number}"}}"#)
}
