//! Wakers are foreign code: they are cloned and dropped under no lock.

use std::future::{Future, IntoFuture};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use concurrent_futures::{Promise, as_completed, wait};

use crate::harness::tests;

/// Does something once, when it is first cloned.
type OnClone = Mutex<Option<Box<dyn FnOnce() + Send>>>;

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, drop_it, |_| {}, drop_it);

fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the pointer is that of an `Arc<OnClone>` whose reference the waker keeps.
    let on_clone = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<OnClone>()) });
    let action = on_clone.lock().unwrap().take();
    if let Some(action) = action {
        action();
    }
    RawWaker::new(Arc::into_raw(Arc::clone(&on_clone)).cast(), &TABLE)
}

fn drop_it(data: *const ()) {
    // SAFETY: as in `clone`; the waker gives its reference up.
    drop(unsafe { Arc::from_raw(data.cast::<OnClone>()) });
}

fn waker(action: impl FnOnce() + Send + 'static) -> Waker {
    let on_clone: Arc<OnClone> = Arc::new(Mutex::new(Some(Box::new(action))));
    let raw = RawWaker::new(Arc::into_raw(on_clone).cast(), &TABLE);
    // SAFETY: the functions of the table keep and give up references as they should.
    unsafe { Waker::from_raw(raw) }
}

tests! {
    fn a_waker_whose_clone_ends_a_task_of_the_set_does_not_deadlock() {
        let (promise, future) = Promise::new();
        let mut set = as_completed([future]);
        let waker = waker(move || promise.fulfil(1).unwrap());
        let mut next = pin!(set.next());
        let mut context = Context::from_waker(&waker);
        while next.as_mut().poll(&mut context).is_pending() {}
    }

    fn a_waker_whose_clone_ends_a_task_that_is_waited_for_does_not_deadlock() {
        for limit in [Duration::MAX, Duration::from_secs(3_600)] {
            let (promise, future) = Promise::new();
            let mut waiting = pin!(wait([future]).timeout(limit).into_future());
            let waker = waker(move || promise.fulfil(1).unwrap());
            let mut context = Context::from_waker(&waker);
            while waiting.as_mut().poll(&mut context) .is_pending() {}
        }
    }

    fn a_waker_whose_clone_ends_its_own_task_does_not_deadlock() {
        let (promise, future) = Promise::new();
        let mut future = pin!(future);
        let waker = waker(move || promise.fulfil(1).unwrap());
        let mut context = Context::from_waker(&waker);
        assert!(matches!(future.as_mut().poll(&mut context), Poll::Ready(Ok(1))));
    }
}
