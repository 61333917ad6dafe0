//! The suite `waiting`: tasks that wait for tasks of their own pool.
//!
//! Every subject does the same work and has as many threads as the others. The bar is in `fib-27`:
//! ours within three times of `rayon-join`, which waits by running other tasks.

mod pools;
mod timing;

use crate::measure::{Case, OURS, Subject};
use crate::threads::WORKERS;
use pools::{ForkJoin, Ours, RayonJoin, TokioSpawn};
use timing::{FORKS, fibonacci, recursion};

/// How often the number is computed in a run.
const REPETITIONS: u64 = 20;
/// How many tasks wait, each for the next.
const DEPTH: u64 = 1_000;

pub(crate) const CASES: [Case; 3] = [
    Case {
        name: "fib-27",
        unit: "ns",
        subjects: || subjects(FORKS * REPETITIONS, Work::Fibonacci { workers: WORKERS }),
    },
    Case {
        name: "fib-27-one-worker",
        unit: "ns",
        subjects: || subjects(FORKS * REPETITIONS, Work::Fibonacci { workers: 1 }),
    },
    Case {
        name: "recursion-1000",
        unit: "ns",
        subjects: || subjects(DEPTH, Work::Recursion),
    },
];

#[derive(Clone, Copy)]
enum Work {
    /// Fork-join Fibonacci, for the time of a fork.
    Fibonacci { workers: usize },
    /// A task that waits for a task that waits, for the time of one.
    Recursion,
}

fn subjects(tasks: u64, work: Work) -> Vec<Subject> {
    vec![
        subject::<Ours>(OURS, tasks, work),
        subject::<RayonJoin>("rayon-join", tasks, work),
        subject::<TokioSpawn>("tokio-spawn", tasks, work),
    ]
}

fn subject<P: ForkJoin>(name: &'static str, tasks: u64, work: Work) -> Subject {
    Subject::new(name, tasks, move |tasks| match work {
        Work::Fibonacci { workers } => fibonacci::<P>(workers, tasks),
        Work::Recursion => recursion::<P>(tasks),
    })
}
