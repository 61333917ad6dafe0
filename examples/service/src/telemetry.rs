//! The log and the metrics of the process.

use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::arguments::{Arguments, LogFormat};
use crate::requests;

/// The bounds of the distributions of times, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// How often times that nobody has asked for are put into the distributions.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to log, what happens in worker processes included, until what is returned is dropped.
///
/// A thread of its own writes the lines. If nobody reads them the service goes on, and lines are dropped once 128 000
/// of them wait.
pub(crate) fn start_log(arguments: &Arguments) -> WorkerGuard {
    let (log, guard) = NonBlocking::new(std::io::stdout());
    let filter = arguments.log.clone();
    let layer = match arguments.log_format {
        // The whole list of spans, since the request is the outermost.
        LogFormat::Json => fmt::layer()
            .json()
            .with_writer(log)
            .with_current_span(false)
            .flatten_event(true)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .with_writer(log)
            .with_ansi(false)
            .with_filter(filter)
            .boxed(),
    };
    tracing_subscriber::registry().with(layer).init();
    guard
}

/// Begins to count; called in the runtime.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)?
        .install_recorder()
        .context("cannot count")?;
    requests::describe_metrics();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
