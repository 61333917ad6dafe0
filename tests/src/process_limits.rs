//! Limits of worker processes: what happens to the task that meets one, and that nothing else does.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use concurrent_futures::{
    BuildErrorKind, Executor, Observer, Outcome, ProcessPoolBuilder, ProcessPoolExecutor,
    Rejection, Run, TaskError, TaskInfo, TaskOptions, ThreadPoolExecutor, WorkerExit,
};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::harness::{Door, PathGate, pass, subscribe, tests};

const MIB: usize = 1 << 20;

fn builder() -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().max_workers(1)
}

fn one(builder: ProcessPoolBuilder) -> ProcessPoolExecutor {
    builder.build().expect("the options are right")
}

/// The text of an error and of its causes.
fn chain(error: &TaskError) -> String {
    let first: Option<&dyn Error> = Some(error);
    let causes = std::iter::successors(first, |error| (*error).source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn fill(bytes: usize) -> usize {
    vec![1_u8; bytes].len()
}

fn fill_bit_by_bit(bytes: usize) -> usize {
    let kept: Vec<Vec<u8>> = (0..bytes / 100_000).map(|_| vec![1; 100_000]).collect();
    kept.iter().map(Vec::len).sum()
}

fn follow_what_malloc_gives(bytes: usize) {
    // SAFETY: not sound, as programs are that do not look at what they get; it is to end the process.
    unsafe { libc::memset(libc::malloc(bytes), 1, 1) };
}

fn abort() {
    std::process::abort()
}

fn panic_twice() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let _bomb = Bomb;
    panic!("once");
}

fn shell(script: String) -> String {
    let output = Command::new("/bin/sh").args(["-c", &script]).output();
    String::from_utf8(output.expect("there is a shell").stdout).expect("text")
}

fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

/// The soft and the hard limit, of a line of `/proc/self/limits`.
fn limit_in(limits: &str, name: &str) -> (String, String) {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut fields = line.expect("there is such a line").split_whitespace();
    let mut next = || fields.next().expect("two limits").to_owned();
    (next(), next())
}

/// What a process started by the shell is limited to.
fn limits_of_a_program(pool: &ProcessPoolExecutor) -> String {
    let script = "cat /proc/self/limits".to_owned();
    pool.submit(shell, script).result().expect("it runs")
}

/// The priority in a `stat` file of `/proc`.
fn priority_in(stat: &str) -> i32 {
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let mut fields = after_name.split_whitespace();
    fields
        .nth(16)
        .expect("a priority")
        .parse()
        .expect("a number")
}

fn own_priority() -> i32 {
    priority_in(&std::fs::read_to_string("/proc/thread-self/stat").expect("it is there"))
}

/// Keeps so much memory for ever; gives the process, and how often it has done so.
fn leak(bytes: usize) -> (u32, usize) {
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    vec![1_u8; bytes].leak();
    let times = TIMES.fetch_add(1, Ordering::Relaxed) + 1;
    (std::process::id(), times)
}

/// How often each process has leaked.
fn most_of_each(calls: &[(u32, usize)]) -> BTreeMap<u32, usize> {
    let mut most: BTreeMap<u32, usize> = BTreeMap::new();
    for (pid, times) in calls {
        let known = most.entry(*pid).or_default();
        *known = (*known).max(*times);
    }
    most
}

/// Counts the events of the level `INFO`, on the pool's threads that the observer meets.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<usize>>);

impl<S: tracing::Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let is_quiet = *event.metadata().level() == tracing::Level::INFO;
        *self.0.lock().expect("no test panics here") += usize::from(is_quiet);
    }
}

impl Observer for Messages {
    fn finished(&self, _: TaskInfo<'_>, _: Outcome, _: Option<Run>) {
        let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(self.clone()));
        subscribe(&dispatch);
    }
}

