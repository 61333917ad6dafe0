//! Errors, ends and crashes at every step of a task's way: none of them hangs, and none costs more
//! than its own task.

use concurrent_futures::{
    Direction, Executor, ProcessPoolExecutor, Ran, Shutdown, TaskError, TaskFuture, WorkerExit,
};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pid_of;
use crate::harness::{Door, PathGate, Processes, busy, children, eventually, pass, tests};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Harm {
    Nothing,
    Error,
    Panic,
    Exit,
    Abort,
    Segfault,
}

impl Harm {
    fn happen(self) -> Result<(), &'static str> {
        match self {
            Self::Nothing => Ok(()),
            Self::Error => Err("refused here"),
            Self::Panic => panic!("panicked here"),
            Self::Exit => std::process::exit(1),
            Self::Abort => std::process::abort(),
            Self::Segfault => {
                let own = rustix::process::getpid();
                let segfault = rustix::process::Signal::SEGV;
                rustix::process::kill_process(own, segfault).expect("a process can signal itself");
                // The signal may be delivered to any thread, and so a moment later.
                loop {
                    std::thread::park();
                }
            }
        }
    }

    /// How a worker ends of it.
    fn exit(self) -> WorkerExit {
        match self {
            Self::Exit => WorkerExit::Code(1),
            Self::Abort => WorkerExit::Signal(6),
            Self::Segfault => WorkerExit::Signal(11),
            Self::Nothing | Self::Error | Self::Panic => unreachable!("it does not end a worker"),
        }
    }
}

const ENDS: [Harm; 3] = [Harm::Exit, Harm::Abort, Harm::Segfault];

/// Does harm when it is decoded.
#[derive(Debug, Serialize)]
struct Decoded(Harm);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let harm = Harm::deserialize(deserializer)?;
        harm.happen().map_err(D::Error::custom)?;
        Ok(Self(harm))
    }
}

/// Does harm when it is encoded.
#[derive(Debug, Deserialize)]
struct Encoded(Harm);

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.happen().map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

fn texts(error: &TaskError) -> String {
    let mut texts = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push_str(": ");
        texts.push_str(&error.to_string());
        cause = error.source();
    }
    texts
}

/// An error about a value, with the reason that its type gave.
fn assert_uncarried<T>(
    future: TaskFuture<T>,
    harm: Harm,
    direction: Direction,
    ran: Ran,
    of: &str,
) {
    let Err(error) = future.result() else {
        panic!("{harm:?} gave a value")
    };
    assert_eq!(error.direction(), Some(direction), "{error:?}");
    assert_eq!(error.ran(), ran, "{error:?}");
    assert!(
        error.is_codec() && error.to_string().contains(of),
        "{error}"
    );
    let reason = if harm == Harm::Error {
        "refused here"
    } else {
        "panicked here"
    };
    assert!(texts(&error).contains(reason), "{}", texts(&error));
}

fn assert_lost<T>(future: TaskFuture<T>, harm: Harm) {
    let Err(error) = future.result() else {
        panic!("{harm:?} gave a value")
    };
    assert_eq!(error.worker_exit(), Some(harm.exit()), "{error:?}");
    assert_eq!(error.ran(), Ran::Maybe);
}

