//! An HTTP service that hashes passwords on threads and makes thumbnails in worker processes: the start of one of
//! your own.
//!
//! Always: every request is answered, or its client has gone away; nothing that a client sends ends the service.

mod arguments;
mod bodies;
mod connections;
mod failure;
mod hash;
mod lifecycle;
mod lingering;
mod requests;
mod service;
mod signals;
mod telemetry;
mod thumbnail;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tracing::info;

use arguments::Arguments;
use service::Service;
use signals::Signals;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::of_this_process();
    let _log = telemetry::start_log(&arguments);
    let metrics = telemetry::start_metrics()?;
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener.local_addr()?;
    let service = tokio::select! {
        started = Service::start(&arguments, metrics) => started?,
        _ = signals.next() => return Ok(()),
    };

    info!(%address, "listening");
    let lifecycle = service.lifecycle.clone();
    let deadline = arguments.shutdown_deadline;
    let served = connections::serve(listener, service.router(), lifecycle.clone(), &arguments);
    let ended = async {
        signals.next().await;
        signals.exit_at_next();
        lifecycle.drain(deadline).await;
    };
    tokio::join!(served, ended);
    service.end_pools().await;
    info!("ended");
    Ok(())
}
