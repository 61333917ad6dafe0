//! Whether the calling thread may block: the one question that this crate asks of tokio below its
//! thread pool.
//!
//! `Handle::try_current` cannot answer it alone: it also says yes in `spawn_blocking`, in `block_in_place`
//! and under an `enter` guard, where blocking is fine. Two things together can: a thread that drives
//! a runtime at this moment has a worker index, and whatever tokio polls has a finite cooperative
//! budget. Both are absent in `block_in_place`. What escapes is `block_on` of an `unconstrained`
//! future on a multi-threaded runtime, which has neither.

use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

/// More than tokio's budget of one poll, which is 128.
const MORE_THAN_A_BUDGET: usize = 512;

/// True where tokio is polling a future on this thread, which blocking would bring to a stop.
///
/// Where there is a runtime it takes about a microsecond, so it is asked only when a wait is about to
/// block. A thread without a runtime is found out at once: tokio polls nothing there.
pub(crate) fn is_async() -> bool {
    Handle::try_current().is_ok()
        && (tokio::runtime::worker_index().is_some() || has_finite_budget())
}

fn has_finite_budget() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    // Each guard gives back, when it is dropped, the budget that was there before it: so they are
    // dropped in reverse order.
    let mut taken = Vec::with_capacity(128);
    let mut finite = false;
    for _ in 0..MORE_THAN_A_BUDGET {
        match tokio::task::coop::poll_proceed(&mut context) {
            Poll::Ready(guard) => taken.push(guard),
            Poll::Pending => {
                finite = true;
                break;
            }
        }
    }
    while let Some(guard) = taken.pop() {
        drop(guard);
    }
    finite
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::coop::unconstrained;
    use tokio::task::{block_in_place, spawn_blocking};

    fn runtimes() -> (Runtime, Runtime) {
        (
            Builder::new_current_thread().build().expect("a runtime"),
            Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .expect("a runtime"),
        )
    }

    #[test]
    fn plain_threads_and_entered_ones_may_block() {
        let (current, multi) = runtimes();
        assert!(!is_async());
        for runtime in [&current, &multi] {
            let _entered = runtime.enter();
            assert!(!is_async());
        }
    }

    #[test]
    fn whatever_a_runtime_polls_may_not() {
        let (current, multi) = runtimes();
        for runtime in [&current, &multi] {
            assert!(runtime.block_on(async { is_async() }));
            assert!(runtime.block_on(async { tokio::spawn(async { is_async() }).await.unwrap() }));
            let nested = || Handle::current().block_on(async { is_async() });
            assert!(runtime.block_on(async { spawn_blocking(nested).await.unwrap() }));
        }
        assert!(current.block_on(unconstrained(async { is_async() })));
        let spawned = async { tokio::spawn(unconstrained(async { is_async() })).await };
        assert!(multi.block_on(spawned).unwrap());
    }

    #[test]
    fn the_places_that_tokio_keeps_for_blocking_may_block() {
        let (current, multi) = runtimes();
        for runtime in [&current, &multi] {
            assert!(!runtime.block_on(async { spawn_blocking(is_async).await.unwrap() }));
        }
        let in_place = async { tokio::spawn(async { block_in_place(is_async) }).await };
        assert!(!multi.block_on(in_place).unwrap());
    }

    #[test]
    fn the_question_costs_no_budget() {
        let (current, _) = runtimes();
        current.block_on(async {
            for _ in 0..1_000 {
                assert!(is_async());
            }
            assert!(tokio::task::coop::has_budget_remaining());
        });
    }
}
