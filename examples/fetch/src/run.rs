//! The two forms of the demo, over any executor.

use std::io;

use concurrent_futures::{Executor, TaskError, as_completed};
use fetch::{Target, fetch};

use crate::cli::Mode;
use crate::report::Report;

/// Why a run stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Nobody reads the results any more.
    #[error("stdout is closed")]
    ReaderGone,
    /// The results cannot be written.
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    /// A number failed in the form that stops there.
    #[error("number {number}")]
    Fetch {
        /// The number that failed.
        number: u32,
        /// Why it failed.
        source: TaskError,
    },
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Stdout(error)
        }
    }
}

/// Fetches the numbers below `count` on `executor`, in the form `mode`.
pub(crate) async fn run<E: Executor>(
    executor: &E,
    mode: Mode,
    target: Target,
    count: u32,
    report: &Report,
) -> Result<(), RunError> {
    tracing::debug!(workers = executor.max_workers(), count, "starting");
    match mode {
        Mode::AsCompleted => with_submit(executor, target, count, report).await,
        Mode::Map => with_map(executor, target, count, report).await,
    }
}

/// Results as they come; an error is told where its result is taken, and the others go on.
async fn with_submit<E: Executor>(
    executor: &E,
    target: Target,
    count: u32,
    report: &Report,
) -> Result<(), RunError> {
    let futures =
        (0..count).map(|number| (number, executor.try_submit(fetch, (target.clone(), number))));
    let mut completed = as_completed(futures.collect::<Vec<_>>()).progress(report.bar());
    while let Some((number, future)) = completed.next().await {
        match future.await {
            Ok(args) => report.fetched(number, &args)?,
            Err(error) => report.failed(number, &error)?,
        }
    }
    Ok(())
}

/// Results in the order of the numbers; the first error ends the loop.
async fn with_map<E: Executor>(
    executor: &E,
    target: Target,
    count: u32,
    report: &Report,
) -> Result<(), RunError> {
    let calls = (0..count).map(move |number| (target.clone(), number));
    let mut results = executor.try_map(fetch, calls).progress(report.bar());
    for number in 0..count {
        match results.next().await {
            Some(Ok(args)) => report.fetched(number, &args)?,
            Some(Err(source)) => return Err(RunError::Fetch { number, source }),
            None => break,
        }
    }
    Ok(())
}
