//! The two forms of the demo, and what is different between them.

use std::sync::mpsc::channel;
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::{Demo, EXECUTORS, Ended, WRONG, args, line, serve};

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn as_completed_goes_on_after_the_number_that_fails() {
    for executor in EXECUTORS {
        let Ended {
            code,
            stdout,
            stderr,
        } = Demo::run(&["--executor", executor]);
        let mut expected: Vec<String> = (0..100).filter(|&number| number != 50).map(line).collect();
        expected.push(WRONG.to_owned());
        assert_eq!(sorted(stdout), sorted(expected));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            stderr.starts_with("asking its own httpbin at http://127.0.0.1:"),
            "{stderr}"
        );
        assert!(
            stderr.contains("error: number 50: ") && stderr.ends_with(": Something wrong!"),
            "{stderr}"
        );
    }
}

#[test]
fn map_stops_at_the_number_that_fails() {
    for executor in EXECUTORS {
        let Ended {
            code,
            stdout,
            stderr,
        } = Demo::run(&["--mode", "map", "--executor", executor]);
        assert_eq!(stdout, (0..50).map(line).collect::<Vec<_>>());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains("error: number 50: ") && stderr.ends_with(": Something wrong!"),
            "{stderr}"
        );
    }
}

#[test]
fn map_without_a_failure_succeeds() {
    let ended = Demo::run(&[
        "--mode",
        "map",
        "--count",
        "7",
        "--executor",
        "threads",
        "--workers",
        "1",
    ]);
    assert_eq!(ended.stdout, (0..7).map(line).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn quiet_writes_errors_alone_to_stderr() {
    let silent = Demo::run(&["--quiet", "--count", "3"]);
    assert_eq!((silent.code, silent.stderr.as_str()), (Some(0), ""));
    let failing = Demo::run(&["--quiet", "--count", "3", "--fail-at", "1"]);
    assert_eq!(failing.stderr.lines().count(), 1, "{}", failing.stderr);
    assert!(
        failing.stderr.starts_with("error: number 1: "),
        "{}",
        failing.stderr
    );
}

/// Answers number 0 only after `others` other numbers were answered.
fn slow_for_zero(others: u32) -> String {
    let (answered, more) = (Mutex::new(0), Condvar::new());
    serve(move |number| {
        let answered = answered.lock().unwrap();
        if number == 0 {
            let _answered = more
                .wait_while(answered, |answered| *answered < others)
                .unwrap();
        } else {
            let mut answered = answered;
            *answered += 1;
            more.notify_all();
        }
        args(number)
    })
}

#[test]
fn a_slow_number_comes_last_as_completed_and_first_in_map() {
    let run = |mode| {
        Demo::run(&[
            "--mode",
            mode,
            "--workers",
            "2",
            "--count",
            "4",
            "--base-url",
            &slow_for_zero(3),
        ])
    };
    let as_completed = run("as-completed");
    assert_eq!(
        sorted(as_completed.stdout.clone()),
        (0..4).map(line).collect::<Vec<_>>()
    );
    assert_ne!(as_completed.stdout[0], line(0));
    assert_eq!(run("map").stdout, (0..4).map(line).collect::<Vec<_>>());
}

/// The most requests that were in flight at a time; the first `workers` wait for each other.
fn most_in_flight(executor: &str, mode: &str, workers: usize) -> usize {
    let (sender, receiver) = channel();
    let together = Barrier::new(workers);
    let flying = Mutex::new((0_usize, 0_usize));
    let base_url = serve(move |number| {
        let now = {
            let mut flying = flying.lock().unwrap();
            flying.0 += 1;
            flying.1 += 1;
            *flying
        };
        sender.send(now.0).unwrap();
        if now.1 <= workers {
            together.wait();
            // Time for one too many to show up; a demo that has none passes however short it is.
            thread::sleep(Duration::from_millis(100));
        }
        // Before the answer, as the next request may be here as soon as that is out.
        flying.lock().unwrap().0 -= 1;
        args(number)
    });
    let ended = Demo::run(&[
        "--executor",
        executor,
        "--mode",
        mode,
        "--count",
        "40",
        "--base-url",
        &base_url,
    ]);
    assert_eq!(
        (ended.code, ended.stdout.len()),
        (Some(0), 40),
        "{}",
        ended.stderr
    );
    receiver.try_iter().max().expect("there were requests")
}

#[test]
fn as_completed_has_five_workers_and_map_four() {
    for executor in EXECUTORS {
        assert_eq!(most_in_flight(executor, "as-completed", 5), 5);
        assert_eq!(most_in_flight(executor, "map", 4), 4);
    }
}
