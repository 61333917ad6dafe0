//! Who is told when a task is done: a waker, or a sink that many tasks report to.

use std::sync::Arc;
use std::task::Waker;

use super::outcome::Outcome;
use crate::panic;

/// Where finished tasks report to, each with the key that it was registered with.
///
/// Called on whichever thread makes the task final, under no lock.
pub trait Sink: Send + Sync {
    fn complete(&self, key: u32, outcome: Outcome);
}

/// The one party that waits for a task.
pub(super) enum Waiter {
    Waker(Waker),
    /// The key has 32 bits so that a waiter takes three words.
    Sink(Arc<dyn Sink>, u32),
}

impl Waiter {
    pub(super) fn notify(self, outcome: Outcome) {
        // Wakers are foreign code.
        let told = panic::guard(|| match self {
            Self::Waker(waker) => waker.wake(),
            Self::Sink(sink, key) => sink.complete(key, outcome),
        });
        if let Err(panic) = told {
            panic::contain(|| {
                tracing::error!(panic.message, panic.location, "a waker panicked");
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_takes_three_words() {
        assert_eq!(size_of::<Waiter>(), 24);
    }
}
