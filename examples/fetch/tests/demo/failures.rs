//! Whatever keeps a number away is told, in both forms; and so is a flag that makes no sense.

use std::net::TcpListener;

use crate::support::{Demo, WRONG, serve};

/// Checks that one number fails with all of `parts` in the error, in both forms.
fn fails_with(arguments: &[&str], parts: &[&str]) {
    for (mode, code, stdout) in [("as-completed", 0, vec![WRONG]), ("map", 1, vec![])] {
        let ended = Demo::run(&[&["--mode", mode, "--count", "1", "--quiet"], arguments].concat());
        assert_eq!(ended.stdout, stdout);
        assert_eq!(ended.code, Some(code));
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: number 0: "),
            "{}",
            ended.stderr
        );
        for part in parts {
            assert!(
                ended.stderr.contains(part),
                "no {part:?} in {}",
                ended.stderr
            );
        }
    }
}

#[test]
fn a_server_that_is_down_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let told = format!("cannot connect to {base_url}/get: check that the server is up: ");
    fails_with(&["--base-url", &base_url], &[&told, "Connection refused"]);
}

#[test]
fn a_slow_server_is_told() {
    // Connections are accepted by the kernel, and nobody reads them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let told = format!("no answer from {base_url}/get within 200ms");
    fails_with(&["--base-url", &base_url, "--timeout", "0.2"], &[&told]);
}

#[test]
fn a_status_that_is_no_success_is_told() {
    let base_url = serve(|_| ("500 Internal Server Error", String::new()));
    let told = format!("{base_url}/get answered with status 500 Internal Server Error");
    fails_with(&["--base-url", &base_url], &[&told]);
}

#[test]
fn an_answer_that_is_no_json_is_told() {
    let base_url = serve(|_| ("200 OK", "<html>".to_owned()));
    let told = format!("the answer of {base_url}/get is no JSON: check that it is a httpbin: ");
    fails_with(&["--base-url", &base_url], &[&told, "line 1 column 1"]);
}

#[test]
fn an_answer_without_args_is_told() {
    for body in [r#"{"form": {}}"#, "[1]", "null"] {
        let base_url = serve(move |_| ("200 OK", body.to_owned()));
        let told = format!("the answer of {base_url}/get has no `args`");
        fails_with(&["--base-url", &base_url], &[&told]);
    }
}

#[test]
fn a_connection_that_breaks_off_is_told() {
    let base_url = serve(|_| ("200 OK\r\nContent-Length: 9", String::new()));
    fails_with(
        &["--base-url", &base_url],
        &[&format!("the request to {base_url}/get broke off: ")],
    );
}

#[test]
fn bad_flags_are_told_before_anything_runs() {
    let cases = [
        ("--workers=0", "0 is not in 1..=1024"),
        ("--workers=1025", "1025 is not in 1..=1024"),
        ("--count=-1", "invalid value '-1' for '--count <N>'"),
        (
            "--base-url=httpbin.org",
            "no URL (relative URL without a base): give one like",
        ),
        ("--base-url=localhost:80", "no http URL: give one like"),
        ("--base-url=https://httpbin.org", "built without TLS"),
        ("--base-url=http://", "no URL (empty host): give one like"),
        ("--base-url=http://httpbin.org#top", "fragment"),
        (
            "--timeout=0",
            "give a number of seconds from 0.001 to 86400",
        ),
        (
            "--timeout=-1",
            "give a number of seconds from 0.001 to 86400",
        ),
        (
            "--timeout=NaN",
            "give a number of seconds from 0.001 to 86400",
        ),
        (
            "--timeout=1e300",
            "give a number of seconds from 0.001 to 86400",
        ),
        (
            "--executor=cluster",
            "[possible values: threads, processes]",
        ),
        ("--mode=submit", "[possible values: as-completed, map]"),
    ];
    for (flag, told) in cases {
        let ended = Demo::run(&[flag]);
        assert_eq!((ended.code, ended.stdout.len()), (Some(2), 0), "{flag}");
        assert!(ended.stderr.contains(told), "{flag}: {}", ended.stderr);
    }
}
