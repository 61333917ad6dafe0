//! The races over the graph of waits, checked by interleaving.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::blocking::Unpark;
use super::graph::{Blocked, Extra, Foreign, Graph, Introduction, MemberKey, Pool, Role, Strength};
use super::wait::Wait;
use crate::id::{OwnerId, TaskId};
use crate::task::TaskFuture;
use crate::task::cell::{CellRef, OnThread, Recorder, Runnable};
use crate::task::outcome::{Outcome, TaskInfo};

struct Unrecorded;

impl Recorder for Unrecorded {
    fn finished(&mut self, _task: TaskInfo<'_>, _outcome: Outcome) {}
    fn told(&mut self) {}
    fn overtaken(&mut self) {}
}

/// Those in which at most two threads are interrupted where they need not be: all are too many.
fn in_most_interleavings(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// Two workers, both with something to do. An extra worker runs on the thread that asks for it.
struct TwoWorkers {
    id: OwnerId,
    graph: Graph,
    extra: Mutex<usize>,
}

impl TwoWorkers {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            id: OwnerId::next(),
            graph: Graph::new(),
            extra: Mutex::new(0),
        })
    }

    /// A task in the queue, which nobody looks at but who comes to the end of its work.
    fn queue(&self) -> (Runnable, TaskFuture<u32>) {
        TaskFuture::local(|| Ok(7), self.id, 0, None)
    }

    /// A worker that runs the task `runs` blocks for `wanted`.
    fn block(
        self: &Arc<Self>,
        worker: u64,
        wanted: &CellRef,
        is_patient: bool,
        runs: &[TaskId],
    ) -> Arc<Unpark> {
        let unpark = Arc::new(Unpark::new());
        let pool: Arc<dyn Pool> = Arc::clone(self) as _;
        let member = Introduction {
            key: MemberKey(worker),
            pool: &pool,
            role: Role::Worker,
            is_preparing: false,
            tasks: runs
                .iter()
                .map(|&task| OnThread { task, name: None })
                .collect(),
        };
        let blocked = Blocked {
            wait: Wait::one(wanted),
            is_patient,
            unpark: Arc::clone(&unpark),
            verdict: None,
        };
        let foreign = self.graph.block(member, blocked);
        assert!(foreign.is_none());
        unpark
    }
}

impl Pool for TwoWorkers {
    fn id(&self) -> OwnerId {
        self.id
    }

    fn strength(&self) -> Strength {
        Strength {
            workers: 2,
            free: 0,
            extra: *self.extra.lock().unwrap(),
        }
    }

    fn count_extra(&self) {
        *self.extra.lock().unwrap() += 1;
    }

    fn start_extra(self: Arc<Self>, task: Extra) -> Result<(), Foreign> {
        match task {
            Extra::Task(task) => run(&task),
            Extra::Any => unreachable!("nobody waits for a place"),
        }
        *self.extra.lock().unwrap() -= 1;
        assert!(self.graph.look_again().is_none());
        Ok(())
    }

    fn has_queued(&self) -> bool {
        true
    }

    fn has_reserved(&self) -> bool {
        false
    }

    fn may_run_inside(&self, _task: &CellRef) -> bool {
        true
    }

    fn begun_in_place(&self, _task: &CellRef) {}
}

fn run(task: &CellRef) {
    if let Some(started) = task.begin() {
        started.run(&mut Unrecorded);
    }
}

/// A worker that waits for a queued task, and then comes to the other one in the queue.
fn wait_and_go_on(pool: &Arc<TwoWorkers>, worker: u64, wanted: &CellRef, next: &CellRef) {
    pool.block(worker, wanted, false, &[]);
    // For ever, if nobody helps: the model says so.
    while wanted.is_unfinished() {
        thread::yield_now();
    }
    let (verdict, _none) = pool.graph.unblock(MemberKey(worker));
    assert!(verdict.is_none());
    run(next);
}

#[test]
fn loom_of_two_workers_that_begin_to_wait_the_second_sees_the_first() {
    in_most_interleavings(|| {
        let pool = TwoWorkers::new();
        let (first, one) = pool.queue();
        let (second, two) = pool.queue();
        let other = {
            let (pool, wanted, next) = (
                Arc::clone(&pool),
                first.cell().clone(),
                second.cell().clone(),
            );
            thread::spawn(move || wait_and_go_on(&pool, 1, &wanted, &next))
        };
        wait_and_go_on(&pool, 2, second.cell(), first.cell());
        other.join().unwrap();
        assert!(one.is_done() && two.is_done());
        assert_eq!(pool.graph.waiting(), 0, "nobody is counted as waiting");
        assert_eq!(*pool.extra.lock().unwrap(), 0);
    });
}

#[test]
fn loom_each_worker_in_a_circle_gets_an_error() {
    in_most_interleavings(|| {
        let pool = TwoWorkers::new();
        let (first, one) = pool.queue();
        let (second, two) = pool.queue();
        let begun = (
            first.cell().begin().unwrap(),
            second.cell().begin().unwrap(),
        );
        let firmly = |pool: &Arc<TwoWorkers>, worker, wanted: &CellRef, runs: TaskId| {
            let unpark = pool.block(worker, wanted, true, &[runs]);
            while !unpark.is_woken() {
                thread::yield_now();
            }
            let (verdict, _none) = pool.graph.unblock(MemberKey(worker));
            assert!(verdict.is_some_and(|error| error.is_deadlock()));
        };
        let other = {
            let (pool, wanted, runs) = (Arc::clone(&pool), second.cell().clone(), one.id());
            thread::spawn(move || firmly(&pool, 1, &wanted, runs))
        };
        firmly(&pool, 2, first.cell(), two.id());
        other.join().unwrap();
        assert_eq!(pool.graph.waiting(), 0, "nobody is counted as waiting");
        begun.0.run(&mut Unrecorded);
        begun.1.run(&mut Unrecorded);
    });
}
