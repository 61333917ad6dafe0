//! The signals that end the service.

use std::io;
use std::process;

use tokio::signal::unix::{self, Signal, SignalKind};

/// SIGINT and SIGTERM, from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }

    /// From now on a signal ends the process at once. Worker processes end with it.
    pub(crate) fn exit_at_next(mut self) {
        tokio::spawn(async move {
            let signal = self.next().await;
            // What a shell says of a process that a signal has ended.
            process::exit(128 + signal.as_raw_value());
        });
    }
}
