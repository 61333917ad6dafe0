//! CPython's pools, measured by a script in a Python process that is started once for a case.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use serde::Serialize;
use tempfile::NamedTempFile;

use crate::measure::Subject;

const SCRIPT: &str = include_str!("cpython.py");

/// Which pool.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PythonPool {
    /// `concurrent.futures.ProcessPoolExecutor`.
    Executor,
    /// `multiprocessing.Pool`.
    Pool,
}

impl PythonPool {
    fn name(self) -> &'static str {
        match self {
            Self::Executor => "cpython-process-pool",
            Self::Pool => "cpython-multiprocessing-pool",
        }
    }
}

/// What the script can measure.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measurement {
    Bulk,
    PingPong,
    PingPongBlocking,
    WorkerMemory,
    FirstResult,
}

#[derive(Serialize)]
struct Request {
    measurement: Measurement,
    pool: PythonPool,
    tasks: u64,
}

/// A Python process. The last handle that is dropped ends it.
#[derive(Clone)]
pub(crate) struct CPython(Rc<RefCell<Process>>);

impl CPython {
    /// `None`, and a note to the user, if there is no Python that can run the script.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with_ballast(0)
    }

    /// As [`start`](Self::start), with so many bytes that the process has touched.
    pub(crate) fn start_with_ballast(bytes: usize) -> Option<Self> {
        match Process::start(bytes) {
            Ok(process) => Some(Self(Rc::new(RefCell::new(process)))),
            Err(error) => {
                eprintln!("without the pools of CPython: python3 cannot be used: {error}");
                None
            }
        }
    }

    /// A subject that takes what the script measures `factor` times: seconds in the unit of the
    /// case.
    pub(crate) fn subject(
        &self,
        pool: PythonPool,
        measurement: Measurement,
        tasks: u64,
        factor: f64,
    ) -> Subject {
        let python = self.clone();
        Subject::new(pool.name(), tasks, move |tasks| {
            let request = Request {
                measurement,
                pool,
                tasks,
            };
            python.0.borrow_mut().answer(&request) * factor
        })
    }
}

struct Process {
    child: Child,
    /// Taken to end the process.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// A start method that does not fork reads the script again.
    _script: NamedTempFile,
}

impl Process {
    fn start(ballast: usize) -> io::Result<Self> {
        let mut script = NamedTempFile::with_suffix(".py")?;
        script.write_all(SCRIPT.as_bytes())?;
        let mut child = Command::new("python3")
            .arg(script.path())
            .arg(ballast.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut process = Self {
            requests: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
            _script: script,
        };
        let mut line = String::new();
        process.answers.read_line(&mut line)?;
        if line.trim_end() != "ready" {
            return Err(io::Error::other("the script has ended early"));
        }
        Ok(process)
    }

    fn answer(&mut self, request: &Request) -> f64 {
        let mut line = serde_json::to_string(request).expect("text and numbers can be encoded");
        line.push('\n');
        let requests = self.requests.as_mut().expect("it is taken at the end");
        requests
            .write_all(line.as_bytes())
            .expect("the script reads");
        line.clear();
        self.answers
            .read_line(&mut line)
            .expect("the script answers");
        serde_json::from_str(&line).expect("the script has said above what is wrong")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the end of python3 cannot be waited for: {error}");
        }
    }
}
