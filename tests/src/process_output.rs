//! What workers write to stdout and stderr, where it is captured.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use concurrent_futures::{
    Executor, ProcessPoolExecutor, Shutdown, TaskOptions, WorkerState, WorkerStats,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::{Door, Gate, PathGate, eventually, pass, tests};

const TARGET: &str = "concurrent_futures::output";

/// An event of captured output.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    level: String,
    message: String,
    stream: String,
    worker: u64,
    task: Option<u64>,
    task_name: Option<String>,
    /// The name of the span that it is in.
    span: Option<String>,
}

type OnLine = Box<dyn FnMut(Line) + Send>;

/// What the subscriber does with a line. The pool's thread has no other subscriber than the global one.
static ON_LINE: Mutex<Option<OnLine>> = Mutex::new(None);
static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Recorder;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut line = Line {
            level: event.metadata().level().to_string(),
            span: context.event_span(event).map(|span| span.name().to_owned()),
            ..Line::default()
        };
        event.record(&mut line);
        let mut on_line = ON_LINE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match &mut on_line {
            Some(on_line) => on_line(line),
            None => LINES.lock().unwrap().push(line),
        }
        let mut place = ON_LINE.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = on_line;
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "stream" => value.clone_into(&mut self.stream),
            "task.name" => self.task_name = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "worker" => self.worker = value,
            "task.id" => self.task = Some(value),
            _ => {}
        }
    }
}

/// Other tests have no global subscriber, as far as they can see.
static IS_ON: AtomicBool = AtomicBool::new(false);

struct OfInterest;

impl<S> Filter<S> for OfInterest {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let is_of_interest = metadata.is_span() || metadata.target() == TARGET;
        IS_ON.load(Ordering::SeqCst) && is_of_interest
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match IS_ON.load(Ordering::SeqCst) {
            true => LevelFilter::INFO,
            false => LevelFilter::OFF,
        })
    }
}

/// Lines are recorded from now on, for as long as this lives.
struct Recording;

fn record() -> Recording {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Recorder.with_filter(OfInterest));
        tracing::subscriber::set_global_default(subscriber).expect("it is the only one");
    });
    IS_ON.store(true, Ordering::SeqCst);
    tracing::callsite::rebuild_interest_cache();
    LINES.lock().unwrap().clear();
    *ON_LINE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    Recording
}

/// Lines are given to `on_line` instead.
fn give_to(on_line: impl FnMut(Line) + Send + 'static) -> Recording {
    let recording = record();
    *ON_LINE.lock().unwrap() = Some(Box::new(on_line));
    recording
}

impl Drop for Recording {
    fn drop(&mut self) {
        *ON_LINE.lock().unwrap_or_else(PoisonError::into_inner) = None;
        IS_ON.store(false, Ordering::SeqCst);
        tracing::callsite::rebuild_interest_cache();
    }
}

fn lines() -> Vec<Line> {
    LINES.lock().unwrap().clone()
}

fn messages() -> Vec<String> {
    lines().into_iter().map(|line| line.message).collect()
}

fn capturing(workers: usize) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().max_workers(workers);
    builder
        .capture_output(true)
        .build()
        .expect("the options are valid")
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Every kind of byte, as long as asked for, with few ends of lines, and what looks like frames.
fn garbage(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 64);
    let mut number = 1_u64;
    while bytes.len() < length {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        match number >> 60 {
            0 => bytes.extend_from_slice(&[0; 32]),
            1 => bytes.extend_from_slice(&[1, 0, 0, 0, 8, 0, 0, 0]),
            2 => bytes.extend_from_slice(&[0xff, 0xfe, 0xc3, b'x', 0xe2, 0x82]),
            _ => bytes.extend_from_slice(&number.to_le_bytes()),
        }
    }
    bytes.truncate(length);
    bytes
}

