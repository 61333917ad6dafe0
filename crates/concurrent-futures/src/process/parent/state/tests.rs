//! What lies ready at a worker, which cannot be seen from outside.

use std::sync::Arc;
use std::time::Duration;

use super::{Actions, State};
use crate::error::{Loss, TaskError, WorkerExit};
use crate::executor::{Place, WorkerId};
use crate::id::OwnerId;
use crate::process::parent::options::Options;
use crate::process::parent::task::{Arguments, RemoteTask};
use crate::process::parent::worker_state::{Life, Link, Worker};
use crate::process::record::Name;
use crate::process::sys::{Channel, Segment};
use crate::task::{Payload, TaskFuture};

fn options() -> Options {
    Options {
        max_workers: 1,
        name: "test".into(),
        initializer: None,
        max_tasks_per_worker: None,
        environment: Vec::new(),
        current_dir: None,
        start_timeout: Duration::MAX,
        kill_grace: Duration::MAX,
        idle_timeout: Duration::MAX,
        max_payload: u64::MAX,
        queue_limit: None,
        queue_bytes: None,
        observer: None,
        contexts: Vec::new(),
    }
}

/// A pool whose only worker is ready and never begins anything, and whose tasks were short so far.
fn pool() -> State {
    let (channel, _other_end) = Channel::pair().expect("a socket");
    let link = Link {
        launch: 1,
        pid: 0,
        memory: Segment::create("test").expect("memory"),
        channel,
        has_hung_up: false.into(),
    };
    let mut worker = Worker::new(Arc::new(link), WorkerId(0), 0);
    worker.life = Life::Ready;
    let mut state = State::new(false);
    state.workers.push(worker);
    state.mean_nanos = Some(1_000);
    state
}

fn task(priority: i32, attempts: u32) -> RemoteTask {
    let (promise, future) = TaskFuture::<()>::remote(|_| Ok(()), OwnerId::NONE, 0, None);
    future.detach();
    let loss = Loss {
        pid: 0,
        exit: WorkerExit::Unknown,
        note: None,
        attempts,
    };
    RemoteTask {
        promise,
        call: Name(0),
        arguments: Arguments::Bytes(Payload::new()),
        place: Place::uncounted(),
        carried: Box::default(),
        run_timeout: None,
        chunk: None,
        returns: 0,
        was_told: false,
        priority,
        is_due: false,
        retries: 9,
        loss: (attempts > 0).then(|| TaskError::worker_lost(loss)),
    }
}

/// How many tasks lie at the worker, and how many in the queue.
fn dispatched(state: &mut State) -> (usize, usize) {
    state.dispatch(&options(), 0, &mut Actions::default());
    (state.workers[0].unfinished(), state.queue.len())
}

#[test]
fn short_tasks_lie_ready_behind_others_but_not_behind_one_that_was_lost() {
    let mut state = pool();
    for attempts in [0, 0, 1, 0, 0] {
        state.enqueue(task(0, attempts));
    }
    assert_eq!(dispatched(&mut state), (3, 2));
}

#[test]
fn a_more_urgent_task_takes_the_place_of_those_that_lie_ready_and_were_not_taken_for_their_age() {
    let mut state = pool();
    for _ in 0..3 {
        state.enqueue(task(0, 0));
    }
    let mut due = task(0, 0);
    due.is_due = true;
    state.enqueue(due);
    // One that was lost comes back for the sake of the urgent one, and then nothing lies behind it.
    state.enqueue(task(0, 1));
    assert_eq!(dispatched(&mut state), (5, 0));
    state.enqueue(task(1, 0));
    assert_eq!(dispatched(&mut state), (6, 0));
    let ranks: Vec<_> = state.workers[0]
        .tasks()
        .map(|(_, handed)| (handed.task.priority, handed.task.was_lost()))
        .collect();
    let ordinary = (0, false);
    assert_eq!(
        ranks,
        [
            ordinary,
            ordinary,
            ordinary,
            ordinary,
            (1, false),
            (0, true)
        ]
    );
    state.enqueue(task(0, 0));
    assert_eq!(dispatched(&mut state), (6, 1));
}

#[test]
fn what_was_taken_for_its_age_is_not_taken_back_for_an_urgent_one() {
    let mut state = pool();
    state.enqueue(task(-1, 0));
    for _ in 0..20 {
        state.enqueue(task(1, 0));
    }
    assert_eq!(dispatched(&mut state), (21, 0));
    state.enqueue(task(2, 0));
    assert_eq!(dispatched(&mut state), (22, 0));
    let ranks: Vec<_> = state.workers[0]
        .tasks()
        .map(|(_, handed)| handed.task.priority)
        .collect();
    let expected = [&[1; 15][..], &[-1, 2], &[1; 5]].concat();
    assert_eq!(ranks, expected);
}
