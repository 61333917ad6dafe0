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
    let mut socket = socket_of_companion()?;
    let mut message = [0; MESSAGE];
    loop {
        match socket.read_exact(&mut message) {
            Ok(()) => socket.write_all(&message)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The other end of [`Companion::socket`], in that process.
pub(crate) fn socket_of_companion() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(UnixStream::from(socket))
}

/// Starts a process that ends at once, and waits until it is gone.
pub(crate) fn start_and_wait() {
    let status = Command::new("/proc/self/exe")
        .arg(RETURN)
        .status()
        .expect("this program can be started again");
    assert!(status.success());
}

/// A process with a socket between it and this one.
pub(crate) struct Companion {
    socket: UnixStream,
    process: Child,
}

impl Companion {
    /// This program, with these arguments, of which the first is its role.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let (socket, theirs) = UnixStream::pair().expect("there are descriptors");
        let process = Command::new("/proc/self/exe")
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("this program can be started again");
        Self { socket, process }
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
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

/// A process that sends back what comes in.
pub(crate) struct Echo(Companion);

impl Echo {
    /// Of `cpu` alone, if there is one.
    pub(crate) fn start(cpu: Option<usize>) -> Self {
        let cpu = cpu.map(|cpu| cpu.to_string());
        let arguments: Vec<&str> = [ECHO].into_iter().chain(cpu.as_deref()).collect();
        Self(Companion::start(&arguments))
    }

    /// Sends a number there and back.
    pub(crate) fn round_trip(&mut self, number: u64) -> u64 {
        let mut message = number.to_ne_bytes();
        let mut socket = self.0.socket();
        socket
            .write_all(&message)
            .and_then(|()| socket.read_exact(&mut message))
            .expect("the other process answers");
        u64::from_ne_bytes(message)
    }

    pub(crate) fn close(self) {
        self.0.close();
    }
}