tests! {
    fn a_task_beyond_the_memory_limit_is_lost_and_says_why_and_its_neighbour_goes_on() {
        let pool = ProcessPoolExecutor::builder().max_workers(2).memory_limit(256 << 20).build().unwrap();
        let gate = PathGate::new();
        let neighbour = pool.submit(pass, gate.door());
        gate.wait_for(1);
        for hungry in [fill as fn(usize) -> usize, fill_bit_by_bit] {
            let error = pool.submit_fn(hungry, 400 * MIB).result().unwrap_err();
            assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(libc::SIGABRT)));
            assert!(error.is_out_of_memory_likely(), "{error}");
            let text = error.to_string();
            assert!(text.contains("out of memory") && text.contains("memory_limit is 268435456 bytes"), "{text}");
            assert_eq!(pool.submit(fill, MIB).result().unwrap(), MIB);
        }
        gate.open();
        neighbour.result().unwrap();
    }

    fn a_null_pointer_that_was_to_be_memory_is_a_lack_of_memory() {
        let pool = one(builder().memory_limit(256 << 20));
        let error = pool.submit(follow_what_malloc_gives, 400 * MIB).result().unwrap_err();
        assert_eq!(error.worker_exit(), Some(WorkerExit::Signal(libc::SIGSEGV)));
        assert!(error.is_out_of_memory_likely(), "{error}");
    }

    fn an_allocation_that_no_system_grants_is_a_lack_of_memory_without_a_limit_too() {
        // A backtrace is printed by many calls of the system, which hide what the allocation has met.
        let pool = one(builder().env_remove("RUST_BACKTRACE"));
        let error = pool.submit(fill, 1 << 46).result().unwrap_err();
        assert!(error.is_out_of_memory_likely(), "{error}");
        assert!(error.to_string().contains("out of memory: the system refused it some"), "{error}");
    }

    fn an_end_that_has_other_reasons_is_no_lack_of_memory() {
        let exit = || -> () { std::process::exit(3) };
        let fault = || {
            // SAFETY: it takes a number.
            unsafe { libc::raise(libc::SIGSEGV) };
        };
        let limited = one(builder().memory_limit(256 << 20));
        let lost = [
            one(builder()).submit(abort, ()).result().unwrap_err(),
            limited.submit(exit, ()).result().unwrap_err(),
            limited.submit(fault, ()).result().unwrap_err(),
            limited.submit(panic_twice, ()).result().unwrap_err(),
        ];
        for error in lost {
            assert!(error.is_worker_lost() && !error.is_out_of_memory_likely(), "{error}");
            assert!(!error.to_string().contains("out of memory"), "{error}");
        }
    }

    fn an_abort_without_a_panic_is_a_likely_lack_of_memory_where_that_is_limited() {
        let limited = one(builder().memory_limit(256 << 20));
        let error = limited.submit(abort, ()).result().unwrap_err();
        assert!(error.is_out_of_memory_likely(), "{error}");
        assert!(error.to_string().contains("probably out of memory"), "{error}");
    }

    fn the_kernels_out_of_memory_killer_is_named_where_it_was_at_work() {
        crate::process_life::in_little_memory("out-of-memory");
    }

    fn an_item_beyond_the_memory_limit_is_the_only_one_that_is_lost() {
        let pool = one(builder().memory_limit(256 << 20));
        let sizes = [MIB, MIB, 400 * MIB, MIB, MIB];
        let mapping = pool.mapping().chunk_size(sizes.len()).window(sizes.len());
        let results: Vec<_> = mapping.map(fill, sizes).into_iter().collect();
        for (n, result) in results.into_iter().enumerate() {
            if n != 2 {
                assert_eq!(result.unwrap(), MIB);
                continue;
            }
            let error = result.unwrap_err();
            assert!(error.is_out_of_memory_likely(), "{error}");
            let text = error.to_string();
            assert!(text.starts_with("item 2 of the task `conformance::process_limits::fill` lost"), "{text}");
        }
    }

    fn the_text_of_a_loss_names_the_task_or_else_its_function() {
        let pool = one(builder());
        let text = |future: concurrent_futures::TaskFuture<()>| future.result().unwrap_err().to_string();
        let unnamed = text(pool.submit(abort, ()));
        assert!(unnamed.starts_with("the task `conformance::process_limits::abort` lost"), "{unnamed}");
        let named = pool.with(TaskOptions::new().name("crash"));
        assert!(text(named.submit(abort, ())).starts_with("the task `crash` lost"));
        let pointer = text(pool.submit_fn(|()| abort(), ()));
        assert!(pointer.starts_with("the task `fn(())` lost"), "{pointer}");
    }

    fn a_loss_in_a_worker_of_a_worker_keeps_what_is_known_of_it() {
        let inner = || -> Result<usize, TaskError> {
            let pool = ProcessPoolExecutor::builder().max_workers(1).memory_limit(128 << 20);
            pool.build().unwrap().submit(fill, 400 * MIB).result()
        };
        let error = one(builder()).try_submit(inner, ()).result().unwrap_err();
        assert!(chain(&error).contains("`conformance::process_limits::fill`"), "{}", chain(&error));
    }

    fn the_memory_limit_holds_for_the_initializer() {
        let pool = one(builder().memory_limit(256 << 20).initializer(|bytes: usize| assert!(fill(bytes) > 0), 400 * MIB));
        let error = pool.submit(fill, 1).result().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::NoWorker));
        assert!(chain(&error).contains("out of memory"), "{}", chain(&error));
    }

    fn limits_hold_for_programs_that_tasks_start_and_for_nobody_else() {
        let before = shell("cat /proc/self/limits".to_owned());
        let limited = one(builder().memory_limit(300 << 20).file_size_limit(1 << 30).descriptor_limit(64).nice(1));
        let seen = limits_of_a_program(&limited);
        let both = |limit: u64| (limit.to_string(), limit.to_string());
        assert_eq!(limit_in(&seen, "Max data size"), both(300 << 20));
        assert_eq!(limit_in(&seen, "Max file size"), both(1 << 30));
        assert_eq!(limit_in(&seen, "Max open files"), both(64));
        let free = one(builder());
        for elsewhere in [shell("cat /proc/self/limits".to_owned()), limits_of_a_program(&free)] {
            assert_eq!(elsewhere, before);
        }
        assert_eq!(free.submit(own_priority, ()).result().unwrap(), own_priority());
    }

    fn a_limit_that_the_system_refuses_breaks_the_pool_and_says_which() {
        let pool = one(builder().descriptor_limit(1 << 40));
        for _ in 0..2 {
            let error = pool.submit(fill, 1).result().unwrap_err();
            assert_eq!(error.rejection(), Some(Rejection::Broken));
            let text = chain(&error);
            assert!(text.contains("setting the limits of a worker process failed"), "{text}");
            assert!(text.contains("descriptor_limit(1099511627776): "), "{text}");
        }
    }

    fn a_memory_limit_that_no_worker_fits_into_breaks_the_pool() {
        let pool = one(builder().memory_limit(1 << 20));
        let error = pool.submit(fill, 1).result().unwrap_err();
        assert_eq!(error.rejection(), Some(Rejection::Broken));
        assert!(chain(&error).contains("memory_limit(1048576): "), "{}", chain(&error));
    }

    fn limits_that_no_worker_could_work_with_are_refused_at_once() {
        let wrong = [
            (builder().memory_limit(0), "memory_limit"),
            (builder().max_memory_per_worker(0), "max_memory_per_worker"),
            (builder().cpus_per_worker(0), "cpus_per_worker"),
            (builder().descriptor_limit(31), "descriptor_limit"),
        ];
        for (builder, name) in wrong {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), BuildErrorKind::InvalidOption, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(one(builder().descriptor_limit(32)).submit(fill, 1).result().unwrap(), 1);
    }

    fn workers_that_leak_are_replaced_between_tasks_with_one_quiet_message_each() {
        let messages = Messages::default();
        let pool = one(builder().max_memory_per_worker(300 << 20).observer(Arc::new(messages.clone())));
        let futures: Vec<_> = (0..100).map(|_| pool.submit(leak, 10 * MIB)).collect();
        let calls: Vec<_> = futures.into_iter().map(|future| future.result().unwrap()).collect();
        let most = most_of_each(&calls);
        // Of the last one nobody knows.
        let replaced = &calls[..calls.len() - calls.last().unwrap().1];
        let replaced = most_of_each(replaced);
        assert!(replaced.len() >= 2, "{most:?}");
        for times in replaced.values() {
            // A look is at most 5 ms old.
            assert!((25..40).contains(times), "{most:?}");
        }
        assert_eq!(*messages.0.lock().unwrap(), replaced.len(), "{most:?}");
    }

    fn what_lies_ready_at_a_worker_that_leaks_runs_elsewhere_in_its_order() {
        fn wait_and_leak(door: Door) -> u32 {
            door.pass();
            leak(200 * MIB).0
        }
        fn note(list: String, n: u8) -> u32 {
            let list = File::options().append(true).open(list);
            list.unwrap().write_all(&[n]).unwrap();
            std::process::id()
        }
        let pool = one(builder().max_memory_per_worker(100 << 20));
        // So quick that more are laid ready afterwards.
        for future in (0..200).map(|_| pool.submit(fill, 1)).collect::<Vec<_>>() {
            future.result().unwrap();
        }
        let gate = PathGate::new();
        let leaks = pool.submit(wait_and_leak, gate.door());
        gate.wait_for(1);
        let list = tempfile::NamedTempFile::new().unwrap();
        let path = list.path().to_str().unwrap().to_owned();
        let behind: Vec<_> = (0..60).map(|n| pool.submit(note, (path.clone(), n))).collect();
        gate.open();
        let leaked = leaks.result().unwrap();
        for future in behind {
            assert_ne!(future.result().unwrap(), leaked);
        }
        assert_eq!(std::fs::read(list.path()).unwrap(), (0..60).collect::<Vec<u8>>());
    }

    fn a_worker_that_leaks_is_replaced_between_the_items_of_a_chunk() {
        let pool = one(builder().max_memory_per_worker(100 << 20));
        let mapping = pool.mapping().chunk_size(50).window(50);
        let calls: Result<Vec<_>, _> = mapping.map(leak, vec![10 * MIB; 50]).into_iter().collect();
        let calls = calls.unwrap();
        assert_eq!(calls.len(), 50);
        let most = most_of_each(&calls);
        assert!(most.len() >= 3 && most.values().all(|times| *times < 20), "{most:?}");
    }

    fn a_worker_that_keeps_nothing_is_kept() {
        let pool = one(builder().max_memory_per_worker(100 << 20));
        let pids: Vec<_> = (0..20)
            .map(|_| pool.submit(|| { fill(200 * MIB); std::process::id() }, ()))
            .map(|future| future.result().unwrap())
            .collect();
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    }

    fn workers_are_told_their_share_of_the_cpus_and_default_sizes_follow() {
        let sizes = || {
            let threads = ThreadPoolExecutor::builder().build().unwrap().max_workers();
            let processes = ProcessPoolExecutor::builder().build().unwrap().max_workers();
            (threads, processes)
        };
        let (_, all) = sizes();
        let of = |builder: ProcessPoolBuilder| one(builder).submit(sizes, ()).result().unwrap();
        assert_eq!(of(builder()), ((all + 4).min(32), all));
        assert_eq!(of(builder().max_workers(all + 1)), (5, 1));
        assert_eq!(of(builder().cpus_per_worker(7)), (11, 7));
        assert_eq!(sizes().1, all);
    }

    fn libraries_are_told_the_share_unless_the_user_has_said_something() {
        let names = [
            "RAYON_NUM_THREADS",
            "TOKIO_WORKER_THREADS",
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
        ];
        let pool = one(builder()
            .cpus_per_worker(6)
            .env("OMP_NUM_THREADS", "2")
            .env_remove("MKL_NUM_THREADS"));
        let seen = names.map(|name| pool.submit(variable, name.to_owned()).result().unwrap());
        let expected = [Some("6"), Some("6"), Some("2"), Some("6"), None];
        assert_eq!(seen.each_ref().map(Option::as_deref), expected);
        assert!(names.iter().all(|name| std::env::var(name).is_err()), "they are not set here");
    }

    fn in_a_pool_inside_of_a_worker_the_users_words_count_and_the_outer_pools_do_not() {
        let inside = |name: String| {
            let pool = ProcessPoolExecutor::new(3);
            pool.submit(variable, name).result().unwrap()
        };
        let outer = one(builder().cpus_per_worker(6).env("OMP_NUM_THREADS", "5"));
        let seen = |name: &str| outer.submit(inside, name.to_owned()).result().unwrap();
        assert_eq!(seen("RAYON_NUM_THREADS").as_deref(), Some("2"));
        assert_eq!(seen("OMP_NUM_THREADS").as_deref(), Some("5"));
    }

    fn a_worker_is_nicer_by_what_was_said() {
        let own = own_priority();
        let pool = one(builder().nice(3));
        let task = pool.submit(|| (std::process::id(), own_priority()), ()).result().unwrap();
        assert_eq!(task.1, (own + 3).min(19));
        let thread = || std::thread::spawn(own_priority).join().unwrap();
        assert_eq!(pool.submit(thread, ()).result().unwrap(), task.1);
        let shown = std::fs::read_to_string(format!("/proc/{}/stat", task.0)).unwrap();
        assert_eq!(priority_in(&shown), task.1);
        assert_eq!(own_priority(), own);
    }

    fn a_pool_that_may_not_be_less_nice_is_broken_and_says_so() {
        crate::process_life::hardship("less-nice");
    }

    fn a_file_beyond_the_limit_is_an_error_of_the_write_and_no_death() {
        let write = |path: String, bytes: usize| -> (u32, Option<i32>) {
            let result = File::create(path).unwrap().write_all(&vec![1; bytes]);
            (std::process::id(), result.err().and_then(|error| error.raw_os_error()))
        };
        let pool = one(builder().file_size_limit(100_000));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let (pid, error) = pool.submit(write, (path.clone(), 100_001)).result().unwrap();
        assert_eq!(error, Some(libc::EFBIG));
        assert_eq!(file.as_file().metadata().unwrap().len(), 100_000);
        assert_eq!(pool.submit(write, (path, 100_000)).result().unwrap(), (pid, None));
        let status = pool.submit(shell, "cat /proc/self/status".to_owned()).result().unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_eq!(ignored >> (libc::SIGXFSZ - 1) & 1, 0, "programs have the default");
    }

    fn a_result_beyond_the_limit_of_files_is_the_error_of_its_task_and_the_worker_stays() {
        let give = |bytes: usize| vec![1_u8; bytes];
        let pool = one(builder().file_size_limit(200_000));
        let pid = pool.submit(std::process::id, ()).result().unwrap();
        let error = pool.submit(give, 300_000).result().unwrap_err();
        assert!(error.is_codec(), "{error}");
        assert!(chain(&error).contains("RLIMIT_FSIZE"), "{}", chain(&error));
        assert_eq!(pool.submit(give, 80_000).result().unwrap().len(), 80_000);
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
    }

    fn descriptors_beyond_the_limit_are_an_error_in_the_task_and_the_worker_stays() {
        let exhaust = || {
            let mut files = Vec::new();
            let error: io::Error = loop {
                match File::open("/dev/null") {
                    Ok(file) => files.push(file),
                    Err(error) => break error,
                }
            };
            (std::process::id(), files.len(), error.raw_os_error())
        };
        let pool = one(builder().descriptor_limit(40));
        let (pid, opened, error) = pool.submit(exhaust, ()).result().unwrap();
        assert_eq!(error, Some(libc::EMFILE));
        assert!((20..40).contains(&opened), "{opened}");
        // Arguments and results of this size travel as descriptors.
        let double = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
        assert_eq!(pool.submit(double, vec![1; MIB]).result().unwrap().len(), 2 * MIB);
        assert_eq!(pool.submit(std::process::id, ()).result().unwrap(), pid);
    }
}
