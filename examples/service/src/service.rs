//! What the handlers share, and the routes that lead to them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use concurrent_futures::{Executor, Shutdown};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::arguments::Arguments;
use crate::bodies::Bodies;
use crate::failure::Failure;
use crate::hash::{self, Hashes};
use crate::lifecycle::Lifecycle;
use crate::requests;
use crate::thumbnail::{self, Thumbnails};

/// How long the pools may take to end when nobody waits for their tasks any more.
const POOLS_END: Duration = Duration::from_secs(1);

/// What the handlers share.
pub(crate) struct Service {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) bodies: Bodies,
    pub(crate) hashes: Hashes,
    pub(crate) thumbnails: Thumbnails,
    metrics: PrometheusHandle,
}

impl Service {
    /// Makes the pools, and starts the workers.
    pub(crate) async fn start(
        arguments: &Arguments,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Arc<Self>> {
        let lifecycle = Lifecycle::default();
        Ok(Arc::new(Self {
            bodies: Bodies::new(arguments, lifecycle.clone()),
            hashes: Hashes::new(arguments)?,
            thumbnails: Thumbnails::start(arguments).await?,
            lifecycle,
            metrics,
        }))
    }

    /// The routes.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/hash", post(hash::post))
            .route("/thumbnail", post(thumbnail::post))
            .route_layer(from_fn_with_state(Arc::clone(self), requests::admit))
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is nothing here"))
            .method_not_allowed_fallback(async || {
                Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
            })
            .layer(from_fn_with_state(Arc::clone(self), requests::attend))
            .with_state(Arc::clone(self))
    }

    /// Ends the pools. Nobody waits for their tasks any more.
    pub(crate) async fn end_pools(&self) {
        let how = Shutdown::new().cancel_pending(true).deadline(POOLS_END);
        // A hash whose client has gone away may be running. It ends with the process.
        let _ = tokio::join!(
            self.hashes.pool().shutdown(how),
            self.thumbnails.pool().shutdown(how),
        );
    }
}

/// Whether to send requests here.
async fn health(State(service): State<Arc<Service>>) -> Response {
    let draining = service.lifecycle.is_draining();
    let can_work = can_work(service.hashes.pool()) && can_work(service.thumbnails.pool());
    let (status, text) = match (draining, can_work) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "broken"),
        (false, true) => (StatusCode::OK, "ok"),
    };
    (status, Json(json!({ "status": text }))).into_response()
}

/// A pool that is full works. One that is closed takes nothing any more.
fn can_work(pool: &impl Executor) -> bool {
    pool.admission().closed().is_none()
}

/// What Prometheus reads.
async fn metrics(State(service): State<Arc<Service>>) -> Response {
    service.hashes.pool().publish_metrics();
    service.thumbnails.pool().publish_metrics();
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (text, service.metrics.render()).into_response()
}
