//! A small httpbin on this machine, so that the demo needs no network: `/get`, `/delay/{seconds}` and `/status/{code}`.
//!
//! Its answers have the shape of the real one's, whose routes `httpbin/core.py` of httpbin 0.10 defines.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Query};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// The longest that `/delay` waits, as in the real one.
const MAX_DELAY_SECONDS: f64 = 10.0;

/// A running server, on a thread and a runtime of its own; dropping it stops it.
#[derive(Debug)]
pub struct Httpbin {
    base_url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Httpbin {
    /// Starts a server on a free loopback port; it accepts connections from here on.
    ///
    /// # Errors
    ///
    /// When the machine gives it no port or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("httpbin".to_owned())
            .spawn(move || serve(&runtime, listener, stopped))?;
        Ok(Self {
            base_url,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The URL before `/get`, such as `http://127.0.0.1:34567`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
}

impl Drop for Httpbin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed by its thread; a destructor has nothing to add.
            let _ = thread.join();
        }
    }
}

fn serve(runtime: &Runtime, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let routes = Router::new()
        .route("/get", get(view_get))
        .route("/delay/{seconds}", any(delay))
        .route("/status/{code}", any(status));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime has its driver enabled");
        tokio::select! {
            result = axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()) => {
                if let Err(error) = result {
                    tracing::error!(%error, "the embedded httpbin stopped");
                }
            }
            _ = stopped => {}
        }
    });
}

/// What `/get` answers; the fields in the order of their names, as the real one sorts them.
#[derive(Serialize)]
struct Echo {
    args: BTreeMap<String, Argument>,
    headers: BTreeMap<String, String>,
    origin: String,
    url: String,
}

/// What `/delay` answers: what `/get` does, and the empty body of the request.
#[derive(Serialize)]
struct EchoWithBody {
    args: BTreeMap<String, Argument>,
    data: &'static str,
    files: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    origin: String,
    url: String,
}

/// The value of a key of the query: a string, or all of them when the key repeats.
#[derive(Serialize)]
#[serde(untagged)]
enum Argument {
    One(String),
    Many(Vec<String>),
}

type Pairs = Query<Vec<(String, String)>>;

async fn view_get(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(pairs): Pairs,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    json(&echo(peer, pairs, &headers, &uri))
}

async fn delay(
    Path(seconds): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(pairs): Pairs,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let seconds = match seconds.parse() {
        Ok(seconds) if seconds > MAX_DELAY_SECONDS => MAX_DELAY_SECONDS,
        Ok(seconds) => seconds,
        Err(_) => f64::NAN,
    };
    let Ok(delay) = Duration::try_from_secs_f64(seconds) else {
        return (
            StatusCode::BAD_REQUEST,
            "the delay must be a number of seconds",
        )
            .into_response();
    };
    tokio::time::sleep(delay).await;
    let Echo {
        args,
        headers,
        origin,
        url,
    } = echo(peer, pairs, &headers, &uri);
    let (files, form) = (BTreeMap::new(), BTreeMap::new());
    json(&EchoWithBody {
        args,
        data: "",
        files,
        form,
        headers,
        origin,
        url,
    })
}

async fn status(Path(code): Path<String>) -> Response {
    // Below 200 HTTP/1.1 allows no final answer.
    match code.parse() {
        Ok(code @ 200..=599) => StatusCode::from_u16(code)
            .expect("in the range of status codes")
            .into_response(),
        _ => (StatusCode::BAD_REQUEST, "Invalid status code").into_response(),
    }
}

fn echo(peer: SocketAddr, pairs: Vec<(String, String)>, headers: &HeaderMap, uri: &Uri) -> Echo {
    let mut args = BTreeMap::new();
    for (key, value) in pairs {
        let repeated = match args.remove(&key) {
            None => Argument::One(value),
            Some(Argument::One(first)) => Argument::Many(vec![first, value]),
            Some(Argument::Many(mut values)) => {
                values.push(value);
                Argument::Many(values)
            }
        };
        args.insert(key, repeated);
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let values = |name: &HeaderName| headers.get_all(name).iter().map(text).collect::<Vec<_>>();
    let header = |name: &HeaderName| (title_case(name.as_str()), values(name).join(","));
    let host = headers.get(HOST).map(text).unwrap_or_default();
    // The real one takes no notice of an empty query.
    let path = if uri.query() == Some("") {
        uri.path().to_owned()
    } else {
        uri.to_string()
    };
    Echo {
        args,
        headers: headers.keys().map(header).collect(),
        origin: peer.ip().to_string(),
        url: format!("http://{host}{path}"),
    }
}

/// `user-agent` becomes `User-Agent`: HTTP does not care, but the real one answers so.
fn title_case(name: &str) -> String {
    let mut after_dash = true;
    name.chars()
        .map(|letter| {
            let letter = if after_dash {
                letter.to_ascii_uppercase()
            } else {
                letter
            };
            after_dash = letter == '-';
            letter
        })
        .collect()
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(answer) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
