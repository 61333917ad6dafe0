//! The httpbin demo: a hundred numbers in the two forms of Python's `concurrent.futures`; `--help` has the options.

mod cli;
mod report;
mod run;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use concurrent_futures::{AnyExecutor, ProcessPoolExecutor, ThreadPoolExecutor};
use fetch::{Httpbin, Target};
use tracing_subscriber::EnvFilter;

use crate::cli::{Arguments, ExecutorKind};
use crate::report::{Report, chain};
use crate::run::{RunError, run};

/// What a shell gives a program that Ctrl-C ended: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// How long work that was interrupted may take to draw its progress bar for the last time.
const LAST_WORDS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.quiet);
    let report = Arc::new(Report::new(arguments.count, arguments.quiet));
    demo(arguments, &report).unwrap_or_else(|error| {
        report.error(&chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn demo(arguments: Arguments, report: &Arc<Report>) -> anyhow::Result<ExitCode> {
    let (base_url, _httpbin) = match &arguments.base_url {
        Some(base_url) => (base_url.clone(), None),
        None => {
            let httpbin =
                Httpbin::start().context("cannot start a httpbin here: give one by --base-url")?;
            report.note(&format!("asking its own httpbin at {}", httpbin.base_url()));
            (httpbin.base_url().to_owned(), Some(httpbin))
        }
    };
    let target = Target {
        base_url,
        timeout: arguments.timeout,
        fail_at: arguments.fail_at,
    };
    let (mode, count) = (arguments.mode, arguments.count);

    let workers = arguments.workers();
    // The one place that names an executor: all below is generic over it.
    let executor: AnyExecutor = match arguments.executor {
        ExecutorKind::Threads => ThreadPoolExecutor::builder()
            .max_workers(workers)
            .build()?
            .into(),
        ExecutorKind::Processes => ProcessPoolExecutor::builder()
            .max_workers(workers)
            .build()?
            .into(),
    };
    let ended = {
        let report = Arc::clone(report);
        until_interrupted(async move { run(&executor, mode, target, count, &report).await })?
    };

    match ended {
        None => {
            report.interrupted();
            Ok(ExitCode::from(INTERRUPTED))
        }
        Some(result) => {
            report.finish();
            match result {
                Ok(()) | Err(RunError::ReaderGone) => Ok(ExitCode::SUCCESS),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Drives `work` on a runtime until it ends, or until Ctrl-C, which gives `None`.
///
/// The work is a task of its own, so that Ctrl-C gets through while the work hangs in a write to a full pipe; and the
/// runtime is waited for no longer than the work takes to leave the terminal as it should be.
fn until_interrupted<T, W>(work: W) -> anyhow::Result<Option<T>>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            Ok(()) = tokio::signal::ctrl_c() => None,
            joined = async { tokio::spawn(work).await } => Some(joined),
        }
    });
    runtime.shutdown_timeout(LAST_WORDS);
    Ok(ended.map(|joined| joined.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))))
}

fn start_log(quiet: bool) {
    let default = if quiet { "error" } else { "warn" };
    let filter = if quiet {
        None
    } else {
        EnvFilter::try_from_default_env().ok()
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(default)))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
