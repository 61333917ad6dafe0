//! Receiving bodies, within limits of time and memory.
//!
//! Always: no place of a pool is taken while a body is on its way, and no memory for what was not sent yet, so who
//! sends slowly holds up nobody else's work. And the bodies on their way take no more memory than they may.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use concurrent_futures::Executor;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::lifecycle::Lifecycle;

/// What all bodies that are on their way share.
pub(crate) struct Bodies {
    /// A permit is a byte.
    memory: Arc<Semaphore>,
    time_limit: Duration,
    lifecycle: Lifecycle,
}

/// A body that was received.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// To be kept as long as the bytes.
    pub(crate) memory: OwnedSemaphorePermit,
}

impl Bodies {
    pub(crate) fn new(arguments: &Arguments, lifecycle: Lifecycle) -> Self {
        Self {
            memory: Arc::new(Semaphore::new(arguments.body_memory.as_u64() as usize)),
            time_limit: arguments.body_timeout,
            lifecycle,
        }
    }

    /// Receives a body of up to `limit` bytes, which is to become a task of `executor`.
    ///
    /// # Errors
    /// Before anything is read: the body says that it is too large, or the executor has no place. Later: it is too
    /// large, takes too long, or breaks off, there is no memory for more of it, and the service shuts down.
    pub(crate) async fn receive(
        &self,
        request: Request,
        limit: usize,
        executor: &impl Executor,
    ) -> Result<Received, Failure> {
        let body = request.into_body();
        let size = body.size_hint();
        if size.lower() > limit as u64 {
            return Err(too_large(limit));
        }
        // Only a look. The place is taken when the body is there, and may be gone by then.
        executor.try_reserve().map(drop)?;
        tokio::select! {
            biased;
            read = timeout(self.time_limit, self.read(body, limit)) => match read {
                Ok(received) => received,
                Err(_) => Err(Failure::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!("the body has to be sent within {:?}", self.time_limit),
                )),
            },
            () = self.lifecycle.draining() => Err(Failure::draining()),
        }
    }

    async fn read(&self, mut body: Body, limit: usize) -> Result<Received, Failure> {
        let most = body
            .size_hint()
            .upper()
            .map_or(limit, |upper| limit.min(upper as usize));
        let mut bytes = Vec::new();
        let mut memory = self.room_for(0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::bad_request("the body broke off"))?;
            // Anything else is a trailer.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            if length > limit {
                return Err(too_large(limit));
            }
            let room = memory.num_permits();
            if length > room {
                // By doubling, so that a body is not copied for each of its pieces.
                let wanted = (2 * room).min(most).max(length);
                memory.merge(self.room_for(wanted - room)?);
                bytes.reserve_exact(wanted - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Received { bytes, memory })
    }

    fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        // Not more than a body may have, which is far less than this can count.
        let room = Arc::clone(&self.memory).try_acquire_many_owned(bytes as u32);
        room.map_err(|_| Failure::unavailable("too many bodies at a time: try again later"))
    }
}

fn too_large(limit: usize) -> Failure {
    let reason = format!("the body may have up to {limit} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
}
