//! A door that tasks in other processes wait at until the test opens it.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::system::{Process, read_to_its_end};

/// Where tasks knock, by its name, with [`pass`](super::visit::pass).
pub(super) struct Door {
    listener: UnixListener,
    name: String,
}

/// A task that waits at the door. Dropping it lets the task pass.
pub(super) struct Visitor {
    processes: Vec<Process>,
    stream: BufReader<UnixStream>,
}

impl Door {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("concurrent-futures-door-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("the name is new");
        Self { listener, name }
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// Waits for the next task.
    pub(super) fn visitor(&self) -> Visitor {
        let (stream, _) = self.listener.accept().expect("it listens");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("it says who it is");
        let processes = line
            .split_whitespace()
            .map(|word| Process::of(word.parse().expect("a process id")))
            .collect();
        Visitor { processes, stream }
    }

    pub(super) fn visitors(&self, count: usize) -> Vec<Visitor> {
        (0..count).map(|_| self.visitor()).collect()
    }

    /// Whether nobody has knocked who was not asked in.
    pub(super) fn is_quiet(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a socket");
        let next = self.listener.accept();
        self.listener.set_nonblocking(false).expect("a socket");
        next.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl Visitor {
    /// The process that the task runs in.
    pub(super) fn process(&self) -> &Process {
        &self.processes[0]
    }

    pub(super) fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// The task's process first, then those that it has named.
    pub(super) fn into_processes(self) -> Vec<Process> {
        self.processes
    }

    /// Nobody may be left soon who holds the other end.
    pub(super) fn assert_let_go(self) {
        read_to_its_end(self.stream.into_inner());
    }

    /// Opens the door, and waits until the task has gone through.
    pub(super) fn let_in(mut self) {
        use std::net::Shutdown;
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
        // It ends when the task lets go of the handle, or dies.
        let _ = self.stream.read_line(&mut String::new());
    }
}
