//! The blocking call that the demo runs many times: ask a httpbin for one number and take the `args` of its answer.

use std::env;
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::{NoProxy, Proxy, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The one client of the process, so that all workers share its connections.
static CLIENT: LazyLock<Client> = LazyLock::new(client);

/// Where to fetch from and how; plain data, so that it can travel to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The URL before `/get`, such as `http://httpbin.org`.
    pub base_url: String,
    /// How long one whole request may take.
    pub timeout: Duration,
    /// The number that fails before any request.
    pub fail_at: u32,
}

/// Why [`fetch()`] gave no `args`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The number was the one that has to fail.
    #[error("Something wrong!")]
    SomethingWrong,
    /// No connection to the server.
    #[error("cannot connect to {url}: check that the server is up")]
    Connect {
        /// The URL that was asked for.
        url: String,
        /// What the connection failed with.
        source: reqwest::Error,
    },
    /// No complete answer within [`Target::timeout`].
    #[error("no answer from {url} within {timeout:?}: try again or allow more time")]
    Timeout {
        /// The URL that was asked for.
        url: String,
        /// The time that was allowed.
        timeout: Duration,
        /// What was waited for.
        source: reqwest::Error,
    },
    /// The server answered with a status that is no success.
    #[error("{url} answered with status {status}")]
    Status {
        /// The URL that was asked for.
        url: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The connection broke, or did not speak HTTP.
    #[error("the request to {url} broke off")]
    Broken {
        /// The URL that was asked for.
        url: String,
        /// What it broke with.
        source: reqwest::Error,
    },
    /// The answer is no JSON.
    #[error("the answer of {url} is no JSON: check that it is a httpbin")]
    NotJson {
        /// The URL that was asked for.
        url: String,
        /// Where the answer stops being JSON.
        source: serde_json::Error,
    },
    /// The answer is JSON, but without `args`.
    #[error("the answer of {url} has no `args`: check that it is a httpbin")]
    NoArgs {
        /// The URL that was asked for.
        url: String,
    },
}

/// Gets `{base_url}/get?number={number}` and gives the `args` of the answer. Blocks until the answer is there.
///
/// # Errors
///
/// [`FetchError::SomethingWrong`] at once for the number [`Target::fail_at`]; otherwise whatever kept the server's
/// `args` away, with its cause in [`source`](std::error::Error::source).
///
/// # Panics
///
/// When called from async code: the client blocks, so it belongs on an executor's worker.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a task owns its arguments, as they may come from another process"
)]
pub fn fetch(target: Target, number: u32) -> Result<Value, FetchError> {
    if number == target.fail_at {
        return Err(FetchError::SomethingWrong);
    }
    let url = format!("{}/get", target.base_url);
    tracing::debug!(url, number, "asking");
    let broken = |source: reqwest::Error| {
        let (url, source, timeout) = (url.clone(), source.without_url(), target.timeout);
        if source.is_timeout() {
            FetchError::Timeout {
                url,
                timeout,
                source,
            }
        } else if source.is_connect() {
            FetchError::Connect { url, source }
        } else {
            FetchError::Broken { url, source }
        }
    };
    let request = CLIENT
        .get(&url)
        .query(&[("number", number)])
        .timeout(target.timeout);
    let response = request.send().map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        return Err(FetchError::Status { url, status });
    }
    let body = response.bytes().map_err(broken)?;
    let mut answer: Value =
        serde_json::from_slice(&body).map_err(|source| FetchError::NotJson {
            url: url.clone(),
            source,
        })?;
    answer
        .get_mut("args")
        .map(Value::take)
        .ok_or(FetchError::NoArgs { url })
}

/// Takes the proxy from the environment, as reqwest itself would, but never for this machine: the embedded httpbin must
/// be reachable behind a company proxy too.
fn client() -> Client {
    let mut builder = Client::builder().no_proxy();
    let proxy = env::var("http_proxy")
        .or_else(|_| env::var("all_proxy"))
        .ok();
    if let Some(proxy) = proxy.and_then(|url| Proxy::http(url).ok()) {
        let others = env::var("NO_PROXY")
            .or_else(|_| env::var("no_proxy"))
            .unwrap_or_default();
        let direct = NoProxy::from_string(&format!("localhost,127.0.0.0/8,::1,{others}"));
        builder = builder.proxy(proxy.no_proxy(direct));
    }
    builder
        .build()
        .expect("a client without TLS needs nothing that can be missing")
}
