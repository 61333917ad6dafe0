//! The races over a pool's queue, checked in every interleaving.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use super::queue::{Next, Pushed, Queue, Worker};
use crate::error::TaskError;
use crate::id::OwnerId;
use crate::task::{Outcome, Promise, Recorder, TaskFuture, TaskInfo};

struct Unrecorded;

impl Recorder for Unrecorded {
    fn finished(&mut self, _task: TaskInfo<'_>, _outcome: Outcome) {}
    fn told(&mut self) {}
    fn overtaken(&mut self) {}
}

/// What a lease does, on whichever thread.
fn lease(queue: &Queue, linger: Duration) {
    let mut worker = Worker::new();
    loop {
        match queue.next(&mut worker, linger) {
            Next::Task {
                task, needs_lease, ..
            } => {
                if needs_lease {
                    // Another thread's, in a pool; here it does its work first.
                    lease(queue, linger);
                }
                if let Some(task) = task.start() {
                    task.run(&mut Unrecorded);
                }
            }
            Next::End(closed) => return closed.tell(),
        }
    }
}

/// Submits as the pool does; a lease that is needed runs at once, on this thread.
fn submit(queue: &Queue, linger: Duration) -> TaskFuture<u32> {
    let (task, future) = TaskFuture::local(|| Ok(7), OwnerId::NONE, 0, None);
    match queue.push(task, 0) {
        Pushed::Queued => {}
        Pushed::NeedsLease => lease(queue, linger),
        Pushed::Refused(task, why) => task.cell().refuse(why),
    }
    future
}

fn shut_down(queue: &Queue, drain: bool) -> TaskFuture<()> {
    let (promise, future) = Promise::new();
    let (tasks, closed) = queue.close(drain, Some(promise));
    for task in tasks {
        task.cell().finish_queued(TaskError::cancelled);
    }
    closed.tell();
    future
}

#[test]
fn loom_lease_end_against_submit() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(1));
        let other = Arc::clone(&queue);
        // Each of the two may find the other's lease at work, and leave its task to it.
        let first = thread::spawn(move || submit(&other, Duration::ZERO));
        let second = submit(&queue, Duration::ZERO);
        let first = first.join().unwrap();
        assert!(
            first.is_done() && second.is_done(),
            "no task is left behind"
        );
        assert_eq!(queue.strength(true).workers, 0);
    });
}

#[test]
fn loom_idle_lease_against_submit() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(1));
        let other = Arc::clone(&queue);
        let linger = Duration::from_secs(1);
        // This lease goes idle, and is called by the second submit or by the end.
        let first = thread::spawn(move || submit(&other, linger));
        let second = submit(&queue, Duration::ZERO);
        shut_down(&queue, false).detach();
        assert!(first.join().unwrap().is_done());
        assert!(second.is_done(), "no task is left behind");
        assert_eq!(queue.strength(true).workers, 0);
    });
}

#[test]
fn loom_two_idle_leases_against_submits() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let queue = Arc::new(Queue::new(2));
        let linger = Duration::from_secs(1);
        let leases: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || submit(&queue, linger))
            })
            .collect();
        let futures: Vec<_> = (0..2).map(|_| submit(&queue, Duration::ZERO)).collect();
        shut_down(&queue, false).detach();
        // Whoever found a search under way has left its task to it: all are done when all have ended.
        let left: Vec<_> = leases
            .into_iter()
            .map(|lease| lease.join().unwrap())
            .collect();
        assert!(left.iter().chain(&futures).all(TaskFuture::is_done));
        assert_eq!(queue.strength(true).workers, 0);
    });
}

#[test]
fn loom_submit_against_shutdown() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(1));
        let other = Arc::clone(&queue);
        let submitter = thread::spawn(move || submit(&other, Duration::ZERO));
        let closed = shut_down(&queue, false);
        let future = submitter.join().unwrap();
        assert!(future.is_done(), "run or refused, never lost");
        assert!(closed.is_done(), "nobody is left to wait for");
        let counts = queue.counts();
        assert_eq!(counts.submitted + counts.rejected, 1);
    });
}

#[test]
fn loom_submit_against_shutdown_that_cancels() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(1));
        let other = Arc::clone(&queue);
        let submitter = thread::spawn(move || submit(&other, Duration::ZERO));
        let closed = shut_down(&queue, true);
        let future = submitter.join().unwrap();
        assert!(future.is_done(), "run, refused or cancelled, never lost");
        assert!(closed.is_done(), "nobody is left to wait for");
    });
}

#[test]
fn loom_failed_lease_against_submit() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(1));
        let other = Arc::clone(&queue);
        let submitter = thread::spawn(move || {
            let (task, future) = TaskFuture::local(|| Ok(7), OwnerId::NONE, 0, None);
            match other.push(task, 0) {
                Pushed::Queued | Pushed::Refused(..) => {}
                // As if the system had refused the thread.
                Pushed::NeedsLease => {
                    let (tasks, closed) = other.lease_failed(&mut Worker::new());
                    for task in tasks {
                        task.cell().finish_queued(TaskError::cancelled);
                    }
                    closed.tell();
                }
            }
            future
        });
        let second = submit(&queue, Duration::ZERO);
        let first = submitter.join().unwrap();
        assert!(
            first.is_done() && second.is_done(),
            "no task is left behind"
        );
    });
}
