//! The races over one cell, checked in every interleaving.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use loom::thread;

use super::cell::{Claimable, Recorder, ResultRef, Runnable, Stored, current};
use super::extras::Extras;
use super::outcome::{Outcome, TaskInfo};
use super::waiting::Unpark;
use crate::error::{Clock, TaskError};
use crate::id::OwnerId;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Counts how often it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Unrecorded;

impl Recorder for Unrecorded {
    fn finished(&mut self, _task: TaskInfo<'_>, _outcome: Outcome) {}
    fn told(&mut self) {}
    fn overtaken(&mut self) {}
}

fn task<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> (Runnable, ResultRef<T>) {
    Runnable::new(move || Ok(job()), OwnerId::NONE, 0, None)
}

fn run(runnable: Runnable) -> bool {
    match runnable.start() {
        Some(started) => {
            started.run(&mut Unrecorded);
            true
        }
        None => false,
    }
}

#[test]
fn loom_start_against_cancel() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let captured = Dropped(Arc::clone(&drops));
        let (runnable, mut result) = task(move || drop(captured));
        let runner = thread::spawn(move || run(runnable));
        let cancelled = result.cell().finish_queued(TaskError::cancelled);
        let ran = runner.join().unwrap();
        assert_ne!(ran, cancelled, "exactly one of the two wins");
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        let result = result.take().expect("final either way");
        assert_eq!(result.is_err(), cancelled);
    });
}

#[test]
fn loom_completion_against_waiter_registration() {
    loom::model(|| {
        let (runnable, mut result) = task(|| 7);
        let runner = thread::spawn(move || run(runnable));
        let bell = Arc::new(Bell::default());
        let waits = result.wake_when_done(&Waker::from(Arc::clone(&bell)));
        if !waits {
            assert_eq!(result.take().unwrap().unwrap(), 7);
        }
        runner.join().unwrap();
        assert_eq!(bell.rings(), usize::from(waits));
        drop(result);
        assert_eq!(Arc::strong_count(&bell), 1, "no waker is left behind");
    });
}

#[test]
fn loom_completion_against_a_change_of_the_waiter() {
    loom::model(|| {
        let (runnable, mut result) = task(|| 7);
        let (first, second) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let waited = result.wake_when_done(&Waker::from(Arc::clone(&first)));
        assert!(waited, "nothing runs yet");
        let runner = thread::spawn(move || run(runnable));
        let waits = result.wake_when_done(&Waker::from(Arc::clone(&second)));
        runner.join().unwrap();
        // Whoever was registered last before the end is woken, and nobody else.
        assert_eq!(second.rings(), usize::from(waits));
        assert!(first.rings() + second.rings() <= 1);
        assert_eq!(result.take().unwrap().unwrap(), 7);
    });
}

#[test]
fn loom_completion_against_the_drop_of_the_future() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let value = Dropped(Arc::clone(&drops));
        let (runnable, mut result) = task(move || value);
        let bell = Arc::new(Bell::default());
        assert!(result.wake_when_done(&Waker::from(Arc::clone(&bell))));
        let runner = thread::spawn(move || run(runnable));
        drop(result);
        runner.join().unwrap();
        assert_eq!(
            drops.load(Ordering::SeqCst),
            1,
            "the result is dropped once"
        );
        assert_eq!(Arc::strong_count(&bell), 1, "the waker is dropped");
    });
}

#[test]
fn loom_completion_against_a_callback() {
    loom::model(|| {
        let (runnable, result) = task(|| 7);
        let runner = thread::spawn(move || run(runnable));
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        result.cell().on_done(Box::new(move |_, outcome| {
            assert_eq!(outcome, Outcome::Succeeded);
            count.fetch_add(1, Ordering::SeqCst);
        }));
        runner.join().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_fulfil_against_cancel() {
    loom::model(|| {
        let (promise, mut result) = Claimable::new(OwnerId::NONE, None);
        let fulfiller = thread::spawn(move || promise.fulfil(Stored::Ready(Ok(7))).is_ok());
        let cancelled = result.cell().finish_queued(TaskError::cancelled);
        let fulfilled = fulfiller.join().unwrap();
        assert_ne!(fulfilled, cancelled, "exactly one of the two wins");
        assert_eq!(result.take().unwrap().is_ok(), fulfilled);
    });
}

#[test]
fn loom_double_fulfil() {
    loom::model(|| {
        let (promise, mut result) = Claimable::new(OwnerId::NONE, None);
        let promise = Arc::new(promise);
        let other = Arc::clone(&promise);
        let first = thread::spawn(move || other.fulfil(Stored::Ready(Ok(1))).is_ok());
        let second = promise.fulfil(Stored::Ready(Ok(2))).is_ok();
        let first = first.join().unwrap();
        assert_ne!(first, second, "exactly one value is taken");
        assert_eq!(result.take().unwrap().unwrap(), if first { 1 } else { 2 });
    });
}

#[test]
fn loom_stop_against_token() {
    loom::model(|| {
        let (promise, result) = Claimable::<u32>::new(OwnerId::NONE, None);
        assert!(promise.start());
        let asker = {
            let cell = result.cell().clone();
            thread::spawn(move || cell.request_stop())
        };
        let token = promise.cell().token();
        asker.join().unwrap();
        assert!(token.is_cancelled());
    });
}

#[test]
fn loom_the_last_reference_frees() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let captured = Dropped(Arc::clone(&drops));
        let (runnable, result) = task(move || captured);
        let cell = result.cell().clone();
        let dropper = thread::spawn(move || drop(cell));
        drop(runnable);
        drop(result);
        dropper.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

/// A job with a time limit, which the alarm may end while it runs.
fn limited<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> (Runnable, ResultRef<T>) {
    let mut extras = Box::<Extras>::default();
    // Beyond the clock, so that no alarm is set: the model is the alarm.
    extras.run_timeout = Some(Duration::MAX);
    Runnable::new(move || Ok(job()), OwnerId::NONE, 0, Some(extras))
}

#[test]
fn loom_completion_against_a_run_timeout() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let captured = Dropped(Arc::clone(&drops));
        let alarm = Arc::new(Mutex::new(None));
        let set = Arc::clone(&alarm);
        let (runnable, mut result) = limited(move || {
            drop(captured);
            // Nobody can end the task from outside before its clock was started.
            let cell = current().expect("runs as a task");
            let ring = move || cell.finish_running(|| TaskError::timed_out(Clock::Run, None));
            *set.lock().unwrap() = Some(thread::spawn(ring));
        });
        assert!(run(runnable));
        let alarm = alarm.lock().unwrap().take().expect("it was set");
        let timed_out = alarm.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        assert_eq!(result.take().unwrap().is_err(), timed_out);
    });
}

#[test]
fn loom_a_second_wait_with_the_waker_of_the_first() {
    loom::model(|| {
        let (runnable, mut result) = task(|| 7);
        let unpark = Arc::new(Unpark::new());
        let waker = Waker::from(Arc::clone(&unpark));
        // The first wait times out, and leaves its waker where it is.
        assert!(result.wake_when_done(&waker));
        let runner = thread::spawn(move || run(runnable));
        unpark.reset();
        let parks = result.take().is_none() && result.wake_when_done(&waker);
        runner.join().unwrap();
        assert!(!parks || unpark.is_woken(), "the thread parks for ever");
    });
}
