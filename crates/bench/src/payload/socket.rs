//! Payloads through a socket between two processes, with nothing around them: what there is without
//! shared memory.

use std::env;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use rustix::buffer::spare_capacity;

use super::tasks::{before, ends, gigabytes, pattern, ready, sum};
use super::{Work, in_flight};
use crate::workers::{Companion, socket_of_companion};

/// As the first argument: receive and send payloads, as the next arguments say: which work, how long.
const PAYLOADS: &str = "--payloads";

/// What is sent that is no payload.
const NUMBER: usize = size_of::<u64>();

const WORKS: [(&str, Work); 4] = [
    ("read", Work::Read),
    ("take", Work::Take),
    ("give", Work::Give),
    ("return", Work::Return),
];

/// Whether this process was started to play the other end, and has played it.
pub(crate) fn play_role() -> bool {
    if env::args_os().nth(1).is_none_or(|role| role != PAYLOADS) {
        return false;
    }
    let (name, length) = (env::args().nth(2), env::args().nth(3));
    let work = WORKS.iter().find(|(work, _)| name.as_deref() == Some(work));
    let length = length.and_then(|length| length.parse().ok());
    let (_, work) = work.expect("it is one of these");
    serve(*work, length.expect("it is a number"))
        .expect("the other end closes the socket, and nothing else happens to it");
    true
}

fn serve(work: Work, length: usize) -> io::Result<()> {
    let mut socket = socket_of_companion()?;
    let question = if work == Work::Give { NUMBER } else { length };
    while let Some(bytes) = receive(&socket, question)? {
        match work {
            Work::Read => socket.write_all(&sum(&bytes).to_ne_bytes())?,
            Work::Take => socket.write_all(&ends(&bytes).to_ne_bytes())?,
            Work::Give => socket.write_all(&ready(length))?,
            Work::Return => socket.write_all(&bytes)?,
        }
    }
    Ok(())
}

/// A message of this length, in memory of its own; `None` at the end.
fn receive(socket: impl AsFd, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        if rustix::io::read(&socket, spare_capacity(&mut bytes))? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Gigabytes a second where one thread sends and another receives what comes back.
pub(super) fn by_socket(work: Work, length: usize, tasks: u64) -> f64 {
    let name = WORKS.iter().find(|(_, other)| *other == work);
    let (name, _) = name.expect("all are there");
    let companion = Companion::start(&[PAYLOADS, name, &length.to_string()]);
    let payload = pattern(length);
    let (question, answer) = match work {
        Work::Give => (payload.slice(..NUMBER), length),
        Work::Return => (payload.clone(), length),
        Work::Read | Work::Take => (payload.clone(), NUMBER),
    };
    let expected = match work {
        Work::Read => sum(&payload),
        Work::Take | Work::Give | Work::Return => ends(&payload),
    };
    let run = |tasks| {
        let most = in_flight(length);
        send_and_receive(companion.socket(), &question, (tasks, most), |socket| {
            let bytes = receive(socket, answer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let found = match work {
                Work::Read | Work::Take => bytes[..].try_into().map_or(0, u64::from_ne_bytes),
                Work::Give | Work::Return => ends(&bytes),
            };
            assert_eq!(found, expected, "other bytes came");
            Ok(())
        })
    };
    run(before(length, tasks));
    let start = Instant::now();
    run(tasks);
    let time = start.elapsed();
    companion.close();
    gigabytes(work.crossing(length), tasks, time)
}

/// At most so many are on their way.
fn send_and_receive(
    mut socket: &UnixStream,
    question: &[u8],
    (tasks, most): (u64, usize),
    receive: impl Fn(&UnixStream) -> io::Result<()>,
) {
    const ANSWERS: &str = "the other process answers";
    let (permits, taken) = std::sync::mpsc::sync_channel(most);
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..tasks {
                permits
                    .send(())
                    .expect("the receiver counts to the same number");
                socket.write_all(question).expect(ANSWERS);
            }
        });
        for _ in 0..tasks {
            receive(socket).expect(ANSWERS);
            taken.recv().expect("it was sent before the question");
        }
    });
}
