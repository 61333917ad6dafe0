//! Measures concurrent-futures against other ways to run blocking work.
//!
//! All subjects of a case run in one process, interleaved over several rounds, so that what
//! disturbs the machine for a while disturbs them alike.

mod fetch;
mod measure;
mod memory;
mod report;
mod threads;

use std::num::NonZeroUsize;

use clap::{Parser, ValueEnum};

use measure::Case;

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
}

#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    /// Tasks that do next to nothing, on two threads: what a task costs.
    Threads,
    /// Requests to a server in this process, on sixteen threads.
    Fetch,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Fetch => "fetch",
        }
    }

    fn cases(self) -> &'static [Case] {
        match self {
            Self::Threads => &threads::CASES,
            Self::Fetch => &fetch::CASES,
        }
    }
}

fn main() {
    threads::limit_blocking_crate();
    let arguments = Arguments::parse();
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
    for case in cases {
        let rows = measure::interleaved(case, arguments.rounds.get());
        if arguments.json {
            report::print_json(suite.name(), case, &rows);
        } else {
            report::print_table(suite.name(), case, &rows);
        }
    }
}