fn write_garbage(length: usize) -> usize {
    let to_stderr = std::thread::spawn(move || std::io::stderr().write_all(&garbage(length)));
    std::io::stdout().write_all(&garbage(length)).unwrap();
    to_stderr.join().unwrap().unwrap();
    length
}

fn write_for_ever((): ()) {
    loop {
        println!("and on");
    }
}

/// Leaves processes behind that hold both streams: one that writes as long as it can, and a silent one.
fn daemonize((): ()) -> [u32; 2] {
    ["while echo more; do :; done", "sleep 1000"].map(|script| {
        // In a group of its own, so that it does not end with the worker.
        let mut daemon = Command::new("setsid");
        daemon
            .args(["sh", "-c", script])
            .spawn()
            .expect("there is a shell")
            .id()
    })
}

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).expect("a process id");
    Pid::from_raw(number).expect("a process id")
}

fn say(what: String) {
    println!("{what}");
}

fn fault((): ()) {
    eprintln!("about to touch nothing");
    // SAFETY: it is done to a process that is meant to die.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
}

fn die(how: String) -> Result<(), String> {
    for number in 0..30 {
        eprintln!("step {number} of {how}");
    }
    match how.as_str() {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "kill" => kill_self(),
        "panic" => panic!("in the task"),
        "hang" => loop {
            std::thread::park();
        },
        _ => Err(how),
    }
}

fn kill_self() -> ! {
    // SAFETY: it takes numbers.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("it is dead")
}

