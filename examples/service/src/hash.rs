//! `POST /hash`: a password becomes a string that can be kept and verified.
//!
//! A hash is nothing but computing, and cannot harm the process: it runs on a thread. What it costs is the same for
//! every password, so it needs no limit of its running time. While it waits for a thread it can be cancelled; while
//! it runs it cannot be stopped.

use std::error::Error;
use std::sync::Arc;

use anyhow::Context as _;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use axum::Json;
use axum::extract::{Request, State};
use concurrent_futures::{Executor as _, TaskOptions, ThreadPoolExecutor};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::service::Service;

/// No password needs more, in bytes of JSON.
const LARGEST_BODY: usize = 4 << 10;

/// Where passwords are hashed, and at what cost.
pub(crate) struct Hashes {
    pool: ThreadPoolExecutor,
    options: TaskOptions,
    cost: Cost,
}

/// What a hash costs, in words that can cross to another process as well.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    kibibytes: u32,
    passes: u32,
}

#[derive(Deserialize)]
struct Asked {
    password: String,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    hash: String,
}

/// The handler.
pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<Answer>, Failure> {
    let Hashes {
        pool,
        options,
        cost,
    } = &service.hashes;
    let body = service.bodies.receive(request, LARGEST_BODY, pool).await?;
    // The error of the parser could show a part of the password.
    let Asked { password } = serde_json::from_slice(&body.bytes)
        .map_err(|_| Failure::bad_request(r#"the body has to be JSON like {"password": "..."}"#))?;
    let task = pool
        .try_reserve()?
        .with(options.clone())
        .try_submit(hash, (*cost, password))
        // If the client goes away, the handler is dropped, and the task with it.
        .abort_on_drop();
    Ok(Json(Answer { hash: task.await? }))
}

/// Runs on a thread of the pool.
fn hash(cost: Cost, password: String) -> Result<String, Box<dyn Error + Send + Sync>> {
    let Cost { kibibytes, passes } = cost;
    debug!(kibibytes, passes, "hashing");
    let params = Params::new(kibibytes, passes, Params::DEFAULT_P_COST, None)?;
    let argon2 = Argon2::new(Algorithm::default(), Version::default(), params);
    let hash = argon2.hash_password(password.as_bytes())?;
    debug!("hashed");
    Ok(hash.to_string())
}

impl Hashes {
    /// Makes the pool, whose threads start with the first tasks. That there is no memory for a hash is noticed now.
    pub(crate) fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let params = arguments.hash.params().context("the cost of a hash")?;
        let cost = Cost {
            kibibytes: params.m_cost(),
            passes: params.t_cost(),
        };
        // One pass is enough to see whether there is the memory.
        hash(Cost { passes: 1, ..cost }, String::new())
            .map_err(anyhow::Error::from_boxed)
            .context("no hash can be made: give less --hash-memory")?;
        let nice = arguments.nice;
        let pool = ThreadPoolExecutor::builder()
            .thread_name_prefix("hash")
            .metrics("hash")
            .max_workers(arguments.hash.workers())
            .queue_limit(arguments.hash.queue.into())
            .initializer(move || be_nice(nice))
            .build()
            .context("the pool of threads")?;
        let options = TaskOptions::new()
            .name("hash")
            .queue_timeout(arguments.queue_timeout);
        Ok(Self {
            pool,
            options,
            cost,
        })
    }

    /// The pool itself, to look at and to shut down.
    pub(crate) fn pool(&self) -> &ThreadPoolExecutor {
        &self.pool
    }
}

/// Lets other threads go before the calling one, so that there is always time to answer `/healthz`.
#[cfg(target_os = "linux")]
fn be_nice(increment: i32) -> std::io::Result<()> {
    // On Linux each thread has a priority of its own, in contrast to what POSIX says.
    rustix::process::nice(increment)?;
    Ok(())
}

/// Elsewhere a priority is that of the whole process.
#[cfg(not(target_os = "linux"))]
fn be_nice(_increment: i32) {}
