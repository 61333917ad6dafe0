//! How far the service has come: it serves, drains, gives up what is left, and closes.
//!
//! Always: these follow each other, and none is ever taken back.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{info, warn};

/// A handle of the one lifecycle of the service.
#[derive(Clone, Default)]
pub(crate) struct Lifecycle {
    draining: CancellationToken,
    overdue: CancellationToken,
    closing: CancellationToken,
    requests: TaskTracker,
}

impl Lifecycle {
    /// Counts a request, until the token is dropped.
    pub(crate) fn request(&self) -> TaskTrackerToken {
        self.requests.token()
    }

    /// Nothing new is begun any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until nothing new is begun any more.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits until what is left is given up.
    pub(crate) async fn overdue(&self) {
        self.overdue.cancelled().await;
    }

    /// Waits until there is nothing left but connections to be closed.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Drains, for no longer than `deadline`. At its end no request is without an answer.
    pub(crate) async fn drain(&self, deadline: Duration) {
        info!(requests = self.requests.len(), ?deadline, "draining");
        self.draining.cancel();
        self.requests.close();
        if timeout(deadline, self.requests.wait()).await.is_err() {
            warn!(
                requests = self.requests.len(),
                "the deadline has passed: what is left is given up"
            );
            self.overdue.cancel();
            self.requests.wait().await;
        }
        self.closing.cancel();
    }
}
