//! This program once more, as a process that belongs to no pool: what a start and a round trip cost
//! at the least.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use super::linux::stay_on;

/// As the first argument: end at once.
const RETURN: &str = "--return-at-once";
/// As the first argument: send back what comes in by the socket that is standard input, on the CPU
/// that the second argument numbers, if there is one.
const ECHO: &str = "--echo";

/// What is sent in one direction: a number.
const MESSAGE: usize = size_of::<u64>();

/// Whether this process was started to play a part in a case, and has played it. To be asked before
/// anything else.
pub(crate) fn play_role() -> bool {
    match env::args_os().nth(1) {
        Some(role) if role == RETURN => true,
        Some(role) if role == ECHO => {
            echo().expect("the other end closes the socket, and nothing else happens to it");
            true
        }
        _ => false,
    }
}

fn echo() -> io::Result<()> {
    if let Some(cpu) = env::args().nth(2) {
        stay_on(cpu.parse().expect("it is a number"));
    }
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut message = [0; MESSAGE];
    loop {
        match socket.read_exact(&mut message) {
            Ok(()) => socket.write_all(&message)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn this_program(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(role);
    command
}

/// Starts a process that ends at once, and waits until it is gone.
pub(crate) fn start_and_wait() {
    let status = this_program(RETURN)
        .status()
        .expect("this program can be started again");
    assert!(status.success());
}

/// A process that sends back what comes in.
pub(crate) struct Echo {
    socket: UnixStream,
    process: Child,
}

impl Echo {
    /// Of `cpu` alone, if there is one.
    pub(crate) fn start(cpu: Option<usize>) -> Self {
        let (socket, theirs) = UnixStream::pair().expect("there are descriptors");
        let process = this_program(ECHO)
            .args(cpu.map(|cpu| cpu.to_string()))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("this program can be started again");
        Self { socket, process }
    }

    /// Sends a number there and back.
    pub(crate) fn round_trip(&mut self, number: u64) -> u64 {
        let mut message = number.to_ne_bytes();
        self.socket
            .write_all(&message)
            .and_then(|()| self.socket.read_exact(&mut message))
            .expect("the other process answers");
        u64::from_ne_bytes(message)
    }

    pub(crate) fn close(self) {
        let Self {
            socket,
            mut process,
        } = self;
        drop(socket);
        let status = process.wait().expect("nobody else reaps it");
        assert!(status.success());
    }
}