tests! {
    fn each_line_is_an_event_in_the_span_of_its_task_and_is_there_before_the_result() {
        let _recording = record();
        let pool = capturing(1);
        let named = pool.with(TaskOptions::new().name("resize"));
        let task = || {
            println!("to stdout");
            eprintln!("to stderr");
            std::process::id()
        };
        for round in 1..=20 {
            let future = tracing::info_span!("request").in_scope(|| named.submit(task, ()));
            let id = future.id();
            let pid = future.result().unwrap();
            let found = lines();
            assert_eq!(found.len(), 2 * round, "the lines are there with the result");
            let (out, err): (Vec<_>, Vec<_>) =
                found[2 * round - 2..].iter().partition(|line| line.stream == "stdout");
            let expected = |level: &str, stream: &str| Line {
                level: level.to_owned(),
                message: format!("to {stream}"),
                stream: stream.to_owned(),
                worker: u64::from(pid),
                task: Some(id.get()),
                task_name: Some("resize".to_owned()),
                span: Some("request".to_owned()),
            };
            assert_eq!(out, [&expected("INFO", "stdout")]);
            assert_eq!(err, [&expected("WARN", "stderr")]);
        }
        let rest = || std::io::read_to_string(std::io::stdin()).unwrap();
        assert_eq!(pool.submit(rest, ()).result().unwrap(), "", "the input is at its end");
    }

    fn what_a_task_has_not_ended_with_a_line_is_a_line_when_it_ends() {
        let _recording = record();
        let pool = capturing(1);
        pool.submit(|| print!("by std"), ()).result().unwrap();
        pool.submit(|| eprint!("by std, to stderr"), ()).result().unwrap();
        let by_c = || {
            // SAFETY: the format has no conversions, and ends with a NUL.
            unsafe { libc::printf(c"by C".as_ptr()) };
        };
        pool.submit(by_c, ()).result().unwrap();
        let by_program = || {
            Command::new("/bin/sh").args(["-c", "printf 'by a program'"]).status().unwrap();
        };
        pool.submit(by_program, ()).result().unwrap();
        pool.submit(|| println!(), ()).result().unwrap();
        pool.submit(|| (), ()).result().unwrap();
        assert_eq!(messages(), ["by std", "by std, to stderr", "by C", "by a program", ""]);
    }

    fn workers_that_write_at_the_same_time_are_told_apart() {
        let _recording = record();
        let pool = capturing(2);
        let task = |name: String| {
            for line in 0..50 {
                print!("{name} ");
                println!("{line}");
                eprintln!("{name} {line}");
            }
            print!("{name} end");
        };
        let tasks = 40;
        let futures: Vec<_> = (0..tasks)
            .map(|number| {
                let span = match number % 4 {
                    0 => tracing::info_span!("a"),
                    1 => tracing::info_span!("b"),
                    2 => tracing::info_span!("c"),
                    _ => tracing::info_span!("d"),
                };
                let name = ["a", "b", "c", "d"][number % 4].to_owned();
                span.in_scope(|| pool.submit(task, name))
            })
            .collect();
        futures.into_iter().for_each(|future| future.result().unwrap());
        let found = lines();
        assert_eq!(found.len(), tasks * 101);
        let mut of_task: HashMap<_, Vec<_>> = HashMap::new();
        for line in found {
            let span = line.span.expect("it is a task's");
            assert!(line.message.starts_with(&format!("{span} ")), "{} in {span}", line.message);
            of_task.entry((line.task, line.stream)).or_default().push(line.message);
        }
        assert_eq!(of_task.len(), tasks * 2);
        for ((_, stream), messages) in of_task {
            let numbers = messages.iter().map(|message| message.split(' ').nth(1).unwrap());
            let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
            assert!(numbers.take(50).eq(expected), "the lines of {stream} are in order");
        }
    }

    fn ten_megabytes_of_anything_on_both_streams_harm_no_result() {
        let _recording = record();
        let pool = capturing(2);
        let length = 10 << 20;
        let flood = pool.submit(write_garbage, length);
        let large = vec![7_u8; 1 << 20];
        for _ in 0..20 {
            assert_eq!(pool.submit(|bytes: Vec<u8>| bytes, large.clone()).result().unwrap(), large);
        }
        assert_eq!(flood.result().unwrap(), length);
        let expected = garbage(length);
        let ends = expected.iter().filter(|byte| **byte == b'\n').count();
        for stream in ["stdout", "stderr"] {
            let found: Vec<_> = lines().into_iter().filter(|line| line.stream == stream).collect();
            assert!(found.len() > ends, "{} lines of {ends}", found.len());
            // A byte that is no UTF-8 may become three.
            assert!(found.iter().all(|line| line.message.len() <= 3 * (16 << 10)));
            let ascii = |bytes: &[u8]| bytes.iter().filter(|byte| byte.is_ascii_graphic()).count();
            let got: usize = found.iter().map(|line| ascii(line.message.as_bytes())).sum();
            assert_eq!(got, ascii(&expected), "nothing is lost of {stream}");
        }
    }

    fn a_line_of_five_megabytes_becomes_several() {
        let _recording = record();
        let pool = capturing(1);
        let line = || {
            println!("{}", "ä".repeat(5 << 19));
            println!("{}", "x".repeat(16 << 10));
            println!("next");
        };
        pool.submit(line, ()).result().unwrap();
        let found = messages();
        let (long, short) = found.split_at(found.len() - 2);
        assert!(long.iter().all(|piece| piece.len() <= 16 << 10));
        assert_eq!(long.concat(), "ä".repeat(5 << 19));
        assert_eq!(short, ["x".repeat(16 << 10), "next".to_owned()]);
    }

    fn the_end_of_a_line_that_was_cut_is_no_line() {
        let _recording = record();
        let pool = capturing(1);
        let gate = PathGate::new();
        let task = |door: Door| {
            print!("{}", "x".repeat(16 << 10));
            std::io::stdout().flush().unwrap();
            door.pass();
            println!();
            println!("\nnext");
        };
        let future = pool.submit(task, gate.door());
        eventually("as much as a line may have is not waited for", || lines().len() == 1);
        gate.open();
        future.result().unwrap();
        assert_eq!(messages()[1..], ["", "next"]);
    }

    fn an_error_knows_the_last_that_its_task_has_written_to_stderr() {
        let _recording = record();
        let builder = ProcessPoolExecutor::builder().max_workers(1).capture_output(true);
        // The last that a panic writes is its trace otherwise.
        let pool = builder.env("RUST_BACKTRACE", "0").build().unwrap();
        let quick = pool.with(TaskOptions::new().run_timeout(Duration::from_millis(300)));
        for how in ["abort", "exit", "kill", "panic", "error", "hang"] {
            let error = quick.try_submit(die, how.to_owned()).result().unwrap_err();
            let tail = error.stderr_tail().unwrap_or_else(|| panic!("{how} has a tail: {error}"));
            let tail: Vec<_> = tail.lines().collect();
            assert!(tail.len() <= 20 && tail.len() > 10, "{tail:?}");
            let own = tail.iter().filter(|line| line.contains(&format!("of {how}"))).count();
            let last = format!("step 29 of {how}");
            assert!(tail.contains(&last.as_str()), "{tail:?}");
            assert!(own == tail.len() || how == "panic", "{tail:?}");
            assert!(!error.to_string().contains("step"), "{error}");
            assert!(format!("{error:?}").contains(&last), "{error:?}");
        }
        let error = pool.submit_fn(fault, ()).result().unwrap_err();
        assert_eq!(error.stderr_tail(), Some("about to touch nothing"));
        // What a task before has written is not the next one's.
        assert!(pool.submit(|| eprintln!("before"), ()).result().is_ok());
        let silent = pool.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
        assert!(silent.is_worker_lost());
        assert_eq!(silent.stderr_tail(), None);
    }

    fn an_aborted_task_has_a_tail_too() {
        let _recording = record();
        let pool = capturing(1);
        let gate = PathGate::new();
        let task = |door: Door| {
            eprintln!("waiting");
            door.pass();
        };
        let future = pool.submit(task, gate.door());
        gate.wait_for(1);
        future.abort();
        let error = future.result().unwrap_err();
        assert!(error.is_aborted());
        assert_eq!(error.stderr_tail(), Some("waiting"));
    }

    fn without_capture_errors_have_no_tail() {
        let pool = ProcessPoolExecutor::new(1);
        let task = || -> u8 {
            eprintln!("(a test writes this line)");
            std::process::abort()
        };
        assert_eq!(pool.submit(task, ()).result().unwrap_err().stderr_tail(), None);
    }

    fn what_programs_print_that_a_task_starts_is_the_tasks() {
        let _recording = record();
        let pool = capturing(1);
        let task = || Command::new("/bin/sh").args(["-c", "echo one; echo two >&2"]).status().is_ok();
        let future = tracing::info_span!("request").in_scope(|| pool.submit(task, ()));
        assert!(future.result().unwrap());
        let mut found = lines();
        found.sort_by_key(|line| line.stream.clone());
        assert_eq!((found[0].message.as_str(), found[1].message.as_str()), ("two", "one"));
        assert!(found.iter().all(|line| line.span.as_deref() == Some("request")));
    }

    fn what_is_written_while_no_task_runs_is_no_tasks() {
        let _recording = record();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .capture_output(true)
            .initializer(|| print!("by the initializer"), ())
            .build()
            .unwrap();
        let gate = PathGate::new();
        let leaves_thread = |door: Door| {
            println!("by the task");
            std::thread::spawn(move || {
                door.pass();
                println!("by what it has left behind");
            });
        };
        let request = tracing::info_span!("request");
        request.in_scope(|| pool.submit(leaves_thread, gate.door())).result().unwrap();
        gate.wait_for(1);
        gate.open();
        eventually("the thread has written", || lines().len() == 3);
        let spans: Vec<_> = lines().into_iter().map(|line| (line.message, line.span, line.task.is_some())).collect();
        let request = Some("request".to_owned());
        assert_eq!(
            spans,
            [
                ("by the initializer".to_owned(), None, false),
                ("by the task".to_owned(), request, true),
                ("by what it has left behind".to_owned(), None, false),
            ],
        );
    }

    fn items_of_a_map_write_in_the_span_of_the_map() {
        let _recording = record();
        let pool = capturing(2);
        let item = |number: u32| {
            println!("item {number}");
            eprint!("half a line of {number}");
            if number == 33 {
                std::process::abort();
            }
            number
        };
        let results: Vec<_> = tracing::info_span!("all")
            .in_scope(|| pool.mapping().chunk_size(10).map(item, 0..50).into_iter().collect());
        let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].index(), Some(33));
        let tail = errors[0].stderr_tail().expect("it has written");
        assert!(tail.contains("half a line of 33"), "{tail}");
        let found = lines();
        assert!(found.iter().all(|line| line.span.as_deref() == Some("all")));
        let mut items: Vec<_> = found.iter().filter_map(|line| line.message.strip_prefix("item ")).collect();
        items.sort_by_key(|number| number.parse::<u32>().unwrap());
        let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(items, expected);
    }

    fn each_try_of_a_task_writes_in_its_span() {
        let _recording = record();
        let pool = capturing(1);
        let thrice = pool.with(TaskOptions::new().retries(2));
        let task = || -> u8 {
            eprintln!("one more");
            std::process::abort()
        };
        let future = tracing::info_span!("request").in_scope(|| thrice.submit(task, ()));
        let error = future.result().unwrap_err();
        assert_eq!(error.stderr_tail(), Some("one more"));
        let found = lines();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|line| line.span.as_deref() == Some("request")));
    }

    fn a_process_that_is_left_behind_with_the_streams_holds_up_nothing() {
        let _recording = give_to(drop);
        let pool = capturing(1);
        let daemons = pool.submit_fn(daemonize, ()).result().unwrap();
        for number in 0..20 {
            assert_eq!(pool.submit(u64::pow, (number, 1)).result().unwrap(), number);
        }
        let error = pool.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
        assert!(error.is_worker_lost());
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        pool.blocking_shutdown(Shutdown::new()).unwrap();
        for daemon in daemons {
            // The one that writes has ended when nobody read any more.
            let _ = kill_process_group(pid(daemon), Signal::KILL);
        }
    }

    fn a_task_that_closes_its_streams_harms_nobody() {
        let _recording = record();
        let pool = capturing(1);
        let close = || {
            print!("before");
            std::io::stdout().flush().unwrap();
            // SAFETY: it is done to a process that is meant to be broken.
            unsafe { (libc::close(1), libc::close(2)) };
        };
        pool.submit(close, ()).result().unwrap();
        pool.submit(say, "to nobody".to_owned()).detach();
        assert_eq!(pool.submit(u64::pow, (2, 10)).result().unwrap(), 1024);
        assert_eq!(messages(), ["before"]);
    }

    fn a_subscriber_that_panics_or_submits_harms_nobody() {
        let pool = capturing(1);
        {
            let _recording = give_to(|_| panic!("a subscriber that panics"));
            pool.submit(say, "any".to_owned()).result().unwrap();
        }
        let inner = pool.clone();
        let _recording = give_to(move |line| {
            LINES.lock().unwrap().push(line.clone());
            if line.message.len() < 5 {
                inner.submit(say, line.message + "!").detach();
            }
        });
        pool.submit(say, "a".to_owned()).result().unwrap();
        eventually("all have written", || lines().len() == 5);
        drop(ON_LINE.lock().unwrap().take());
    }

    fn a_slow_subscriber_makes_the_writer_wait_and_does_not_hide_deaths() {
        let gate = Gate::default();
        let inside = gate.clone();
        let _recording = give_to(move |_| inside.pass());
        let pool = capturing(2);
        let waiting = PathGate::new();
        pool.submit(pass, waiting.door()).detach();
        waiting.wait_for(1);
        let before = resident();
        let flood = pool.submit_fn(write_for_ever, ());
        gate.wait_for(1);
        let worker = waiting.arrivals()[0];
        // Nobody takes a line, and the other worker dies: it is waited for and replaced.
        kill_process(pid(worker), Signal::KILL).unwrap();
        let is_gone = || pool.worker_stats().iter().all(|other| other.pid() != worker);
        eventually("the death is noticed", is_gone);
        pool.submit(pass, waiting.door()).detach();
        waiting.wait_for(2);
        waiting.open();
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more");
        flood.abort();
        gate.open();
        assert!(flood.result().unwrap_err().is_aborted());
    }

    fn tasks_wait_while_the_log_is_far_behind_so_that_memory_does_not_grow() {
        let gate = Gate::default();
        let inside = gate.clone();
        let _recording = give_to(move |_| inside.pass());
        let pool = capturing(2);
        let crash = |length: usize| -> u8 {
            std::io::stderr().write_all(&vec![b'x'; length]).unwrap();
            std::process::abort()
        };
        let write = |length: usize| std::io::stdout().write_all(&vec![b'x'; length]).unwrap();
        pool.submit(say, "one".to_owned()).detach();
        gate.wait_for(1);
        let before = resident();
        let lost: Vec<_> = (0..60).map(|_| pool.submit(crash, 60_000)).collect();
        let futures: Vec<_> = (0..400).map(|_| pool.submit(write, 60_000)).collect();
        // 1 MiB may wait, and what the workers have written then.
        eventually("there is enough", || pool.stats().finished() >= 18);
        std::thread::sleep(Duration::from_millis(200));
        assert!(pool.stats().finished() <= 20, "{:?}", pool.stats());
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more");
        gate.open();
        for future in lost {
            let error = future.result().unwrap_err();
            assert_eq!(error.stderr_tail().map(str::len), Some(4 << 10));
        }
        futures.into_iter().for_each(|future| future.result().unwrap());
    }

    fn a_pool_that_is_ended_while_its_workers_write_leaves_nothing() {
        let _recording = give_to(drop);
        for round in 0..10 {
            let pool = capturing(2);
            let floods = [0, 1].map(|_| pool.submit_fn(write_for_ever, ()));
            eventually("both write", || {
                let is_busy = |worker: &WorkerStats| worker.state() == WorkerState::Busy;
                pool.worker_stats().iter().filter(|worker| is_busy(worker)).count() == 2
            });
            if round % 2 == 0 {
                pool.kill_workers();
            } else {
                pool.terminate_workers();
            }
            for flood in floods {
                let error = flood.result().unwrap_err();
                assert!(error.is_aborted() || error.is_cancelled(), "{error}");
            }
            pool.blocking_shutdown(Shutdown::new()).unwrap();
        }
    }

    fn what_is_written_beside_a_broadcast_stays_with_its_own_task() {
        let _recording = record();
        let pool = capturing(1);
        let gate = PathGate::new();
        let fail = |door: Door| -> Result<(), String> {
            eprintln!("before");
            door.pass();
            eprintln!("after");
            Err("as it should".to_owned())
        };
        let failing = pool.with(TaskOptions::new().name("first")).try_submit(fail, gate.door());
        gate.wait_for(1);
        let told = tracing::info_span!("told").in_scope(|| pool.broadcast(say, "told".to_owned()));
        gate.open();
        let error = failing.result().unwrap_err();
        assert_eq!(error.stderr_tail(), Some("before\nafter"));
        for future in told {
            future.result().unwrap();
        }
        let found = lines();
        let of_whom = |line: &Line| (line.message.clone(), line.task.is_some(), line.span.clone());
        let expected = [("before", None), ("after", None), ("told", Some("told".to_owned()))];
        let expected = expected.map(|(message, span)| (message.to_owned(), true, span));
        assert_eq!(found.iter().map(of_whom).collect::<Vec<_>>(), expected);
        assert_eq!(found[0].task, found[1].task);
        assert_ne!(found[1].task, found[2].task);
    }
}
