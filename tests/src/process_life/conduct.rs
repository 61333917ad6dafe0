//! Tasks that behave badly without dying of it: what they change, how they end, and what they give.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::{Executor, ProcessPoolExecutor, Ran, TaskError, WorkerExit};

use crate::harness::tests;

/// What a process has of its own, and passes on to what runs in it.
fn own() -> String {
    // SAFETY: asks, and puts back what was there; nobody makes a file meanwhile, since one task runs at a time.
    let mask = unsafe {
        let mask = libc::umask(0);
        libc::umask(mask);
        mask
    };
    // SAFETY: with a null pointer it only asks; the text lives until the next call, on this thread.
    let locale = unsafe {
        let name = libc::setlocale(libc::LC_ALL, std::ptr::null());
        std::ffi::CStr::from_ptr(name)
            .to_string_lossy()
            .into_owned()
    };
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let signals: Vec<_> = status
        .lines()
        .filter(|line| line.starts_with("Sig"))
        .collect();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    // SAFETY: asks about this thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let directory = std::env::current_dir().unwrap();
    let variable = std::env::var("CF_CONDUCT");
    format!("{mask:o} {locale} {nice} {directory:?} {variable:?} {signals:#?}\n{limits}")
}

fn change_all() {
    std::env::set_current_dir("/").unwrap();
    // SAFETY: no other thread of the worker looks at any of this; pointers are to what lives long enough.
    unsafe {
        std::env::set_var("CF_CONDUCT", "changed");
        libc::umask(0o777);
        libc::setlocale(libc::LC_ALL, c"C.UTF-8".as_ptr());
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
        let limit = libc::rlimit {
            rlim_cur: 1_000_000,
            rlim_max: 1_000_000,
        };
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
    }
}

/// Keeps its thread busy for so long, and lets no signal in that can be kept out.
fn compute_alone(time: Duration) {
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

static LINES: AtomicU64 = AtomicU64::new(0);

extern "C" fn tidy_up() {
    for _ in 0..1_000 {
        LINES.fetch_add(1, Ordering::SeqCst);
        drop(std::hint::black_box(vec![0_u8; 4_096]));
    }
}

fn exit_in_company(code: i32) -> u8 {
    for _ in 0..4 {
        std::thread::spawn(|| {
            loop {
                tidy_up();
            }
        });
    }
    // SAFETY: the handler is of this program, and stays.
    unsafe { libc::atexit(tidy_up) };
    std::process::exit(code)
}

#[derive(Debug)]
struct Talkative(&'static str, Option<Box<Talkative>>);

impl fmt::Display for Talkative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.repeat(5_000_000))
    }
}

impl Error for Talkative {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.1.as_deref()?)
    }
}

fn talk() -> Result<(), Talkative> {
    Err(Talkative("a", Some(Box::new(Talkative("b", None)))))
}

fn is_too_large<T: fmt::Debug>(result: Result<T, TaskError>, ran: Ran) {
    let error = result.unwrap_err();
    assert!(error.is_too_large(), "{error}");
    assert_eq!(error.ran(), ran);
}

tests! {
    fn what_a_task_changes_of_its_process_goes_with_its_worker() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(1);
        let pool = pool.build().unwrap();
        let before = pool.submit(own, ()).result().unwrap();
        pool.submit(change_all, ()).result().unwrap();
        assert_eq!(pool.submit(own, ()).result().unwrap(), before);

        // In a worker that is kept, the next task finds it.
        let pool = ProcessPoolExecutor::new(1);
        let before = pool.submit(own, ()).result().unwrap();
        pool.submit(change_all, ()).result().unwrap();
        assert_ne!(pool.submit(own, ()).result().unwrap(), before);
    }

    fn a_task_that_computes_with_all_signals_blocked_is_left_alone() {
        // Once a second the pool looks which workers stand still.
        let pool = ProcessPoolExecutor::builder().max_workers(1).stopped_timeout(Duration::ZERO);
        let pool = pool.build().unwrap();
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        pool.submit(compute_alone, Duration::from_millis(2_500)).result().unwrap();
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
    }

    fn a_task_that_exits_beside_threads_and_handlers_is_lost_and_says_its_code() {
        let pool = ProcessPoolExecutor::new(1);
        for code in [0, 7].repeat(5) {
            let error = pool.submit(exit_in_company, code).result().unwrap_err();
            assert_eq!(error.worker_exit(), Some(WorkerExit::Code(code)), "{error}");
        }
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }

    fn an_error_of_five_megabytes_is_cut_and_keeps_its_source() {
        let pool = ProcessPoolExecutor::new(1);
        let error = pool.try_submit(talk, ()).result().unwrap_err();
        assert!(error.is_failed());
        let first = error.source().unwrap();
        let second = first.source().unwrap();
        for (source, begin) in [(first, "aaa"), (second, "bbb")] {
            let text = source.to_string();
            assert!(text.starts_with(begin) && text.ends_with("(cut off)"), "{}", text.len());
            assert!(text.len() < 100_000, "{}", text.len());
        }
        assert!(second.source().is_none());
    }

    fn payloads_beyond_the_limit_are_refused_whatever_their_size() {
        let pool = ProcessPoolExecutor::new(1);
        // Memory that nobody has looked at is none yet.
        for size in [(1_usize << 31) + 1, (1 << 32) + 1] {
            is_too_large(pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; size]).result(), Ran::No);
            is_too_large(pool.submit(|size| vec![0_u8; size], size).result(), Ran::Yes);
        }
        let least = pool.submit(|bytes: Vec<u8>| bytes.len(), vec![1; 1 << 20]).result();
        assert_eq!(least.unwrap(), 1 << 20);
    }
}
