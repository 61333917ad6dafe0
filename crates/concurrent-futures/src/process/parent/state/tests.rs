//! What lies ready at a worker, which cannot be seen from outside.

use std::sync::Arc;
use std::time::Duration;

use super::{Actions, State};
use crate::error::{Loss, TaskError, WorkerExit};
use crate::executor::{Observers, Place, WorkerId};
use crate::id::OwnerId;
use crate::process::frame::reply;
use crate::process::items;
use crate::process::large::Shelf;
use crate::process::parent::options::Options;
use crate::process::parent::task::{Arguments, ChunkState, RemoteTask, Terms};
use crate::process::parent::worker_state::{Gone, Life, Link, Reply, Worker};
use crate::process::record::Name;
use crate::process::sys::{Channel, Limits, Segment};
use crate::task::{Payload, TaskFuture};

fn options() -> Options {
    Options {
        max_workers: 1.into(),
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
        observers: Observers::default(),
        contexts: Vec::new(),
        finalizer: None,
        capture_output: false,
        stopped_timeout: Duration::from_secs(1),
        limits: Limits::default(),
        max_memory_per_worker: None,
        cpus_per_worker: 1,
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
        pipes: None,
    };
    let mut worker = Worker::new(Arc::new(link), WorkerId(0), 0);
    worker.life = Life::Ready;
    let mut state = State::new(false, Shelf::new(1, 0));
    state.workers.push(worker);
    state.set_mean(1_000);
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
        lacks_memory: false,
        function: None,
    };
    RemoteTask {
        promise,
        call: Name(0),
        arguments: Arguments::Bytes(Payload::new()),
        chunk: None,
        returns: 0,
        was_told: false,
        is_due: false,
        terms: Some(Box::new(Terms {
            place: Place::uncounted(),
            carried: Box::default(),
            run_timeout: None,
            priority,
            retries: 9,
            loss: (attempts > 0).then(|| TaskError::worker_lost(loss)),
            pinned_to: None,
        })),
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
        .map(|(_, handed)| (handed.task.priority(), handed.task.was_lost()))
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
        .map(|(_, handed)| handed.task.priority())
        .collect();
    let expected = [&[1; 15][..], &[-1, 2], &[1; 5]].concat();
    assert_eq!(ranks, expected);
}

/// The worker's reply about the task of this number.
fn said(kind: u32, number: u64) -> Reply {
    Reply {
        kind,
        number,
        nanos: 0,
        value: Payload::new().into(),
        error: None,
        items: 0,
        has_kept: false,
    }
}

/// A task of some items.
fn chunk(items: u8) -> RemoteTask {
    let mut arguments = Vec::new();
    for item in 0..items {
        items::push(&mut arguments, items::VALUE, &[item]);
    }
    RemoteTask {
        arguments: Arguments::Bytes(Payload::from_vec(arguments)),
        chunk: Some(Box::new(ChunkState::new(items.into()))),
        ..task(0, 0)
    }
}

#[test]
fn a_task_of_which_the_worker_says_what_cannot_be_is_lost_with_the_worker() {
    let kinds = [
        (reply::END, task as fn(i32, u32) -> RemoteTask),
        (reply::VALUE, |_, _| chunk(2)),
    ];
    for (kind, make) in kinds {
        let mut state = pool();
        state.enqueue(RemoteTask {
            terms: None,
            ..make(0, 0)
        });
        assert_eq!(dispatched(&mut state), (1, 0));
        let slot = state.workers[0].link.memory.slot(0);
        assert!(slot.start(0, 0) && slot.start_item(0, 1, 0));
        let mut actions = Actions::default();
        state.apply(1, [said(kind, 0)].into_iter(), 0, &mut actions);
        assert_eq!(state.workers[0].unfinished(), 1);
        assert!(actions.resolved.is_empty());
        let gone = Gone {
            launch: 1,
            exit: WorkerExit::Unknown,
            oom_kill: None,
        };
        state.lost(&gone, &options(), 0, &mut actions);
        // The second item of the chunk has not begun.
        assert_eq!(
            (actions.resolved.len(), state.queue.len()),
            match kind {
                reply::END => (1, 0),
                _ => (0, 1),
            }
        );
    }
}

#[test]
fn a_more_urgent_task_stays_in_the_queue_if_what_is_taken_back_for_it_makes_no_room() {
    let mut state = pool();
    for _ in 0..3 {
        state.enqueue(task(0, 0));
    }
    assert_eq!(dispatched(&mut state), (3, 0));
    assert!(state.workers[0].link.memory.slot(0).start(0, 0));
    // Nothing is to lie ready behind a task of such a length.
    state.set_mean(1_000_000_000);
    state.enqueue(task(1, 0));
    assert_eq!(dispatched(&mut state), (1, 3));
}

#[test]
fn a_worker_is_reserved_if_its_last_task_was_lost_and_others_were_taken_back() {
    let mut state = pool();
    let worker = &mut state.workers[0];
    for attempts in [1, 0] {
        let shelf = Shelf::new(1, 0);
        assert!(worker.hand_over(task(0, attempts), 1, &shelf, 0).is_ok());
    }
    assert!(!worker.is_reserved());
    assert!(worker.link.memory.slot(0).start(0, 0));
    assert_eq!(worker.take_back_last(usize::MAX).len(), 1);
    assert!(worker.is_reserved());
}
