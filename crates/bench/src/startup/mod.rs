//! The suite `startup`: from no worker process to a result.

mod timing;

use std::rc::Rc;

use crate::measure::{Case, OURS, Subject};
use crate::settings;
use crate::workers::{Ballast, CPython, Measurement, Ours, Procspawn, PythonPool};
use timing::{first_result, respawn, start_processes};

const STARTS: u64 = 20;
/// For those who copy a parent with much memory.
const STARTS_OF_SLOW: u64 = 3;

const MICROSECONDS: f64 = 1e6;

/// What is worth to be compared with an earlier case.
pub(crate) const COMPARISONS: [(&str, &str); 1] = [("first-result-big-parent", "first-result")];

pub(crate) const CASES: [Case; 3] = [
    Case {
        name: "first-result",
        unit: "us",
        subjects: || {
            let mut subjects = first_results();
            subjects.extend(python_first_results(CPython::start(), STARTS));
            subjects
        },
    },
    Case {
        name: "first-result-big-parent",
        unit: "us",
        subjects: || {
            let bytes = settings::get().big_parent;
            if !Ballast::fits(bytes) {
                eprintln!("without first-result-big-parent: it needs {bytes} bytes of memory");
                return Vec::new();
            }
            // Freed with the last subject.
            let ballast = Rc::new(Ballast::touched(bytes));
            let mut subjects: Vec<_> = first_results()
                .into_iter()
                .map(|subject| subject.holding(Rc::clone(&ballast)))
                .collect();
            // Python is a parent of its own.
            if Ballast::fits(bytes) {
                let python = CPython::start_with_ballast(bytes);
                subjects.extend(python_first_results(python, STARTS_OF_SLOW));
            } else {
                eprintln!("without the pools of CPython: they need {bytes} bytes more");
            }
            subjects
        },
    },
    Case {
        name: "respawn",
        unit: "us",
        subjects: || {
            // Not with procspawn, whose submit panics when a worker is found dead meanwhile; nor
            // with CPython, whose executor is broken then and whose other pool may hang.
            vec![
                Subject::new(OURS, STARTS, respawn::<Ours>),
                Subject::new("spawn-and-wait", STARTS, start_processes),
            ]
        },
    },
];

fn first_results() -> Vec<Subject> {
    vec![
        Subject::new(OURS, STARTS, first_result::<Ours>),
        Subject::new("spawn-and-wait", STARTS, start_processes),
        Subject::new("procspawn-pool", STARTS, first_result::<Procspawn>),
    ]
}

fn python_first_results(python: Option<CPython>, starts: u64) -> Vec<Subject> {
    let Some(python) = python else {
        return Vec::new();
    };
    [PythonPool::Executor, PythonPool::Pool]
        .map(|pool| python.subject(pool, Measurement::FirstResult, starts, MICROSECONDS))
        .into()
}
