//! Has a pool of processes where the system, or other code of the program, makes that hard: its argument
//! says how. Ends well only if everything was as it should be.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Rejection, TaskError, TaskFuture, WorkerExit,
};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("sigchld-ignored") => sigchld_ignored(),
        Some("foreign-wait") => foreign_wait(),
        Some("few-descriptors") => few_descriptors(),
        Some("few-processes") => few_processes(),
        Some("descriptors-come-and-go") => descriptors_come_and_go(),
        Some("processes-come-and-go") => processes_come_and_go(),
        Some("less-nice") => less_nice(),
        Some("out-of-memory") => out_of_memory(),
        other => panic!("unknown hardship: {other:?}"),
    }
}

fn crash() -> u32 {
    std::process::abort()
}

fn chain(error: &TaskError) -> String {
    let mut text = format!("{error}");
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Workers may not have a higher priority, even those of root.
fn less_nice() {
    const CAP_SYS_NICE: libc::c_ulong = 23;
    // SAFETY: it takes numbers. Refused, where this process does not have it.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0) };
    let pool = ProcessPoolExecutor::builder().max_workers(1).nice(-3);
    let pool = pool.build().unwrap();
    let error = pool.submit(u64::pow, (2, 10)).result().unwrap_err();
    let text = chain(&error);
    assert_eq!(error.rejection(), Some(Rejection::Broken), "{text}");
    assert!(text.contains("nice(-3): "), "{text}");
    pool.blocking_shutdown(Default::default()).unwrap();
}

/// This process and its workers have 64 MiB together.
fn out_of_memory() {
    let fill = |bytes: usize| vec![1_u8; bytes].len();
    let pool = ProcessPoolExecutor::new(1);
    for _ in 0..2 {
        let error = pool.submit(fill, 256 << 20).result().unwrap_err();
        assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(libc::SIGKILL)));
        assert!(error.is_out_of_memory_likely(), "{error}");
        assert!(
            error.to_string().contains("out-of-memory killer"),
            "{error}"
        );
        assert_eq!(pool.submit(fill, 1 << 20).result().unwrap(), 1 << 20);
    }
    // Who is killed by somebody else is not taken for such a one.
    let hurt = || {
        // SAFETY: it takes numbers.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    };
    let error = pool.submit(hurt, ()).result().unwrap_err();
    assert!(!error.is_out_of_memory_likely(), "{error}");
    assert!(!error.to_string().contains("killer"), "{error}");
    pool.blocking_shutdown(Default::default()).unwrap();
}

