//! What happens around every request: its identity, its log line, its counts, and the end of the service.
//!
//! Always: each request is counted once, with the status of its answer, or as one whose client has gone away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tracing::{Instrument as _, Span, debug, error_span, info};
use uuid::Uuid;

use crate::failure::Failure;
use crate::lingering::linger;
use crate::service::Service;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id of a client is replaced.
const LONGEST_ID: usize = 64;

/// The status in logs and metrics of a request whose client has gone away, as nginx has it.
const CLIENT_GONE: u16 = 499;

const TOTAL: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";
const RUNNING: &str = "http_requests_running";

/// What `/metrics` says of the series of this module.
pub(crate) fn describe_metrics() {
    describe_counter!(
        TOTAL,
        "Requests, by route and by the status of the answer; 499: the client has gone away."
    );
    describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "Time from the head of a request to its answer."
    );
    describe_gauge!(RUNNING, "Requests without an answer yet.");
}

/// Around every request.
pub(crate) async fn attend(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let _counted = service.lifecycle.request();
    let id = request_id(request.headers());
    let entry = Entry::new(&request, &id);
    let span = entry.span.clone();
    let mut response = next.run(linger(request)).instrument(span).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if service.lifecycle.is_draining() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    entry.answered(&response);
    response
}

/// Around those requests that begin work: not while the service drains, and not beyond its deadline.
pub(crate) async fn admit(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if service.lifecycle.is_draining() {
        return Err(Failure::draining());
    }
    tokio::select! {
        biased;
        response = next.run(request) => Ok(response),
        // The handler is dropped, and its task with it.
        () = service.lifecycle.overdue() => Err(Failure::draining()),
    }
}

/// The client's own id if it can go into logs and headers as it is, and otherwise a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    match headers.get(REQUEST_ID).filter(sane) {
        Some(id) => id.clone(),
        None => Uuid::new_v4()
            .to_string()
            .parse()
            .expect("digits and hyphens"),
    }
}

/// What is known of a request until it is over.
struct Entry {
    span: Span,
    route: String,
    begun: Instant,
    answered: bool,
}

impl Entry {
    fn new(request: &Request, id: &HeaderValue) -> Self {
        gauge!(RUNNING).increment(1);
        // Never the path itself: anybody could make as many series as they like.
        let route = match request.extensions().get::<MatchedPath>() {
            Some(path) => path.as_str().to_owned(),
            None => "none".to_owned(),
        };
        let id = id.to_str().unwrap_or_default();
        // Of the highest level, so that a log of nothing but errors says whose they are.
        let span = error_span!("request", request_id = id, method = %request.method(), route);
        Self {
            span,
            route,
            begun: Instant::now(),
            answered: false,
        }
    }

    fn answered(mut self, response: &Response) {
        self.answered = true;
        self.close(response.status().as_u16());
    }

    fn close(&self, status: u16) {
        let time = self.begun.elapsed();
        let labels = [
            ("route", self.route.clone()),
            ("status", status.to_string()),
        ];
        counter!(TOTAL, &labels).increment(1);
        histogram!(DURATION, &labels).record(time);
        gauge!(RUNNING).decrement(1);
        let _span = self.span.enter();
        let milliseconds = milliseconds(time);
        match self.route.as_str() {
            // Asked for every few seconds, by machines.
            "/healthz" | "/metrics" => debug!(status, milliseconds, "answered"),
            _ => info!(status, milliseconds, "answered"),
        }
    }
}

impl Drop for Entry {
    /// Without an answer the handler was dropped, because the connection is gone.
    fn drop(&mut self) {
        if !self.answered {
            self.close(CLIENT_GONE);
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}
