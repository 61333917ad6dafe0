//! Threads that run the callbacks of finished tasks.
//!
//! One thread takes in the results of all workers, so callbacks, which may block, run elsewhere: on
//! one thread, in order, as long as they are short. If one is found to block while others wait, it
//! keeps its thread and another one is started for the rest.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::panic;
use crate::time::{Alarm, Timer, schedule};

/// How long callbacks may wait for one before them.
const PATIENCE: Duration = Duration::from_millis(5);

/// How long a thread without callbacks is kept.
const LINGER: Duration = Duration::from_secs(1);

type Run = Box<dyn FnOnce() + Send>;

pub(in crate::process) struct Callbacks(Arc<Inner>);

struct Inner {
    thread_name: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Run>,
    threads: usize,
    idle: usize,
    /// Looks whether the queue moves.
    watch: Option<Timer>,
    /// How many callbacks were taken up, now and at the last look.
    taken: u64,
    taken_before: u64,
    is_closed: bool,
}

impl Callbacks {
    pub(in crate::process) fn new(pool: &str) -> Self {
        Self(Arc::new(Inner {
            thread_name: format!("{pool}-callbacks"),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    pub(in crate::process) fn run(&self, run: Run) {
        let mut state = self.0.lock();
        state.queue.push_back(run);
        if state.threads == 0 {
            self.0.start_thread(state);
            return;
        }
        if state.queue.len() > state.idle {
            self.0.watch(&mut state);
        }
        self.0.changed.notify_one();
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.threads += 1;
        drop(state);
        let inner = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name(self.thread_name.clone())
            .spawn(move || inner.work());
        if let Err(error) = started {
            panic::contain(|| tracing::warn!(%error, "no thread for callbacks"));
            let mut state = self.lock();
            state.threads -= 1;
            if state.threads == 0 {
                // Nobody else will: they run here.
                let queue = std::mem::take(&mut state.queue);
                drop(state);
                queue.into_iter().for_each(guarded);
            }
        }
    }

    /// Has somebody look in a while whether the queue moves.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.watch.is_none() {
            let watch = Arc::new(Watch(Arc::downgrade(self)));
            // Without it a callback that blocks holds up the others, and nothing else.
            state.watch = schedule(Instant::now() + PATIENCE, watch).ok();
        }
    }

    fn work(self: Arc<Self>) {
        let mut state = self.lock();
        loop {
            if let Some(run) = state.queue.pop_front() {
                state.taken += 1;
                drop(state);
                guarded(run);
                state = self.lock();
                continue;
            }
            if state.is_closed {
                break;
            }
            state.idle += 1;
            let (guard, waited) = self
                .changed
                .wait_timeout(state, LINGER)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

fn guarded(run: Run) {
    if let Err(panic) = panic::guard(run) {
        panic::contain(|| {
            tracing::error!(panic.message, panic.location, "a callback panicked");
        });
    }
}

struct Watch(Weak<Inner>);

impl Alarm for Watch {
    fn ring(&self) {
        if let Some(inner) = self.0.upgrade() {
            let mut state = inner.lock();
            let watch = state.watch.take();
            let moves = state.taken != state.taken_before;
            state.taken_before = state.taken;
            if state.queue.len() > state.idle {
                inner.watch(&mut state);
                if moves {
                    drop(state);
                } else {
                    inner.start_thread(state);
                }
            } else {
                drop(state);
            }
            drop(watch);
        }
    }
}
