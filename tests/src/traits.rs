//! The auto traits of the public types, pinned: losing one is a breaking change.

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};

use concurrent_futures::stream::{Blocking, Fed, MapOn};
use concurrent_futures::{
    AnyExecutor, AsCompleted, AsCompletedTimeout, InlineExecutor, Map, Progress, Promise,
    SharedTaskFuture, Stats, TaskError, TaskFuture, TaskHandle, TaskOptions, ThreadPoolBuilder,
    ThreadPoolExecutor, Wait, Waiting, task,
};

fn sends<T: Send>() {}
fn syncs<T: Sync>() {}
fn unpins<T: Unpin>() {}
fn unwinds<T: UnwindSafe + RefUnwindSafe>() {}

/// A value that may be sent but not shared, as a task's result may be.
type Sendable = Cell<u8>;
type Futures = Vec<TaskFuture<Sendable>>;
type Numbers = std::ops::Range<u32>;

#[test]
fn auto_traits_are_pinned() {
    macro_rules! all {
        ($($pinned:ty),+ $(,)?) => { $(
            sends::<$pinned>();
            syncs::<$pinned>();
            unpins::<$pinned>();
        )+ };
    }
    all!(
        TaskFuture<Sendable>, TaskHandle, Promise<Sendable>, SharedTaskFuture<u8>, TaskError,
        ThreadPoolExecutor, InlineExecutor, AnyExecutor, Stats, TaskOptions, task::CurrentTask,
        AsCompleted<TaskFuture<Sendable>>, AsCompletedTimeout<TaskFuture<Sendable>>,
        Wait<TaskFuture<Sendable>>, Waiting<TaskFuture<Sendable>>,
        Map<ThreadPoolExecutor, Numbers, u8>,
        Blocking<AsCompleted<TaskFuture<Sendable>>>, Futures,
        Progress<Map<ThreadPoolExecutor, Numbers, u8>>, Progress<AsCompleted<TaskFuture<Sendable>>>,
    );
    sends::<ThreadPoolBuilder>();
    sends::<MapOn<futures_util::stream::Empty<u8>, Sendable>>();
    sends::<Fed<futures_util::stream::Empty<TaskFuture<u8>>, TaskFuture<u8>>>();
    unwinds::<ThreadPoolExecutor>();
    unwinds::<TaskFuture<u8>>();
    unwinds::<TaskError>();
}
