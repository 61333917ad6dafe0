//! Runs the subjects of a case in turns, and sums up what they took.

use std::thread;
use std::time::Duration;

/// How our subject is named in every case.
pub(crate) const OURS: &str = "concurrent-futures";

/// How it is named where what is compared are settings of ours, and it chooses by itself.
pub(crate) const AUTOMATIC: &str = "automatic";

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

impl Case {
    /// Whether the values are rates, of which the greater one is the better; otherwise it is the
    /// smaller one.
    pub(crate) fn is_rate(&self) -> bool {
        self.unit.ends_with("/s")
    }
}

/// Somebody who is compared.
pub(crate) struct Subject {
    name: &'static str,
    /// How many tasks a run has. The slow ones get fewer; the value is that of a single task.
    tasks: u64,
    most_runs: usize,
    run: Box<dyn Fn(u64) -> f64>,
}

impl Subject {
    /// `run` takes the number of tasks, and gives the value of a single one.
    pub(crate) fn new(name: &'static str, tasks: u64, run: impl Fn(u64) -> f64 + 'static) -> Self {
        Self {
            name,
            tasks,
            most_runs: usize::MAX,
            run: Box::new(run),
        }
    }

    /// Leaves out the rounds after the first `runs`, for those who take long whatever they do.
    pub(crate) fn at_most(mut self, runs: usize) -> Self {
        self.most_runs = runs;
        self
    }

    /// Keeps `what` for as long as the subjects of the case are there.
    pub(crate) fn holding(self, what: impl Sized + 'static) -> Self {
        let run = self.run;
        Self {
            run: Box::new(move |tasks| {
                let _held = &what;
                run(tasks)
            }),
            ..self
        }
    }
}

/// What was measured of a subject.
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    pub(crate) tasks: u64,
    /// In the order of the rounds; never empty.
    values: Vec<f64>,
}

impl Row {
    pub(crate) fn new(subject: &'static str, tasks: u64, values: Vec<f64>) -> Self {
        Self {
            subject,
            tasks,
            values,
        }
    }

    pub(crate) fn of<'a>(rows: &'a [Self], subject: &str) -> Option<&'a Self> {
        rows.iter().find(|row| row.subject == subject)
    }

    pub(crate) fn runs(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.sorted()[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.sorted()[self.values.len() - 1]
    }

    pub(crate) fn median(&self) -> f64 {
        let values = self.sorted();
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        }
    }

    /// What was measured in this round.
    pub(crate) fn value(&self, round: usize) -> f64 {
        self.values[round]
    }

    /// What was measured in all rounds but this one.
    pub(crate) fn without(&self, round: usize) -> Self {
        let mut values = self.values.clone();
        values.remove(round);
        Self::new(self.subject, self.tasks, values)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
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
            if round >= subject.most_runs {
                continue;
            }
            rows[index].values.push((subject.run)(subject.tasks));
            thread::sleep(PAUSE);
        }
    }
    rows
}
