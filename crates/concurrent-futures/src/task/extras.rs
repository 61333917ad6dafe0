//! What only few tasks have, in one box that is made when first needed.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::outcome::{Outcome, TaskInfo};
use crate::error::Clock;
use crate::id::TaskId;
use crate::panic;
use crate::time::Timer;

type Callback = Box<dyn FnOnce(TaskId, Outcome) + Send>;

/// What surrounds a body while it runs, on the thread that runs it.
pub(crate) trait Environment: Send + Sync {
    /// Calls `body` once, inside.
    fn run(&self, body: &mut dyn FnMut());
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
    pub(crate) environment: Option<Box<dyn Environment>>,
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

    /// Calls `body` inside the task's span and environment.
    pub(super) fn surround<R>(&self, body: impl FnOnce() -> R) -> R {
        let body = || match &self.span {
            Some(span) => span.in_scope(body),
            None => body(),
        };
        match &self.environment {
            None => body(),
            Some(environment) => {
                let mut body = Some(body);
                let mut result = None;
                environment.run(&mut || {
                    result = body.take().map(|body| body());
                });
                result.expect("an environment runs the body once")
            }
        }
    }
}

pub(super) fn run_callback(
    callback: impl FnOnce(TaskId, Outcome),
    task: TaskInfo<'_>,
    outcome: Outcome,
) {
    if let Err(panic) = panic::guard(|| callback(task.id(), outcome)) {
        panic::contain(|| {
            tracing::error!(?task, panic.message, panic.location, "a callback panicked");
        });
    }
}
