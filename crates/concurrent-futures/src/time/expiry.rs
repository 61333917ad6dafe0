//! A deadline that async code can wait for.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::deadline::Deadline;
use super::timer::{Alarm, Timer, schedule};

/// Wakes whoever has polled it last when its deadline comes.
///
/// Nothing is scheduled before the first poll that has to wait.
#[derive(Debug)]
pub(crate) struct Expiry {
    deadline: Deadline,
    scheduled: Option<(Timer, Arc<WakeAlarm>)>,
}

#[derive(Debug)]
struct WakeAlarm(Mutex<Option<Waker>>);

impl WakeAlarm {
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            waker,
        )
    }
}

impl Alarm for WakeAlarm {
    fn ring(&self) {
        if let Some(waker) = self.replace(None) {
            waker.wake();
        }
    }
}

impl Expiry {
    pub(crate) fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            scheduled: None,
        }
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.deadline.instant() else {
            return Poll::Pending;
        };
        if self.deadline.has_passed() {
            return Poll::Ready(());
        }
        match &self.scheduled {
            Some((_, alarm)) => {
                // A waker is foreign code: it is cloned before the lock, and dropped after it.
                let previous = alarm.replace(Some(context.waker().clone()));
                drop(previous);
            }
            None => {
                let alarm = Arc::new(WakeAlarm(Mutex::new(Some(context.waker().clone()))));
                match schedule(at, Arc::clone(&alarm) as Arc<dyn Alarm>) {
                    Ok(timer) => self.scheduled = Some((timer, alarm)),
                    // Without a thread that wakes us we ask again and again, which is dear but
                    // keeps the deadline.
                    Err(_) => context.waker().wake_by_ref(),
                }
            }
        }
        if self.deadline.has_passed() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
