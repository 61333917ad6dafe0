//! Every answer that is not what was asked for.
//!
//! Always: the status is 4xx, 503 or 504, the body is JSON that states the reason in words of this program, and what
//! only concerns who runs the service goes to the log: texts of panics, paths, process ids.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use concurrent_futures::{Clock, ErrorKind, Rejection, TaskError};
use serde_json::json;
use tracing::warn;

/// In how many seconds it is worth to try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request does not get what it asks for.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    reason: Cow<'static, str>,
}

impl Failure {
    /// The status has to be 4xx, 503 or 504.
    pub(crate) fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { status, reason }
    }

    /// The request is not understood.
    pub(crate) fn bad_request(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The picture cannot be made smaller.
    pub(crate) fn unprocessable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason)
    }

    /// Not now; perhaps later, or elsewhere.
    pub(crate) fn unavailable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    /// The service ends.
    pub(crate) fn draining() -> Self {
        Self::unavailable("the service shuts down")
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        let failure = match error.kind() {
            // Said by the statuses of many answers already: no reason to log each.
            ErrorKind::Rejected if error.rejection() == Some(Rejection::QueueFull) => {
                return Self::unavailable("too much to do: try again later");
            }
            ErrorKind::TimedOut if error.clock() == Some(Clock::Queue) => {
                Self::unavailable("no worker had time: try again later")
            }
            ErrorKind::TimedOut => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "this took longer than it may take",
            ),
            ErrorKind::WorkerLost => Self::unavailable("the worker was lost: try again"),
            _ => Self::unavailable("this cannot be done at the moment"),
        };
        let attempts = error.attempts();
        warn!(attempts, error = format!("{error:#}"), "the task failed");
        failure
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let answer = (self.status, Json(json!({ "error": self.reason })));
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                ([(header::RETRY_AFTER, RETRY_AFTER)], answer).into_response()
            }
            _ => answer.into_response(),
        }
    }
}
