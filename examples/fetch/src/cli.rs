//! The command line of the demo; what passes here needs no further check.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use reqwest::Url;

/// The longest timeout, in seconds: a day.
const MAX_TIMEOUT_SECONDS: f64 = 86_400.0;

/// Fetch numbers from a httpbin with the executors of concurrent-futures.
///
/// One line a number goes to stdout, everything else to stderr; RUST_LOG sets what is logged there.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// What runs the fetches
    #[arg(long, value_enum, default_value_t = ExecutorKind::Threads)]
    pub(crate) executor: ExecutorKind,
    /// How the results are taken
    #[arg(long, value_enum, default_value_t = Mode::AsCompleted)]
    pub(crate) mode: Mode,
    /// How many fetches run at a time [default: 5 for as-completed, 4 for map]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How many numbers to fetch, from 0 upward
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) count: u32,
    /// The number that fails without a request
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub(crate) fail_at: u32,
    /// The httpbin to ask, such as http://httpbin.org [default: an own one, started for the run]
    #[arg(long, value_name = "URL", value_parser = parse_base_url)]
    pub(crate) base_url: Option<String>,
    /// How long one request may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,
    /// Write nothing but errors to stderr
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Arguments {
    /// How many fetches run at a time.
    pub(crate) fn workers(&self) -> usize {
        self.workers
            .map_or_else(|| self.mode.default_workers(), usize::from)
    }
}

/// The executors that can run the fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExecutorKind {
    /// Threads of this process
    Threads,
    /// Worker processes
    Processes,
}

/// The two forms of the original program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Each result when it is there; goes on after errors
    AsCompleted,
    /// The results in the order of the numbers; stops at the first error
    Map,
}

impl Mode {
    /// The number of workers that the original gives this form.
    fn default_workers(self) -> usize {
        match self {
            Self::AsCompleted => 5,
            Self::Map => 4,
        }
    }
}

fn parse_base_url(text: &str) -> Result<String, String> {
    let example = "give one like http://httpbin.org";
    let url = Url::parse(text).map_err(|error| format!("no URL ({error}): {example}"))?;
    match url.scheme() {
        "http" if url.fragment().is_some() => Err(format!(
            "a URL with a fragment has no place for /get: {example}"
        )),
        "http" => Ok(text.trim_end_matches('/').to_owned()),
        "https" => Err(format!(
            "this demo is built without TLS and cannot ask an https URL: {example}"
        )),
        _ => Err(format!("no http URL: {example}")),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=MAX_TIMEOUT_SECONDS).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!(
            "give a number of seconds from 0.001 to {MAX_TIMEOUT_SECONDS}"
        )),
    }
}
