//! A real httpbin in a gunicorn on a free loopback port, which ends with the value that stands for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// From the start to the first answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// From the request to stop until it is made to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running httpbin.
///
/// It cannot be left behind: dropping this stops it, and when this process dies without that, the end of the server's
/// stdin does (see `httpbin.gunicorn.py`).
#[derive(Debug)]
pub(crate) struct Httpbin {
    /// The leader of a process group of its own, which its workers are in too.
    gunicorn: Child,
    base_url: String,
}

impl Httpbin {
    /// Starts httpbin with the environment's `python` and waits until it answers.
    pub(crate) fn start(python: &Path) -> Result<Self> {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/httpbin.gunicorn.py");
        let gunicorn = Command::new(python)
            .args(["-m", "gunicorn", "--config", config, "httpbin:app"])
            .env_remove("GUNICORN_CMD_ARGS")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start gunicorn")?;
        // From here on the guard exists, so that no return below leaves the server behind.
        let mut httpbin = Self {
            gunicorn,
            base_url: String::new(),
        };
        let log = forward(
            httpbin
                .gunicorn
                .stderr
                .take()
                .context("gunicorn's stderr is piped")?,
        );
        let deadline = Instant::now() + START_TIMEOUT;
        httpbin.base_url = base_url_in(&log, deadline)?;
        httpbin.wait_until_ready(deadline)?;
        Ok(httpbin)
    }

    /// The URL before `/get`.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    fn wait_until_ready(&mut self, deadline: Instant) -> Result<()> {
        while let Err(error) = self.ask() {
            if let Some(status) = self.gunicorn.try_wait()? {
                bail!("gunicorn ended before it answered: {status}");
            }
            ensure!(
                Instant::now() < deadline,
                "httpbin gave no answer within {START_TIMEOUT:?}: {error:#}"
            );
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn ask(&self) -> Result<()> {
        let authority = self.base_url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "GET /get HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(
            answer.starts_with("HTTP/1.1 200 "),
            "httpbin answered {:?}",
            answer.lines().next()
        );
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        // Neither signal can hit a stranger: the child is not waited for yet, so its id is still its own.
        if self.gunicorn.try_wait()?.is_some() {
            return Ok(());
        }
        let group = Pid::from_child(&self.gunicorn);
        kill_process(group, Signal::TERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.gunicorn.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                kill_process_group(group, Signal::KILL)?;
                self.gunicorn.wait()?;
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Httpbin {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!(
                "warning: cannot stop gunicorn (process {}): {error:#}",
                self.gunicorn.id()
            );
        }
    }
}

/// Reads the log to its end, whether anybody takes the lines or not, so that gunicorn is never stuck in a write.
fn forward(log: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Waits for the line that says which port the system gave.
fn base_url_in(log: &Receiver<String>, deadline: Instant) -> Result<String> {
    let mut lines = Vec::new();
    loop {
        let reason = match log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some((_, rest)) = line.split_once("Listening at: ") {
                    return Ok(rest.split(' ').next().unwrap_or(rest).to_owned());
                }
                lines.push(line);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => "took too long to listen",
            Err(RecvTimeoutError::Disconnected) => "ended before it listened",
        };
        bail!("gunicorn {reason}; its log:\n{}", lines.join("\n"));
    }
}
