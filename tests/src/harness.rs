//! What surrounds every test: one at a time, under a watchdog, with a look for what is left behind.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, InlineExecutor, ProcessPoolExecutor, Stats, ThreadPoolExecutor,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Longer than any test takes on a busy machine. A test that hangs ends the whole run, by name.
const WATCHDOG: Duration = Duration::from_secs(60);

/// One test at a time: the look for leaks is at the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `test` under the watchdog, and sees to it that it leaves nothing behind.
pub(crate) fn check(name: &'static str, test: impl FnOnce()) {
    // tokio keeps what its first runtime has opened for signals, where that feature is on.
    static FIRST_RUNTIME: Once = Once::new();
    FIRST_RUNTIME.call_once(|| drop(tokio::runtime::Runtime::new()));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, is_done) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let limit = WATCHDOG + crate::chaos::longer();
        if is_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("test {name} hangs: it has not ended within {limit:?}");
            std::process::abort();
        }
    });
    let files = open_files();
    test();
    leaves_nothing(&files);
    drop(done);
    watchdog.join().expect("the watchdog ends");
}

/// Gives this thread, of a pool mostly, a subscriber for the rest of its life.
pub(crate) fn subscribe(subscriber: &tracing::Dispatch) {
    thread_local! {
        static GUARD: RefCell<Option<tracing::dispatcher::DefaultGuard>> = const { RefCell::new(None) };
    }
    GUARD.with_borrow_mut(|guard| {
        // In this order: a guard brings back what was there before it.
        drop(guard.take());
        *guard = Some(tracing::dispatcher::set_default(subscriber));
    });
}

/// Does what several tests need once, such as building a program, when no test runs: without the
/// watchdog, since it may take long.
pub(crate) fn prepare<T>(work: impl FnOnce() -> T) -> T {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Threads and processes end soon after their work; what is left after this long is left for good.
const SETTLING: Duration = Duration::from_secs(10);

/// Between two looks at something that others bring about: they need the processor for it.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

fn leaves_nothing(files_before: &BTreeSet<String>) {
    let end = Instant::now() + SETTLING;
    loop {
        let threads = threads_of_ours();
        let files: Vec<_> = open_files().difference(files_before).cloned().collect();
        let children = children();
        if threads.is_empty() && files.is_empty() && children.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "left behind: threads {threads:?}, files {files:?}, children {children:?}"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The names of the threads of this process that pools and runtimes have started, a pool of processes
/// among them: `pool-3-workers`, `pool-3-results` and `pool-3-callbacks`, cut to 15 bytes. The timer
/// keeps its two threads.
pub(crate) fn threads_of_ours() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("pool-") || name.starts_with("tokio-"))
        .collect()
}

/// The open files of this process, but for its own program, which is opened once to be started as
/// workers.
fn open_files() -> BTreeSet<String> {
    let program = std::env::current_exe().expect("this program has a path");
    fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|file| {
            let file = file.ok()?;
            let target = fs::read_link(file.path()).ok()?;
            // Reading the folder opens it.
            (!target.starts_with("/proc") && target != program)
                .then(|| format!("{} -> {}", file.file_name().display(), target.display()))
        })
        .collect()
}

/// The processes whose parent is this one, dead ones included.
pub(crate) fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|process| fs::read_to_string(process.ok()?.path().join("stat")).ok())
        .filter(|stat| {
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1) == Some(own.as_str())
        })
        .collect()
}

/// An executor that behaviours are checked on.
pub(crate) trait Subject {
    type Executor: Executor;

    /// Many trivial tasks: more than any queue or ring holds, and few enough for a debug build.
    const MANY: usize = 1_000_000;

    fn with_workers(workers: usize) -> Self::Executor;
}

/// An executor whose tasks run beside who submits them, and are counted.
pub(crate) trait Pool: Subject {
    /// So often is a pool made where a race is looked for.
    const ROUNDS: usize;

    /// Within this time a task that is alone runs, with the start of its worker.
    const PROMPT: Duration = Duration::from_millis(500);

    fn stats(executor: &Self::Executor) -> Stats;
}

pub(crate) struct Threads;

impl Pool for Threads {
    const ROUNDS: usize = 200;

    fn stats(executor: &ThreadPoolExecutor) -> Stats {
        executor.stats()
    }
}

impl Subject for Threads {
    type Executor = ThreadPoolExecutor;

    fn with_workers(workers: usize) -> ThreadPoolExecutor {
        ThreadPoolExecutor::new(workers)
    }
}

pub(crate) struct Inline;

impl Subject for Inline {
    type Executor = InlineExecutor;

    fn with_workers(_workers: usize) -> InlineExecutor {
        InlineExecutor::new()
    }
}

pub(crate) struct Processes;

impl Pool for Processes {
    const ROUNDS: usize = 40;

    fn stats(executor: &ProcessPoolExecutor) -> Stats {
        executor.stats()
    }
}

impl Subject for Processes {
    type Executor = ProcessPoolExecutor;

    const MANY: usize = 200_000;

    fn with_workers(workers: usize) -> ProcessPoolExecutor {
        ProcessPoolExecutor::new(workers)
    }
}

/// Makes tests of behaviours that hold on every executor: `fn name<S: Subject>()`.
macro_rules! on_every_executor {
    ($($behaviour:ident),+ $(,)?) => {
        crate::harness::instantiate!(threads: crate::harness::Threads => $($behaviour),+);
        crate::harness::instantiate!(processes: crate::harness::Processes => $($behaviour),+);
        crate::harness::instantiate!(inline: crate::harness::Inline => $($behaviour),+);
    };
}

