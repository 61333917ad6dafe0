//! Runs the subjects of a case in turns, and sums up what they took.

use std::thread;
use std::time::Duration;

/// How our subject is named in every case.
pub(crate) const OURS: &str = "concurrent-futures";

/// How long the threads of one subject have to end before the next one runs.
const PAUSE: Duration = Duration::from_millis(20);

/// Something to compare in.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the values are in, for a single task.
    pub(crate) unit: &'static str,
    /// Those who are compared, ours first.
    pub(crate) subjects: fn() -> Vec<Subject>,
}

/// Somebody who is compared.
pub(crate) struct Subject {
    name: &'static str,
    /// How many tasks a run has. The slow ones get fewer; the value is that of a single task.
    tasks: u64,
    run: fn(u64) -> f64,
}

impl Subject {
    /// `run` takes the number of tasks, and gives the value of a single one.
    pub(crate) fn new(name: &'static str, tasks: u64, run: fn(u64) -> f64) -> Self {
        Self { name, tasks, run }
    }
}

/// What was measured of a subject.
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    pub(crate) tasks: u64,
    /// In ascending order; never empty.
    values: Vec<f64>,
}

impl Row {
    pub(crate) fn runs(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.values[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.values.len() / 2;
        if self.values.len() % 2 == 1 {
            self.values[middle]
        } else {
            f64::midpoint(self.values[middle - 1], self.values[middle])
        }
    }
}

/// Runs each subject once a round. Each round begins with another one.
pub(crate) fn interleaved(case: &Case, rounds: usize) -> Vec<Row> {
    let subjects = (case.subjects)();
    let mut rows: Vec<Row> = subjects
        .iter()
        .map(|subject| Row {
            subject: subject.name,
            tasks: subject.tasks,
            values: Vec::with_capacity(rounds),
        })
        .collect();
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let index = (round + turn) % subjects.len();
            let subject = &subjects[index];
            rows[index].values.push((subject.run)(subject.tasks));
            thread::sleep(PAUSE);
        }
    }
    for row in &mut rows {
        row.values.sort_by(f64::total_cmp);
    }
    rows
}