/// Nobody learns how a child has ended.
fn sigchld_ignored() {
    // SAFETY: it sets no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let pool = ProcessPoolExecutor::new(2);
    for _ in 0..20 {
        let lost = pool.submit(crash, ()).result().unwrap_err();
        assert_eq!(lost.worker_exit(), Some(WorkerExit::Unknown), "{lost}");
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
    // Tasks start children of their own, whatever this process does with its.
    let code = pool.submit(
        || {
            std::process::Command::new("/bin/true")
                .status()
                .unwrap()
                .code()
        },
        (),
    );
    assert_eq!(code.result().unwrap(), Some(0));
    pool.blocking_shutdown(Default::default()).unwrap();
}

/// Code of the program collects any child, as some supervisors do.
fn foreign_wait() {
    std::thread::spawn(|| {
        loop {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
            // There is no child at times.
            std::thread::yield_now();
        }
    });
    let pool = ProcessPoolExecutor::new(2);
    let mut unknown = 0;
    for _ in 0..50 {
        let lost = pool.submit(crash, ()).result().unwrap_err();
        match lost.worker_exit() {
            Some(WorkerExit::Unknown) => unknown += 1,
            Some(WorkerExit::Signal(libc::SIGABRT)) => {}
            _ => panic!("{lost}"),
        }
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
    let slow = pool.submit(std::thread::sleep, Duration::from_secs(1000));
    while !slow.is_running() {}
    slow.abort();
    assert!(slow.result().unwrap_err().is_aborted());
    pool.blocking_shutdown(Default::default()).unwrap();
    println!("{unknown}");
}

fn limit(which: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the place is of the right type.
    assert_eq!(unsafe { libc::getrlimit(which, &raw mut limit) }, 0);
    limit
}

/// Sets the soft limit, which can be raised again.
fn set_limit(which: libc::__rlimit_resource_t, soft: u64) {
    let new = libc::rlimit {
        rlim_cur: soft,
        ..limit(which)
    };
    // SAFETY: the limit is only read.
    assert_eq!(unsafe { libc::setrlimit(which, &raw const new) }, 0);
}

fn assert_rejected(future: TaskFuture<u64>, errno: i32) {
    assert_no_worker(&future.result().unwrap_err(), errno);
}

fn assert_no_worker(error: &TaskError, errno: i32) {
    let text = chain(error);
    assert_eq!(error.rejection(), Some(Rejection::NoWorker), "{text}");
    let expected = io::Error::from_raw_os_error(errno).to_string();
    assert!(text.contains(&expected), "{text}");
}

/// No descriptor is left when a worker has to be replaced; later there are some again.
fn few_descriptors() {
    let before = limit(libc::RLIMIT_NOFILE).rlim_cur;
    set_limit(libc::RLIMIT_NOFILE, before.min(256));
    let pool = ProcessPoolExecutor::new(1);
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    for _ in 0..3 {
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        // The dead worker's descriptors are free again, and taken before its successor is asked for.
        let lost = pool.submit(crash, ()).result().unwrap_err();
        assert!(lost.is_worker_lost(), "{lost}");
        let end = Instant::now() + Duration::from_secs(10);
        while pool.stats().workers() > 0 {
            assert!(Instant::now() < end, "the worker stays");
        }
        let mut is_quiet = 0;
        while is_quiet < 100 {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(_) => is_quiet += 1,
            }
            std::thread::yield_now();
        }
        assert_rejected(pool.submit(u64::pow, (2, 10)), libc::EMFILE);
        drop(files);
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    }
    // In the middle of its attempts the system has some again, and the task never notices.
    let lost = pool.submit(crash, ());
    assert!(lost.result().unwrap_err().is_worker_lost());
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let patient = pool.submit(u64::pow, (2, 10));
    drop(files);
    assert_eq!(patient.result().unwrap(), 1024);
    pool.blocking_shutdown(Default::default()).unwrap();
}

/// How many threads a process has.
fn threads_of(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .count() as u64
}

/// The limit of processes does not bind root, so this becomes somebody else. False if it may not.
fn becomes_nobody() -> bool {
    let nobody = 60_000 + std::process::id() % 5_000;
    // SAFETY: these take numbers.
    unsafe {
        libc::setresuid(nobody, nobody, nobody) == 0
            // So that it may still read what /proc says of itself.
            && libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
    }
}

/// The user may have no more processes.
fn few_processes() {
    if !becomes_nobody() {
        println!("not root");
        return;
    }
    let own = std::process::id();
    let before = limit(libc::RLIMIT_NPROC).rlim_cur;

    // Not even the first can be started.
    let pool = ProcessPoolExecutor::new(3);
    // The pool has two threads of its own.
    set_limit(libc::RLIMIT_NPROC, threads_of(own) + 2);
    assert_rejected(pool.submit(u64::pow, (2, 10)), libc::EAGAIN);
    set_limit(libc::RLIMIT_NPROC, before);
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);

    // One can live, and the others cannot be started: it does all the work.
    let worker = pool.worker_stats()[0].pid();
    set_limit(libc::RLIMIT_NPROC, threads_of(own) + threads_of(worker));
    let briefly = || {
        std::thread::sleep(Duration::from_millis(1));
        std::process::id()
    };
    let futures: Vec<_> = (0..20).map(|_| pool.submit(briefly, ())).collect();
    for future in futures {
        assert_eq!(future.result().unwrap(), worker);
    }

    // Later there is room again, and the pool grows.
    set_limit(libc::RLIMIT_NPROC, before);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let futures: Vec<_> = (0..20).map(|_| pool.submit(briefly, ())).collect();
        assert!(futures.into_iter().all(|future| future.result().is_ok()));
        if pool.stats().workers() == 3 {
            break;
        }
        assert!(
            Instant::now() < end,
            "the pool stays at {} workers",
            pool.stats().workers()
        );
    }
    pool.blocking_shutdown(Default::default()).unwrap();
}

/// For how long a storm lasts: the second argument, in seconds.
fn lasting() -> Duration {
    let seconds = std::env::args().nth(2);
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(1))
}

/// Workers end all the time, and at times the `which` that a start needs is not to be had.
///
/// A task fails with the cause if none can be started for it again and again; all others are done.
fn starts_fail_now_and_then(which: libc::__rlimit_resource_t, errno: i32, low: impl Fn() -> u64) {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(2)
        .max_tasks_per_worker(3)
        .build()
        .unwrap();
    assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
    let before = limit(which).rlim_cur;
    let (mut done, mut refused, mut rounds) = (0, 0, 0);
    let begin = Instant::now();
    while begin.elapsed() < lasting() {
        set_limit(which, low());
        let futures: Vec<_> = (0..20).map(|n| pool.submit(u64::pow, (n, 2))).collect();
        std::thread::sleep(Duration::from_millis(rounds % 80));
        rounds += 17;
        set_limit(which, before);
        for (n, future) in (0..20).zip(futures) {
            match future.result() {
                Ok(value) => {
                    assert_eq!(value, n * n);
                    done += 1;
                }
                Err(error) => {
                    assert_no_worker(&error, errno);
                    refused += 1;
                }
            }
        }
        // With the limit as it was, everything is done.
        let futures: Vec<_> = (0..20).map(|n| pool.submit(u64::pow, (n, 2))).collect();
        for (n, future) in (0..20).zip(futures) {
            assert_eq!(future.result().unwrap(), n * n);
            done += 1;
        }
    }
    pool.blocking_shutdown(Default::default()).unwrap();
    println!("{done} done, {refused} refused");
    assert!(done > 100 && refused > 0);
}

fn descriptors_come_and_go() {
    starts_fail_now_and_then(libc::RLIMIT_NOFILE, libc::EMFILE, || 8);
}

fn processes_come_and_go() {
    if !becomes_nobody() {
        println!("not root");
        return;
    }
    starts_fail_now_and_then(libc::RLIMIT_NPROC, libc::EAGAIN, || 1);
}
