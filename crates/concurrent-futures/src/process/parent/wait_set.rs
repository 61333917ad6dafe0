//! Waiting for any of the workers, and for the pool's own threads.
//!
//! The collector sleeps on the bells of all workers at once, and on one of its own. Where the kernel
//! cannot do that (before Linux 5.16), or for more workers than it can, each other worker gets a
//! thread that sleeps on its bell and rings the collector's.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::worker_state::Link;
use crate::process::ring::Bell;
use crate::process::sys::futex;

/// The bell of the collector itself.
pub(in crate::process) struct Control {
    bell: Bell,
    /// Counts what was said, so that it can be seen without the bell.
    said: AtomicU32,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            bell: Bell::new(),
            said: AtomicU32::new(0),
        }
    }
}

impl Control {
    pub(in crate::process) fn ring(&self) {
        use std::sync::atomic::Ordering;
        // Release: what was done before is seen by who sees the number. The bell passes a fence.
        self.said.fetch_add(1, Ordering::Release);
        if self.bell.ring() {
            futex::wake(self.bell.word().0);
        }
    }

    fn said(&self) -> u32 {
        self.said.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// How often is looked for what no thread listens to.
const UNHEARD: Duration = Duration::from_millis(10);

/// Words that one call can wait for, but for the collector's own.
fn most_at_once() -> usize {
    #[cfg(test)]
    if tests::HELPERS_ONLY.load(std::sync::atomic::Ordering::SeqCst) {
        return 0;
    }
    futex::MAX_WORDS - 1
}

pub(in crate::process) struct WaitSet {
    /// What has been heard of the control.
    heard: u32,
    /// How many of the links are waited for by the collector itself.
    at_once: usize,
    helpers: Vec<Helper>,
}

impl WaitSet {
    pub(in crate::process) fn new() -> Self {
        Self {
            heard: 0,
            at_once: most_at_once(),
            helpers: Vec::new(),
        }
    }

    /// Whether somebody rang the collector's own bell since it was asked last.
    pub(in crate::process) fn has_control(&mut self, control: &Control) -> bool {
        let said = control.said();
        std::mem::replace(&mut self.heard, said) != said
    }

    pub(in crate::process) fn would_hear(&self, control: &Control) -> bool {
        control.said() != self.heard
    }

    /// Sleeps until one of the links, or the control, has something; `is_there` looks whether one has
    /// already.
    pub(in crate::process) fn sleep(
        &mut self,
        control: &Arc<Control>,
        links: &[Arc<Link>],
        timeout: Option<Duration>,
        is_there: impl Fn() -> bool,
    ) {
        let (direct, others) = links.split_at(links.len().min(self.at_once));
        self.keep_helpers(control, others);
        // Without a thread for each, what is not heard is looked for.
        let timeout = if self.helpers.len() < others.len() {
            Some(timeout.map_or(UNHEARD, |timeout| timeout.min(UNHEARD)))
        } else {
            timeout
        };
        control.bell.lie_down();
        for link in direct {
            link.memory.results_bell.0.lie_down();
        }
        let mut fails = false;
        if !is_there() && !self.would_hear(control) {
            let mut words = Vec::with_capacity(1 + direct.len());
            words.push(control.bell.word());
            words.extend(direct.iter().map(|link| link.memory.results_bell.0.word()));
            if words.len() == 1 {
                futex::wait(words[0].0, words[0].1, timeout);
            } else {
                fails = futex::wait_any(&words, timeout).is_err();
            }
        }
        control.bell.get_up();
        for link in direct {
            link.memory.results_bell.0.get_up();
        }
        if fails {
            self.at_once = 0;
        }
    }

    /// One helper for each of these links, ready to ring.
    fn keep_helpers(&mut self, control: &Arc<Control>, links: &[Arc<Link>]) {
        self.helpers
            .retain(|helper| links.iter().any(|link| Arc::ptr_eq(link, &helper.link)));
        for link in links {
            let known = self
                .helpers
                .iter()
                .find(|helper| Arc::ptr_eq(&helper.link, link));
            match known {
                Some(helper) => helper.arm(),
                None => self.helpers.extend(Helper::start(control, link)),
            }
        }
    }
}

/// A thread that sleeps on the bell of one worker.
struct Helper {
    link: Arc<Link>,
    post: Arc<Post>,
}

/// What the collector tells a helper.
#[derive(Default)]
struct Post {
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    /// It has rung, and waits until it is told that what was there was taken in.
    #[default]
    Rest,
    Watch,
    Leave,
}

impl Helper {
    /// Without a thread the worker is heard only when something else wakes the collector.
    fn start(control: &Arc<Control>, link: &Arc<Link>) -> Option<Self> {
        let post = Arc::new(Post::default());
        let helper = Self {
            link: Arc::clone(link),
            post: Arc::clone(&post),
        };
        helper.arm();
        let (control, link) = (Arc::clone(control), Arc::clone(link));
        let watch = move || {
            while post.is_to_watch() {
                let bell = &link.memory.results_bell.0;
                let (word, asleep) = bell.word();
                // The collector has laid the bell down. Whoever rings makes this return.
                futex::wait(word, asleep, None);
                post.rest();
                control.ring();
            }
        };
        let started = std::thread::Builder::new()
            .name("pool-listener".to_owned())
            .spawn(watch);
        started.is_ok().then_some(helper)
    }

    fn arm(&self) {
        let mut order = self.post.lock();
        if *order == Order::Rest {
            self.link.memory.results_bell.0.lie_down();
            *order = Order::Watch;
            self.post.changed.notify_one();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        *self.post.lock() = Order::Leave;
        self.post.changed.notify_one();
        let bell = &self.link.memory.results_bell.0;
        bell.get_up();
        futex::wake(bell.word().0);
    }
}

impl Post {
    fn lock(&self) -> std::sync::MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do. False to leave.
    fn is_to_watch(&self) -> bool {
        let mut order = self.lock();
        while *order == Order::Rest {
            order = self
                .changed
                .wait(order)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *order == Order::Watch
    }

    fn rest(&self) {
        let mut order = self.lock();
        if *order == Order::Watch {
            *order = Order::Rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::executor::{Executor, Shutdown};
    use crate::process::ProcessPoolExecutor;

    /// As on a kernel that cannot wait for several words.
    pub(super) static HELPERS_ONLY: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_pool_works_where_the_kernel_cannot_wait_for_several_words() {
        HELPERS_ONLY.store(true, Ordering::SeqCst);
        let pool = ProcessPoolExecutor::new(3);
        for n in 0..200_u64 {
            assert_eq!(pool.submit(u64::pow, (n, 2)).result().unwrap(), n * n);
        }
        let squares: Result<Vec<u64>, _> = pool.map(|n: u64| n * n, 0..5_000).into_iter().collect();
        assert_eq!(squares.unwrap().len(), 5_000);
        let lost = pool.submit(|| -> u8 { std::process::abort() }, ());
        assert!(lost.result().unwrap_err().is_worker_lost());
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        HELPERS_ONLY.store(false, Ordering::SeqCst);
    }
}
