//! The suite `processes`: tasks that do next to nothing, in two worker processes, and the same
//! processes at rest.

mod idle;
mod timing;

use crate::measure::{Case, OURS, Subject};
use crate::workers::{CPython, Measurement, Ours, Procspawn, PythonPool, usable_cpus};
use idle::{wakeups, worker_memory};
use timing::{bulk, ping_pong, ping_pong_blocking, socket_ping_pong, socket_ping_pong_of_two};

const BULK: u64 = 200_000;
const PING_PONG: u64 = 5_000;
/// For those of whom `BULK` or `PING_PONG` tasks would take seconds.
const TASKS_OF_SLOW: u64 = 4_000;
const PING_PONG_OF_SLOW: u64 = 1_000;
/// Each takes ten seconds.
const IDLE_ROUNDS: usize = 3;

const NANOSECONDS: f64 = 1e9;
const BYTES: f64 = 1.0;

pub(crate) const CASES: [Case; 5] = [
    Case {
        name: "bulk",
        unit: "ns",
        subjects: || {
            let mut subjects = vec![
                Subject::new(OURS, BULK, bulk::<Ours>),
                Subject::new("procspawn-pool", TASKS_OF_SLOW, bulk::<Procspawn>),
            ];
            if let Some(python) = CPython::start() {
                subjects.extend([PythonPool::Executor, PythonPool::Pool].map(|pool| {
                    python.subject(pool, Measurement::Bulk, TASKS_OF_SLOW, NANOSECONDS)
                }));
            }
            subjects
        },
    },
    Case {
        name: "ping-pong",
        unit: "ns",
        subjects: || {
            let mut subjects = vec![
                Subject::new(OURS, PING_PONG, ping_pong::<Ours>),
                Subject::new("procspawn-pool", PING_PONG_OF_SLOW, ping_pong::<Procspawn>),
            ];
            subjects.extend(socket_ping_pongs());
            subjects.extend(python_ping_pong(Measurement::PingPong));
            subjects
        },
    },
    Case {
        name: "ping-pong-blocking",
        unit: "ns",
        subjects: || {
            let mut subjects = vec![
                Subject::new(OURS, PING_PONG, ping_pong_blocking::<Ours>),
                Subject::new(
                    "procspawn-pool",
                    PING_PONG_OF_SLOW,
                    ping_pong_blocking::<Procspawn>,
                ),
            ];
            subjects.extend(socket_ping_pongs());
            subjects.extend(python_ping_pong(Measurement::PingPongBlocking));
            subjects
        },
    },
    Case {
        name: "idle-wakeups",
        unit: "wakeups",
        subjects: || {
            vec![
                Subject::new(OURS, 1, wakeups::<Ours>).at_most(IDLE_ROUNDS),
                Subject::new("procspawn-pool", 1, wakeups::<Procspawn>).at_most(IDLE_ROUNDS),
            ]
        },
    },
    Case {
        name: "idle-worker-memory",
        unit: "bytes",
        subjects: || {
            let mut subjects = vec![
                Subject::new(OURS, 1, worker_memory::<Ours>),
                Subject::new("procspawn-pool", 1, worker_memory::<Procspawn>),
            ];
            if let Some(python) = CPython::start() {
                subjects.extend(
                    [PythonPool::Executor, PythonPool::Pool]
                        .map(|pool| python.subject(pool, Measurement::WorkerMemory, 1, BYTES)),
                );
            }
            subjects
        },
    },
];

fn socket_ping_pongs() -> Vec<Subject> {
    let mut subjects = vec![Subject::new(
        "unix-socket-ping-pong",
        PING_PONG,
        socket_ping_pong,
    )];
    match usable_cpus()[..] {
        [first, second, ..] => subjects.push(Subject::new(
            "unix-socket-two-cpus",
            PING_PONG,
            move |tasks| socket_ping_pong_of_two([first, second], tasks),
        )),
        _ => eprintln!("without unix-socket-two-cpus: there is one CPU"),
    }
    subjects
}

fn python_ping_pong(measurement: Measurement) -> Option<Subject> {
    let python = CPython::start()?;
    Some(python.subject(
        PythonPool::Executor,
        measurement,
        PING_PONG_OF_SLOW,
        NANOSECONDS,
    ))
}