/// Makes tests of behaviours that hold on every executor whose tasks run beside who submits them:
/// `fn name<S: Pool>()`.
macro_rules! on_every_pool {
    ($($behaviour:ident),+ $(,)?) => {
        crate::harness::instantiate!(on_threads: crate::harness::Threads => $($behaviour),+);
        crate::harness::instantiate!(on_processes: crate::harness::Processes => $($behaviour),+);
    };
}

macro_rules! instantiate {
    ($module:ident: $subject:ty => $($behaviour:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $behaviour() {
                    let name = concat!(module_path!(), "::", stringify!($behaviour));
                    crate::harness::check(name, super::$behaviour::<$subject>);
                }
            )+
        }
    };
}

/// Makes tests of behaviours that are a matter of one executor, or of none: `fn name()`.
macro_rules! tests {
    ($($(#[$attribute:meta])* fn $name:ident() $body:block)+) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                crate::harness::check(
                    concat!(module_path!(), "::", stringify!($name)),
                    || $body,
                );
            }
        )+
    };
}

pub(crate) use {instantiate, on_every_executor, on_every_pool, tests};

/// A door that tasks wait at until it is opened. It counts who has come to it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// Comes to the gate, and waits until it is open.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no test panics here");
        state.0 += 1;
        changed.notify_all();
        while !state.1 {
            state = changed.wait(state).expect("no test panics here");
        }
    }

    /// Waits until so many have come.
    pub(crate) fn wait_for(&self, count: usize) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no test panics here");
        while state.0 < count {
            state = changed.wait(state).expect("no test panics here");
        }
    }

    pub(crate) fn arrived(&self) -> usize {
        self.0.0.lock().expect("no test panics here").0
    }

    pub(crate) fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().expect("no test panics here").1 = true;
        changed.notify_all();
    }
}

/// A pool of one worker that is busy until the gate is opened.
pub(crate) fn busy_pool() -> (ThreadPoolExecutor, Gate) {
    let pool = ThreadPoolExecutor::new(1);
    let gate = Gate::default();
    let inside = gate.clone();
    pool.spawn(move || inside.pass()).detach();
    gate.wait_for(1);
    (pool, gate)
}

/// A [`Gate`] that tasks of other processes can come to as well. Tasks get its [`Door`].
pub(crate) struct PathGate {
    directory: TempDir,
    /// The end of the pipe that lets everybody through, once it is open.
    opened: RefCell<Option<File>>,
}

/// The way to a gate, to be given to tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Door(PathBuf);

impl PathGate {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a directory for a gate");
        let pipe = directory.path().join("door");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe for a gate");
        File::create(directory.path().join("arrived")).expect("a list for a gate");
        Self {
            directory,
            opened: RefCell::new(None),
        }
    }

    pub(crate) fn door(&self) -> Door {
        Door(self.directory.path().to_owned())
    }

    /// The process ids of those that have come, in their order.
    pub(crate) fn arrivals(&self) -> Vec<u32> {
        self.door().arrivals()
    }

    pub(crate) fn arrived(&self) -> usize {
        self.arrivals().len()
    }

    pub(crate) fn wait_for(&self, count: usize) {
        eventually("so many come to the gate", || self.arrived() >= count);
    }

    /// Whoever waits, and whoever comes later, goes through.
    pub(crate) fn open(&self) {
        // For reading as well: so it does not wait for anybody who reads.
        let pipe = self.directory.path().join("door");
        let pipe = OpenOptions::new().read(true).write(true).open(pipe);
        *self.opened.borrow_mut() = Some(pipe.expect("the pipe is there"));
    }
}

impl Drop for PathGate {
    /// A test that fails leaves nobody waiting, so that it does not fail those after it.
    fn drop(&mut self) {
        self.open();
        if std::thread::panicking() {
            // Somebody may be on the way to the pipe.
            std::mem::forget(self.opened.take());
        }
    }
}

impl Door {
    /// Comes to the gate, and waits until it is open.
    pub(crate) fn pass(&self) {
        self.arrive();
        // Waits until somebody has opened it for writing.
        File::open(self.0.join("door")).expect("the gate is there");
    }

    /// The process ids of those that have come, in their order.
    pub(crate) fn arrivals(&self) -> Vec<u32> {
        let bytes = fs::read(self.0.join("arrived")).expect("the list is there");
        let pids = bytes.chunks_exact(4);
        pids.map(|pid| u32::from_le_bytes(pid.try_into().expect("four bytes")))
            .collect()
    }

    /// Only says that somebody came.
    pub(crate) fn arrive(&self) {
        let list = OpenOptions::new().append(true).open(self.0.join("arrived"));
        let pid = std::process::id().to_le_bytes();
        // Few bytes at the end of a file are written whole.
        list.and_then(|mut list| list.write_all(&pid))
            .expect("the gate is there");
    }
}

/// What a task does that waits at a gate.
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments of tasks are values"
)]
pub(crate) fn pass(door: Door) {
    door.pass();
}

/// A pool of one worker that is busy until the gate is opened.
pub(crate) fn busy<S: Subject>() -> (S::Executor, PathGate) {
    let pool = S::with_workers(1);
    let gate = PathGate::new();
    pool.submit(pass, gate.door()).detach();
    gate.wait_for(1);
    (pool, gate)
}

/// Drives a future on a runtime of its own, on the calling thread.
pub(crate) fn on_a_runtime<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// Waits until a condition holds that some other thread brings about soon.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + SETTLING;
    while !condition() {
        assert!(Instant::now() < end, "not within {SETTLING:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}
