//! Waits in a pool that gets no extra worker, since the system refuses the thread. Ends well only if everything
//! was as it should be.

use std::io::Read as _;
use std::sync::mpsc;
use std::time::Duration;

use concurrent_futures::{Rejection, ThreadPoolExecutor, wait};

/// A time limit that is never reached.
const LONG: Duration = Duration::from_secs(50);

/// There is memory for one, but not for a second.
const STACK: usize = 256 << 20;

fn main() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .stack_size(STACK)
        .build()
        .unwrap();
    let other = ThreadPoolExecutor::new(1);
    // It has its thread before there are no more.
    other.spawn(|| ()).result().unwrap();
    let inner = pool.clone();
    let (say, said) = mpsc::channel();
    let errors = pool.spawn(move || {
        let waits = WaitsWhenDropped(other, say);
        let mut futures = vec![inner.spawn(move || drop(waits))];
        futures.extend((0..100).map(|_| inner.spawn(|| ())));
        refuse_threads();
        // Each of them is refused its extra worker, while this waits for the rest.
        let waited = wait(futures).timeout(LONG).blocking_wait().unwrap();
        let results = waited.done.into_iter().map(|future| future.result());
        results.filter_map(Result::err).collect::<Vec<_>>()
    });
    let errors = errors.result().unwrap();
    assert_eq!(errors.len(), 101);
    for error in errors {
        assert_eq!(error.rejection(), Some(Rejection::Broken), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    }
    assert_eq!(said.recv().unwrap(), 7);
    // Nobody waits any more, and the pool works as before.
    assert_eq!(pool.spawn(|| 8).result().unwrap(), 8);
    assert_eq!(
        (pool.stats().blocked(), pool.stats().extra_workers()),
        (0, 0)
    );
}

struct WaitsWhenDropped(ThreadPoolExecutor, mpsc::Sender<u32>);

impl Drop for WaitsWhenDropped {
    fn drop(&mut self) {
        let value = self.0.spawn(|| 7).result_timeout(LONG).unwrap();
        self.1.send(value).unwrap();
    }
}

/// From now on there is too little address space for one more of the large stacks.
fn refuse_threads() {
    let mut status = String::new();
    let mut file = std::fs::File::open("/proc/self/status").unwrap();
    file.read_to_string(&mut status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    let used = kilobytes.parse::<u64>().unwrap() << 10;
    let limit = libc::rlimit {
        rlim_cur: used + STACK as u64 / 2,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is only read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(result, 0);
}
