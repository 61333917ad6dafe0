//! One lazily started thread that rings alarms when their time comes.
//!
//! An alarm may run foreign code (a callback, the drop of an argument), and that may block. So the
//! thread that takes a due alarm first gives up the watch, to a spare thread or a new one, if any
//! alarm is left (the leader/followers pattern of Schmidt et al.); afterwards it becomes the spare
//! itself, or ends if there is one. Always: either nothing is scheduled, or exactly one thread
//! watches, or one has been asked to and has not begun yet.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::panic;

/// What a timer does when its time has come.
pub(crate) trait Alarm: Send + Sync {
    fn ring(&self);
}

/// A scheduled alarm; dropping it takes the alarm back, unless it is ringing already.
#[must_use = "dropping a timer cancels it"]
#[derive(Debug)]
pub(crate) struct Timer {
    key: Key,
}

type Key = (Instant, u64);

/// How long a thread that nobody needs waits for work before it ends.
const SPARE_TIME: Duration = Duration::from_secs(1);

struct Schedule {
    alarms: BTreeMap<Key, Arc<dyn Alarm>>,
    next_number: u64,
    /// A thread watches the first alarm, or was asked to.
    watched: bool,
    /// Threads that wait to take over the watch.
    spare: usize,
    /// How many of the spare threads have been asked to.
    called: usize,
}

static SCHEDULE: Mutex<Schedule> = Mutex::new(Schedule {
    alarms: BTreeMap::new(),
    next_number: 0,
    watched: false,
    spare: 0,
    called: 0,
});
/// The first alarm has changed: for the watching thread.
static CHANGED: Condvar = Condvar::new();
/// The watch is to be taken over: for the spare threads.
static CALLED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Schedule> {
    SCHEDULE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `alarm` ring at `at`, on a thread of its own.
///
/// # Errors
/// When the thread is needed and the system refuses one.
pub(crate) fn schedule(at: Instant, alarm: Arc<dyn Alarm>) -> io::Result<Timer> {
    let mut schedule = lock();
    let key = (at, schedule.next_number);
    schedule.next_number += 1;
    schedule.alarms.insert(key, alarm);
    if !schedule.watched {
        if let Err(error) = schedule.call_a_watch() {
            schedule.alarms.remove(&key);
            return Err(error);
        }
    } else if schedule.alarms.first_key_value().map(|(first, _)| *first) == Some(key) {
        CHANGED.notify_one();
    }
    Ok(Timer { key })
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The watching thread is left alone: it finds out when it wakes for the alarm that is gone.
        let alarm = lock().alarms.remove(&self.key);
        drop(alarm);
    }
}

impl Schedule {
    fn call_a_watch(&mut self) -> io::Result<()> {
        if self.spare > self.called {
            self.called += 1;
            CALLED.notify_one();
        } else {
            std::thread::Builder::new()
                .name("cf-timer".to_owned())
                .spawn(watch)?;
        }
        self.watched = true;
        Ok(())
    }
}

/// The life of a timer thread, which begins with the watch.
fn watch() {
    let mut schedule = lock();
    loop {
        let now = Instant::now();
        match schedule.alarms.first_entry() {
            None => {
                schedule = CHANGED
                    .wait(schedule)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            Some(first) if first.key().0 > now => {
                let left = first.key().0 - now;
                schedule = CHANGED
                    .wait_timeout(schedule, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            Some(first) => {
                let alarm = first.remove();
                schedule.watched = false;
                let refused = if schedule.alarms.is_empty() {
                    None
                } else {
                    schedule.call_a_watch().err()
                };
                drop(schedule);
                if let Some(error) = refused {
                    // This thread watches on after the alarm; later ones may ring late.
                    panic::contain(|| {
                        tracing::warn!(%error, "the system refuses a second timer thread");
                    });
                }
                // The drop may be that of the last reference to what the alarm was for.
                let rung = panic::guard(|| {
                    alarm.ring();
                    drop(alarm);
                });
                if let Err(panic) = rung {
                    panic::contain(|| {
                        tracing::error!(panic.message, panic.location, "an alarm panicked");
                    });
                }
                schedule = lock();
                if !schedule.watched {
                    schedule.watched = true;
                    continue;
                }
                if schedule.spare > 0 {
                    return;
                }
                schedule = match wait_to_be_called(schedule) {
                    Some(schedule) => schedule,
                    None => return,
                };
            }
        }
    }
}

/// Waits as the spare thread; `None` if nobody has called for a while.
fn wait_to_be_called(
    mut schedule: MutexGuard<'static, Schedule>,
) -> Option<MutexGuard<'static, Schedule>> {
    schedule.spare += 1;
    let end = Instant::now() + SPARE_TIME;
    loop {
        if schedule.called > 0 {
            schedule.called -= 1;
            schedule.spare -= 1;
            return Some(schedule);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            schedule.spare -= 1;
            return None;
        }
        schedule = CALLED
            .wait_timeout(schedule, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Send_(Mutex<mpsc::Sender<u32>>, u32);
    impl Alarm for Send_ {
        fn ring(&self) {
            let _ = self.0.lock().expect("never poisoned").send(self.1);
        }
    }

    fn in_millis(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[test]
    fn alarms_ring_in_the_order_of_their_times_and_cancelled_ones_do_not() {
        let (sender, receiver) = mpsc::channel();
        let alarm = |n| Arc::new(Send_(Mutex::new(sender.clone()), n)) as Arc<dyn Alarm>;
        let third = schedule(in_millis(60), alarm(3)).expect("a thread");
        let first = schedule(in_millis(20), alarm(1)).expect("a thread");
        drop(schedule(in_millis(40), alarm(2)).expect("a thread"));
        let received: Vec<_> = (0..2)
            .map(|_| {
                receiver
                    .recv_timeout(Duration::from_secs(10))
                    .expect("rings")
            })
            .collect();
        assert_eq!(received, [1, 3]);
        drop((first, third));
    }

    #[test]
    fn an_alarm_that_blocks_does_not_delay_the_next() {
        struct Block(Mutex<mpsc::Receiver<u32>>);
        impl Alarm for Block {
            fn ring(&self) {
                let _ = self.0.lock().expect("never poisoned").recv();
            }
        }
        let (release, gate) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        let blocking = schedule(in_millis(0), Arc::new(Block(Mutex::new(gate)))).expect("a thread");
        let next = schedule(in_millis(20), Arc::new(Send_(Mutex::new(sender), 7)));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(7));
        release.send(0).expect("the alarm still waits");
        drop((blocking, next));
    }
}
