//! The suite `payload`: arguments and results of a few kilobytes and of many megabytes, and how many
//! bytes cross in a second.
//!
//! About 4 MiB are on their way at any time, and four payloads at least, as a service that has something
//! to do keeps them; with `procspawn` two, since more block for ever, or wait. All who receive do so into memory of that message
//! alone, as who goes on to use it needs.

mod memcpy;
mod socket;
mod tasks;

use crate::measure::{Case, OURS, Subject};
use crate::workers::{Ours, Procspawn};
use memcpy::copy;
use socket::by_socket;
use tasks::{given, read, returned, returned_as_numbers, taken};

pub(crate) use socket::play_role;

const KIBIBYTE: usize = 1 << 10;
const MEBIBYTE: usize = 1 << 20;
const LARGE: usize = 64 * MEBIBYTE;

/// How many payloads of this length are on their way at any time: of large ones as many as a service may
/// have, and of small ones so many that it is not the wake-ups that are measured.
fn in_flight(length: usize) -> usize {
    (4 * MEBIBYTE / length).clamp(4, 256)
}

/// Who copies as much as others send is done within two seconds.
const LARGE_TASKS: u64 = 80;
const LARGE_TASKS_OF_SLOW: u64 = 8;

const UNIT: &str = "GB/s";

/// What the other process does with a payload, and says.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Receives it, reads all of it, and sends a number.
    Read,
    /// Receives it as bytes of its own, and sends a number.
    Take,
    /// Receives a number, and sends a payload that it holds ready.
    Give,
    /// Receives it as bytes of its own, and sends it back.
    Return,
}

impl Work {
    /// How many bytes cross, with a payload of so many.
    fn crossing(self, length: usize) -> usize {
        match self {
            Self::Return => 2 * length,
            _ => length,
        }
    }
}

pub(crate) const CASES: [Case; 5] = [
    Case {
        name: "blob-64MiB-in",
        unit: UNIT,
        subjects: || {
            vec![
                Subject::new(OURS, LARGE_TASKS, |tasks| read::<Ours>(LARGE, tasks)),
                Subject::new("procspawn-pool", LARGE_TASKS_OF_SLOW, |tasks| {
                    read::<Procspawn>(LARGE, tasks)
                }),
                socket_subject(Work::Read, LARGE, LARGE_TASKS / 2),
                memcpy_subject(),
            ]
        },
    },
    Case {
        name: "bytes-64MiB-in",
        unit: UNIT,
        subjects: || {
            vec![
                Subject::new(OURS, LARGE_TASKS, |tasks| taken::<Ours>(LARGE, tasks)),
                Subject::new("procspawn-pool", LARGE_TASKS_OF_SLOW, |tasks| {
                    taken::<Procspawn>(LARGE, tasks)
                }),
                socket_subject(Work::Take, LARGE, LARGE_TASKS / 2),
                memcpy_subject(),
            ]
        },
    },
    Case {
        name: "64MiB-out",
        unit: UNIT,
        subjects: || {
            vec![
                Subject::new(OURS, LARGE_TASKS, |tasks| given::<Ours>(LARGE, tasks)),
                Subject::new("procspawn-pool", LARGE_TASKS_OF_SLOW, |tasks| {
                    given::<Procspawn>(LARGE, tasks)
                }),
                socket_subject(Work::Give, LARGE, LARGE_TASKS / 2),
                memcpy_subject(),
            ]
        },
    },
    Case {
        name: "256KiB",
        unit: UNIT,
        subjects: || there_and_back(256 * KIBIBYTE, 10_000, 500),
    },
    Case {
        name: "4KiB",
        unit: UNIT,
        subjects: || there_and_back(4 * KIBIBYTE, 100_000, 4_000),
    },
];

fn there_and_back(length: usize, tasks: u64, tasks_of_slow: u64) -> Vec<Subject> {
    vec![
        Subject::new(OURS, tasks, move |tasks| returned::<Ours>(length, tasks)),
        Subject::new("procspawn-pool", tasks_of_slow, move |tasks| {
            returned::<Procspawn>(length, tasks)
        }),
        Subject::new("concurrent-futures-vec", tasks, move |tasks| {
            returned_as_numbers::<Ours>(length, tasks)
        }),
        Subject::new("procspawn-pool-vec", tasks_of_slow, move |tasks| {
            returned_as_numbers::<Procspawn>(length, tasks)
        }),
        socket_subject(Work::Return, length, tasks),
        memcpy_subject(),
    ]
}

fn socket_subject(work: Work, length: usize, tasks: u64) -> Subject {
    Subject::new("unix-socket", tasks, move |tasks| {
        by_socket(work, length, tasks)
    })
}

/// What a copy within a process takes: the most that can be hoped for who copies once.
fn memcpy_subject() -> Subject {
    Subject::new("memcpy", LARGE_TASKS, |tasks| copy(LARGE, tasks))
}
