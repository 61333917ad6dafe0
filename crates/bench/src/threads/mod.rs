//! The suite `threads`: tasks that do next to nothing, on two threads.

mod as_completed;
mod pools;
mod streamed;
mod timing;

pub(crate) use pools::{Pool, limit_blocking_crate};
pub(crate) use timing::{Flavor, assert_is_sum, in_runtime, nanoseconds, warm_up};

use crate::measure::{Case, OURS, Subject};
use crate::memory;
use as_completed::{futures_unordered, join_set, our_bulk, ours};
use pools::{
    BlockingUnblock, Ours, RayonOneshot, SpawnBlocking, SpawnBlockingSemaphore,
    SpawnBlockingTwoThreads, ThreadpoolOneshot,
};
use streamed::Streamed;
use timing::{bulk, ping_pong};

/// How many threads run tasks.
pub(crate) const WORKERS: usize = 2;

const BULK: u64 = 300_000;
/// For those of whom `BULK` tasks would take seconds.
const BULK_OF_SLOW: u64 = 100_000;
const PING_PONG: u64 = 5_000;
const AS_COMPLETED: u64 = 100_000;
const PENDING: u64 = 100_000;
const STREAMED: u64 = 10_000_000;
const STREAMED_SLOWLY: u64 = 1_000_000;
/// They take seconds.
const STREAMED_RUNS: usize = 3;

pub(crate) const CASES: [Case; 6] = [
    Case {
        name: "bulk",
        unit: "ns",
        subjects: || {
            vec![
                Subject::new(OURS, BULK, bulk::<Ours>),
                Subject::new("tokio-spawn-blocking", BULK_OF_SLOW, bulk::<SpawnBlocking>),
                Subject::new(
                    "tokio-spawn-blocking-2",
                    BULK_OF_SLOW,
                    bulk::<SpawnBlockingTwoThreads>,
                ),
                Subject::new(
                    "spawn-blocking-semaphore",
                    BULK_OF_SLOW,
                    bulk::<SpawnBlockingSemaphore>,
                ),
                Subject::new("rayon-oneshot", BULK, bulk::<RayonOneshot>),
                Subject::new("threadpool-oneshot", BULK, bulk::<ThreadpoolOneshot>),
                Subject::new("blocking-unblock", BULK_OF_SLOW, bulk::<BlockingUnblock>),
            ]
        },
    },
    Case {
        name: "ping-pong",
        unit: "ns",
        subjects: || {
            vec![
                Subject::new(OURS, PING_PONG, ping_pong::<Ours>),
                Subject::new(
                    "tokio-spawn-blocking",
                    PING_PONG,
                    ping_pong::<SpawnBlocking>,
                ),
                Subject::new(
                    "tokio-spawn-blocking-2",
                    PING_PONG,
                    ping_pong::<SpawnBlockingTwoThreads>,
                ),
                Subject::new(
                    "spawn-blocking-semaphore",
                    PING_PONG,
                    ping_pong::<SpawnBlockingSemaphore>,
                ),
                Subject::new("rayon-oneshot", PING_PONG, ping_pong::<RayonOneshot>),
                Subject::new(
                    "threadpool-oneshot",
                    PING_PONG,
                    ping_pong::<ThreadpoolOneshot>,
                ),
                Subject::new("blocking-unblock", PING_PONG, ping_pong::<BlockingUnblock>),
            ]
        },
    },
    Case {
        name: "as-completed",
        unit: "ns",
        subjects: || {
            vec![
                Subject::new(OURS, AS_COMPLETED, ours),
                Subject::new("concurrent-futures-bulk", AS_COMPLETED, our_bulk),
                Subject::new("joinset-spawn-blocking", AS_COMPLETED, join_set),
                Subject::new("futures-unordered", AS_COMPLETED, futures_unordered),
            ]
        },
    },
    Case {
        name: "memory",
        unit: "bytes",
        subjects: || {
            vec![
                Subject::new(OURS, PENDING, memory::pending::<Ours>),
                // With 512 threads there would be 512 tasks less that wait, and 512 threads more
                // to count.
                Subject::new(
                    "tokio-spawn-blocking",
                    PENDING,
                    memory::pending::<SpawnBlockingTwoThreads>,
                ),
                Subject::new("rayon-oneshot", PENDING, memory::pending::<RayonOneshot>),
                Subject::new(
                    "threadpool-oneshot",
                    PENDING,
                    memory::pending::<ThreadpoolOneshot>,
                ),
            ]
        },
    },
    Case {
        name: "streamed",
        unit: "ns",
        subjects: || streamed_by(Streamed::nanoseconds),
    },
    Case {
        name: "streamed-growth",
        unit: "bytes for all",
        subjects: || streamed_by(Streamed::growth),
    },
];

fn streamed_by(value: fn(Streamed) -> f64) -> Vec<Subject> {
    let subject = |name, tasks, run: fn(u64) -> Streamed| {
        Subject::new(name, tasks, move |tasks| value(run(tasks))).at_most(STREAMED_RUNS)
    };
    vec![
        subject(OURS, STREAMED, streamed::map_on),
        subject("concurrent-futures-permits", STREAMED, streamed::permits),
        subject(
            "spawn-blocking-buffered",
            STREAMED_SLOWLY,
            streamed::spawn_blocking,
        ),
    ]
}
