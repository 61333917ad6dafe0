//! Measures concurrent-futures against other ways to run blocking work.
//!
//! All subjects of a case run in one process, interleaved over several rounds, so that what
//! disturbs the machine for a while disturbs them alike.

mod fetch;
mod map;
mod measure;
mod memory;
mod payload;
mod processes;
mod report;
mod settings;
mod startup;
mod threads;
mod waiting;
mod workers;

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Parser, ValueEnum, value_parser};

use measure::{Case, Row};
use settings::Settings;

/// Measures concurrent-futures against other ways to run blocking work.
#[derive(Parser)]
struct Arguments {
    /// What to measure.
    suite: Suite,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// How often each subject runs.
    #[arg(long, default_value = "9")]
    rounds: NonZeroUsize,
    /// Measure this case only.
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// How long `idle-wakeups` looks on.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    idle_seconds: u64,
    /// How much memory the parent has in `first-result-big-parent`.
    #[arg(long, value_name = "GIB", default_value = "8", value_parser = value_parser!(u32).range(1..))]
    big_parent: u32,
}

const GIBIBYTE: usize = 1 << 30;

#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    /// Tasks that do next to nothing, on two threads: what a task costs.
    Threads,
    /// Requests to a server in this process, on sixteen threads.
    Fetch,
    /// Tasks that do next to nothing, in two worker processes: what a task costs, and what workers
    /// cost that have nothing to do.
    Processes,
    /// A function on many items, on two threads and in two worker processes: chunks as the map
    /// chooses them, beside fixed sizes of them.
    Map,
    /// Arguments and results of four kilobytes to 64 megabytes, in two worker processes: how many bytes
    /// cross in a second.
    Payload,
    /// From no worker process to a result.
    Startup,
    /// Tasks that wait for tasks of their own pool, on two threads.
    Waiting,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Fetch => "fetch",
            Self::Processes => "processes",
            Self::Map => "map",
            Self::Payload => "payload",
            Self::Startup => "startup",
            Self::Waiting => "waiting",
        }
    }

    fn cases(self) -> &'static [Case] {
        match self {
            Self::Threads => &threads::CASES,
            Self::Fetch => &fetch::CASES,
            Self::Processes => &processes::CASES,
            Self::Map => map::CASES,
            Self::Payload => &payload::CASES,
            Self::Startup => &startup::CASES,
            Self::Waiting => &waiting::CASES,
        }
    }

    /// Pairs of cases, the later one first, whose ratio is of interest.
    fn comparisons(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Startup => &startup::COMPARISONS,
            _ => &[],
        }
    }
}

fn main() {
    if workers::play_role() || payload::play_role() {
        return;
    }
    procspawn::init();
    threads::limit_blocking_crate();
    let arguments = Arguments::parse();
    settings::set(Settings {
        idle_time: Duration::from_secs(arguments.idle_seconds),
        big_parent: arguments.big_parent as usize * GIBIBYTE,
    });
    let suite = arguments.suite;
    let is_wanted = |case: &&Case| {
        arguments
            .case
            .as_ref()
            .is_none_or(|wanted| wanted == case.name)
    };
    let cases: Vec<&Case> = suite.cases().iter().filter(is_wanted).collect();
    if cases.is_empty() {
        let names: Vec<_> = suite.cases().iter().map(|case| case.name).collect();
        eprintln!("{} has the cases {}", suite.name(), names.join(", "));
        std::process::exit(2);
    }
    let mut measured: Vec<(&str, Vec<Row>)> = Vec::new();
    for case in cases {
        let rows = measure::interleaved(case, arguments.rounds.get());
        if rows.is_empty() {
            continue;
        }
        if arguments.json {
            report::print_json(suite.name(), case, &rows);
        } else {
            report::print_table(suite.name(), case, &rows);
        }
        if let Some(ratio) = map::automatic_to_best(&rows) {
            report::print_ratio(suite.name(), case, &ratio, arguments.json);
        }
        measured.push((case.name, rows));
    }
    if arguments.json {
        return;
    }
    let rows_of = |name| measured.iter().find(|(case, _)| *case == name);
    for &(name, other_name) in suite.comparisons() {
        if let (Some((_, rows)), Some((_, other_rows))) = (rows_of(name), rows_of(other_name)) {
            report::print_comparison(suite.name(), (name, rows), (other_name, other_rows));
        }
    }
}
