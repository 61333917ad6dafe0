//! Extra workers: beside the leases of a pool, each for tasks that others wait for.
//!
//! They are asked for by the graph of waits (`task/waiting`) when no worker of the pool can go on. One that
//! has run its task stays for a moment, since who waits for many tasks asks again for the next of them.

use std::sync::Arc;
use std::time::Duration;

use super::lease::{Post, lost_worker};
use super::shared::Shared;
use crate::error::TaskError;
use crate::sync::{Condvar, Mutex, lock};
use crate::task::{Extra, Runner, Started, look_again, prepare};

/// How long an extra worker without a task stays.
const LINGER: Duration = Duration::from_millis(20);

/// The extra workers of a pool.
#[derive(Default)]
pub(super) struct Extras(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    idle: Vec<Arc<Seat>>,
    is_closed: bool,
}

/// Where an extra worker waits for its next task.
#[derive(Default)]
struct Seat {
    next: Mutex<Call>,
    called: Condvar,
}

#[derive(Default)]
enum Call {
    #[default]
    None,
    Task(Extra),
    End,
}

impl Extras {
    /// Gives a task to an extra worker that has none; back, if there is none.
    pub(super) fn call(&self, task: Extra) -> Option<Extra> {
        let Some(seat) = lock(&self.0).idle.pop() else {
            return Some(task);
        };
        *lock(&seat.next) = Call::Task(task);
        seat.called.notify_one();
        None
    }

    /// Nobody stays without a task any more.
    pub(super) fn close(&self) {
        let mut seats = lock(&self.0);
        seats.is_closed = true;
        let idle = std::mem::take(&mut seats.idle);
        drop(seats);
        for seat in idle {
            *lock(&seat.next) = Call::End;
            seat.called.notify_one();
        }
    }

    /// Whether the worker on this seat may stay.
    fn sit_down(&self, seat: &Arc<Seat>) -> bool {
        let mut seats = lock(&self.0);
        if !seats.is_closed {
            seats.idle.push(Arc::clone(seat));
        }
        !seats.is_closed
    }

    /// Waits for a call. Called or not, the seat is not among the idle afterwards.
    fn wait(&self, seat: &Arc<Seat>) -> Option<Extra> {
        let mut next = lock(&seat.next);
        if matches!(*next, Call::None) {
            next = wait(&seat.called, next);
        }
        if matches!(*next, Call::None) {
            drop(next);
            let mut seats = lock(&self.0);
            let is_ours = |other: &Arc<Seat>| Arc::ptr_eq(other, seat);
            if let Some(position) = seats.idle.iter().position(is_ours) {
                seats.idle.remove(position);
                return None;
            }
            drop(seats);
            // Whoever took it from there calls now.
            next = lock(&seat.next);
            while matches!(*next, Call::None) {
                next = wait(&seat.called, next);
            }
        }
        match std::mem::take(&mut *next) {
            Call::Task(task) => Some(task),
            Call::None | Call::End => None,
        }
    }
}

/// The thread of an extra worker. It counts as one from the start on, and dropped it gives that back.
pub(super) struct ExtraWorker {
    pool: Arc<Shared>,
    task: Option<Extra>,
    /// It has a task, or had one until now.
    is_counted: bool,
}

impl ExtraWorker {
    pub(super) fn new(pool: Arc<Shared>, task: Extra) -> Self {
        pool.queue.begin_extra_thread();
        Self {
            pool,
            task: Some(task),
            is_counted: true,
        }
    }

    pub(super) fn run(mut self) {
        let post = Post::take(&self.pool);
        let member = post.enter(true);
        match prepare(|| self.pool.initialize()) {
            Ok(()) => {
                let pool = Arc::clone(&self.pool);
                let _entered = pool.runtime().map(tokio::runtime::Handle::enter);
                let seat = Arc::default();
                loop {
                    if let Some(started) = self.begin() {
                        post.run(started);
                        member.task_ended();
                    }
                    // In this order: who looks may call this one.
                    let stays = pool.extras.sit_down(&seat);
                    self.end_count();
                    self.task = if stays { pool.extras.wait(&seat) } else { None };
                    self.is_counted = self.task.is_some();
                    if self.task.is_none() {
                        break;
                    }
                }
            }
            Err(why) => self.pool.break_down(&why),
        }
        drop(member);
        post.leave();
    }

    /// Begins its task, unless others were faster.
    fn begin(&mut self) -> Option<Started> {
        match self.task.take()? {
            Extra::Task(task) => {
                let started = task.begin()?;
                self.pool.queue.begun_in_place(&task);
                Some(started)
            }
            Extra::Any => loop {
                if let Some(started) = self.pool.queue.take_any()?.start() {
                    return Some(started);
                }
            },
        }
    }

    /// There is no thread for it. Its task fails, since nobody else might run it.
    pub(super) fn refuse(mut self, why: &TaskError) {
        self.give_up(why);
        if std::mem::take(&mut self.is_counted) {
            self.pool.queue.end_extra();
        }
    }

    fn give_up(&mut self, why: &TaskError) {
        let task = match self.task.take() {
            None => None,
            Some(Extra::Task(task)) => Some(task),
            Some(Extra::Any) => self.pool.queue.take_any().map(|task| task.cell().clone()),
        };
        if let Some(task) = task {
            task.finish_queued(|| why.clone());
        }
    }

    /// It has no task any more: others may wait for one that it could have run.
    fn end_count(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.pool.queue.end_extra();
            look_again();
        }
    }
}

impl Drop for ExtraWorker {
    fn drop(&mut self) {
        self.give_up(&lost_worker());
        self.end_count();
        self.pool.queue.end_extra_thread().tell();
    }
}

#[cfg(not(concurrent_futures_loom))]
fn wait<'a>(
    condition: &Condvar,
    guard: crate::sync::MutexGuard<'a, Call>,
) -> crate::sync::MutexGuard<'a, Call> {
    condition
        .wait_timeout(guard, LINGER)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .0
}

/// loom knows no time.
#[cfg(concurrent_futures_loom)]
fn wait<'a>(
    condition: &Condvar,
    guard: crate::sync::MutexGuard<'a, Call>,
) -> crate::sync::MutexGuard<'a, Call> {
    let _ = LINGER;
    condition.wait(guard).expect("no model panics under a lock")
}
