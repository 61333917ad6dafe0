//! A body that is read to its end even if nobody wants it.
//!
//! A connection that is closed while its client still sends is reset, and the client may never see the answer that was
//! sent before. So what is left of the body of a request that was answered early is received and thrown away, for a
//! while. It takes no memory, and nobody waits for it.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For how long a body is thrown away.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A body whose rest is thrown away once it is dropped.
struct Lingering(Body);

/// Gives the request a body whose rest is thrown away.
pub(crate) fn linger(request: Request) -> Request {
    // Such a client sends nothing until it is told to, which reading its body would do.
    if request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::new(Lingering(body)))
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // There is no runtime any more when the process ends.
        if let (false, Ok(runtime)) = (self.0.is_end_stream(), Handle::try_current()) {
            let mut body = mem::take(&mut self.0);
            runtime.spawn(timeout(TIME_LIMIT, async move {
                while let Some(Ok(_)) = body.frame().await {}
            }));
        }
    }
}
