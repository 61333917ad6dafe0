//! Connections: accepted up to a limit, served over HTTP/1, and closed when the service has drained.
//!
//! Always: a connection that waits for nothing but its client is no reason to wait for it. While the service drains,
//! those that are open are still answered, and each answer closes its connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::arguments::Arguments;
use crate::lifecycle::Lifecycle;

/// The most that is kept of a connection: the head of a request, or a piece of its body.
const BUFFER: usize = 64 << 10;

/// How long clients have to take their answers when the service closes.
const FAREWELL: Duration = Duration::from_secs(1);

/// What to wait for when the system has no descriptor or memory for another connection.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Serves connections until the service has drained, and closes them.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    lifecycle: Lifecycle,
    arguments: &Arguments,
) {
    let places = Arc::new(Semaphore::new(arguments.max_connections as usize));
    let connections = TaskTracker::new();
    loop {
        let (stream, place) = tokio::select! {
            biased;
            () = lifecycle.draining() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let idle_timeout = arguments.idle_timeout;
        connections.spawn(attend(
            stream,
            place,
            router.clone(),
            lifecycle.clone(),
            idle_timeout,
        ));
    }
    drop(listener);
    lifecycle.closing().await;
    connections.close();
    if timeout(FAREWELL, connections.wait()).await.is_err() {
        debug!(
            connections = connections.len(),
            "clients do not take their answers"
        );
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(SHORTAGE).await;
            }
        }
    }
}

async fn attend(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    router: Router,
    lifecycle: Lifecycle,
    idle_timeout: Duration,
) {
    // Answers are short, and written at once. If this fails, they come a little later.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    // hyper has no such limit. It counts from when nothing could be written any more.
    stream.set_write_timeout(Some(idle_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router),
        );
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = lifecycle.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Mostly a client that has gone away, which is its right.
        debug!(%error, "a connection ended early");
    }
}
