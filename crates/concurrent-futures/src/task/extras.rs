//! What only few tasks have, in one box that is made when first needed.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::outcome::{Outcome, TaskInfo};
use crate::error::{Clock, TaskError};
use crate::id::TaskId;
use crate::panic;
use crate::time::Timer;

type Callback = Box<dyn FnOnce(TaskId, Outcome) + Send>;

/// What surrounds a body while it runs, on the thread that runs it.
pub(crate) trait Environment: Send {
    /// Calls `body` once, inside.
    ///
    /// # Errors
    /// If there is no inside, or no way out of it: then the task has failed.
    fn run(self: Box<Self>, body: &mut dyn FnMut()) -> Result<(), TaskError>;
}

/// The clocks that tick for a task.
#[derive(Default)]
struct Timers {
    queue: Option<Timer>,
    run: Option<Timer>,
}

/// The rare parts of a task.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) name: Option<Arc<str>>,
    /// The span that was current at submit.
    pub(crate) span: Option<Span>,
    /// The outermost first; taken out by who runs the body.
    environments: Mutex<Vec<Box<dyn Environment>>>,
    /// Each context of its pool is among them, so that none of another task shows through.
    pub(crate) has_all_contexts: bool,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) run_timeout: Option<Duration>,
    token: OnceLock<CancellationToken>,
    timers: Mutex<Timers>,
    callbacks: Mutex<Vec<Callback>>,
}

impl Extras {
    /// The token of the task, made when first asked for.
    pub(super) fn token(&self) -> &CancellationToken {
        self.token.get_or_init(CancellationToken::new)
    }

    /// Adds an environment inside of those that there are.
    pub(crate) fn add_environment(&mut self, environment: Box<dyn Environment>) {
        let all = self.environments.get_mut();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(environment);
    }

    pub(super) fn set_timer(&self, clock: Clock, timer: Option<Timer>) {
        let mut timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match clock {
            Clock::Queue => &mut timers.queue,
            Clock::Run | Clock::Wait => &mut timers.run,
        };
        let previous = std::mem::replace(place, timer);
        drop(timers);
        drop(previous);
    }

    pub(super) fn add_callback(&self, callback: Callback) {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(callback);
    }

    /// Runs the callbacks that are there, each once, in the order in which they were added.
    pub(super) fn run_callbacks(&self, id: TaskId, outcome: Outcome) {
        let callbacks = std::mem::take(
            &mut *self
                .callbacks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for callback in callbacks {
            run_callback(callback, TaskInfo::new(id, self.name.as_deref()), outcome);
        }
    }

    /// Calls `body` inside the task's environments and span.
    pub(super) fn surround<R>(
        &self,
        body: impl FnOnce() -> Result<R, TaskError>,
    ) -> Result<R, TaskError> {
        let body = || match &self.span {
            Some(span) => span.in_scope(body),
            None => body(),
        };
        let environments = self.environments.lock();
        let environments =
            std::mem::take(&mut *environments.unwrap_or_else(PoisonError::into_inner));
        if environments.is_empty() {
            return body();
        }
        let mut body = Some(body);
        let mut result = None;
        let surrounded = run_inside(&mut environments.into_iter(), &mut || {
            result = body.take().map(|body| body());
        });
        match (result, surrounded) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (result, Ok(())) => result.expect("an environment runs the body once"),
        }
    }
}

/// Calls `body` inside all environments, the first of which is the outermost.
fn run_inside(
    environments: &mut std::vec::IntoIter<Box<dyn Environment>>,
    body: &mut dyn FnMut(),
) -> Result<(), TaskError> {
    let Some(environment) = environments.next() else {
        body();
        return Ok(());
    };
    let mut inside = Ok(());
    let result = environment.run(&mut || inside = run_inside(environments, body));
    inside.and(result)
}

pub(super) fn run_callback(
    callback: impl FnOnce(TaskId, Outcome),
    task: TaskInfo<'_>,
    outcome: Outcome,
) {
    if let Err(panic) = panic::guard(|| callback(task.id(), outcome)) {
        panic::contain(|| {
            tracing::error!(
                task.id = task.id().get(),
                task.name = task.name(),
                panic.message,
                panic.location,
                "a callback panicked"
            );
        });
    }
}