tests! {
    fn what_carries_harm_arrives_when_it_is_harmless() {
        let pool = ProcessPoolExecutor::new(1);
        let swapped = pool.submit(|_: Decoded| Encoded(Harm::Nothing), Decoded(Harm::Nothing));
        assert_eq!(swapped.result().unwrap().0, Harm::Nothing);
    }

    fn an_argument_that_does_not_decode_is_an_error_of_its_task_alone() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        for harm in [Harm::Error, Harm::Panic] {
            let future = pool.submit(|_: Decoded| (), Decoded(harm));
            assert_uncarried(future, harm, Direction::DecodeArguments, Ran::No, "Decoded");
            assert_eq!(pid_of(&pool), worker, "the worker goes on");
        }
    }

    fn an_argument_that_ends_the_worker_while_it_is_decoded_costs_its_task() {
        let pool = ProcessPoolExecutor::new(1);
        for harm in ENDS {
            let future = pool.submit(|_: Decoded| (), Decoded(harm));
            let behind = pool.submit(|| 7, ());
            assert_lost(future, harm);
            assert_eq!(behind.result().unwrap(), 7);
        }
    }

    fn a_function_that_ends_the_worker_costs_its_task() {
        let pool = ProcessPoolExecutor::new(1);
        for harm in ENDS {
            let future = pool.submit(|harm: Harm| harm.happen().is_ok(), harm);
            let behind = pool.submit(|| 7, ());
            assert_lost(future, harm);
            assert_eq!(behind.result().unwrap(), 7);
        }
    }

    fn a_function_that_fails_or_panics_leaves_the_worker_alone() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        let failed = pool.try_submit(Harm::happen, Harm::Error).result().unwrap_err();
        assert_eq!((failed.is_failed(), failed.ran()), (true, Ran::Yes));
        let panicked = pool.try_submit(Harm::happen, Harm::Panic).result().unwrap_err();
        assert_eq!(panicked.message().unwrap(), "panicked here");
        assert!(panicked.location().unwrap().contains("deadlock.rs:"));
        assert_eq!(pid_of(&pool), worker);
    }

    fn a_result_that_does_not_encode_is_an_error_of_its_task_alone() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        for harm in [Harm::Error, Harm::Panic] {
            let future = pool.submit(|harm: Harm| Encoded(harm), harm);
            assert_uncarried(future, harm, Direction::EncodeResult, Ran::Yes, "Encoded");
            assert_eq!(pid_of(&pool), worker);
        }
    }

    fn a_result_that_ends_the_worker_while_it_is_encoded_costs_its_task() {
        let pool = ProcessPoolExecutor::new(1);
        for harm in ENDS {
            let future = pool.submit(|harm: Harm| Encoded(harm), harm);
            let behind = pool.submit(|| 7, ());
            assert_lost(future, harm);
            assert_eq!(behind.result().unwrap(), 7);
        }
    }

    fn a_result_that_does_not_decode_is_an_error_for_who_takes_it() {
        let pool = ProcessPoolExecutor::new(1);
        let worker = pid_of(&pool);
        for harm in [Harm::Error, Harm::Panic] {
            let future = pool.submit(|harm: Harm| Decoded(harm), harm);
            assert_uncarried(future, harm, Direction::DecodeResult, Ran::Yes, "Decoded");
            // Nobody takes this one.
            pool.submit(|harm: Harm| Decoded(harm), harm).detach();
            assert_eq!(pid_of(&pool), worker);
        }
    }

    fn an_argument_that_does_not_encode_is_an_error_before_anything_is_sent() {
        let pool = ProcessPoolExecutor::new(1);
        for harm in [Harm::Error, Harm::Panic] {
            let future = pool.submit(|_: Encoded| (), Encoded(harm));
            assert!(future.is_done());
            assert_uncarried(future, harm, Direction::EncodeArguments, Ran::No, "Encoded");
        }
        assert!(children().is_empty(), "no worker is started for it");
        assert_eq!(pool.submit(|| 7, ()).result().unwrap(), 7);
        let stats = pool.stats();
        assert_eq!((stats.submitted(), stats.finished()), (3, 3));
    }

    fn a_crash_after_the_shutdown_was_called_does_not_hang_it() {
        for harm in ENDS {
            let (pool, gate) = busy::<Processes>();
            let crash = pool.submit(|harm: Harm| harm.happen().is_ok(), harm);
            let behind = pool.submit(|| 7, ());
            pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
            gate.open();
            assert_lost(crash, harm);
            assert_eq!(behind.result().unwrap(), 7);
            pool.blocking_shutdown(Shutdown::new()).unwrap();
        }
    }

    fn an_argument_that_does_not_encode_does_not_hang_a_shutdown() {
        for harm in [Harm::Error, Harm::Panic] {
            let (pool, gate) = busy::<Processes>();
            let future = pool.submit(|_: Encoded| (), Encoded(harm));
            pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
            // Encoded before anybody asks whether the pool is open.
            let later = pool.submit(|_: Encoded| (), Encoded(harm));
            gate.open();
            assert_uncarried(future, harm, Direction::EncodeArguments, Ran::No, "Encoded");
            assert!(later.result().is_err());
            pool.blocking_shutdown(Shutdown::new()).unwrap();
        }
    }

    fn a_result_that_does_not_encode_does_not_hang_a_shutdown() {
        for harm in [Harm::Error, Harm::Panic] {
            let (pool, gate) = busy::<Processes>();
            let future = pool.submit(|harm: Harm| Encoded(harm), harm);
            pool.blocking_shutdown(Shutdown::new().wait(false)).unwrap();
            gate.open();
            assert_uncarried(future, harm, Direction::EncodeResult, Ran::Yes, "Encoded");
            pool.blocking_shutdown(Shutdown::new()).unwrap();
        }
    }

    fn a_crash_while_large_arguments_are_on_their_way_costs_one_task() {
        const SIZE: usize = 8 << 20;
        let pool = ProcessPoolExecutor::new(2);
        let length = |n: u32, text: String| if n == 0 { std::process::abort() } else { text.len() };
        let large = "x".repeat(SIZE);
        let futures: Vec<_> = (0..10).map(|n| pool.submit(length, (n, large.clone()))).collect();
        for (n, future) in futures.into_iter().enumerate() {
            match future.result() {
                Ok(length) => assert_eq!(length, SIZE),
                Err(error) => assert_eq!((n, error.worker_exit()), (0, Some(WorkerExit::Signal(6)))),
            }
        }
        let futures: Vec<_> = (0..10).map(|_| pool.submit(length, (0, large.clone()))).collect();
        for future in futures {
            assert_lost(future, Harm::Abort);
        }
        assert_eq!(pool.submit(length, (1, large)).result().unwrap(), SIZE);
    }

    fn a_hundred_submits_return_while_no_worker_is_ready() {
        let gate = PathGate::new();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(pass, gate.door())
            .build()
            .unwrap();
        let large = "x".repeat(1 << 16);
        let futures: Vec<_> =
            (0..100_u32).map(|n| pool.submit(|n: u32, _: String| n, (n, large.clone()))).collect();
        gate.wait_for(1);
        assert!(futures.iter().all(|future| !future.is_done() && !future.is_running()));
        gate.open();
        for (n, future) in (0..).zip(futures) {
            assert_eq!(future.result().unwrap(), n);
        }
    }

    fn a_crash_beside_others_leaves_them_alone() {
        let pool = ProcessPoolExecutor::new(2);
        let gate = PathGate::new();
        let other = pool.submit(|door: Door| { door.pass(); std::process::id() }, gate.door());
        gate.wait_for(1);
        for _ in 0..5 {
            assert_lost(pool.submit(|harm: Harm| harm.happen().is_ok(), Harm::Abort), Harm::Abort);
        }
        eventually("the others are there", || pool.stats().running() == 1);
        gate.open();
        assert_eq!(other.result().unwrap(), gate.arrivals()[0]);
    }
}
