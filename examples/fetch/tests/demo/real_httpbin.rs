//! The demo, and its embedded httpbin, against the real httpbin that `cargo xtask test` starts.

use std::env;

use fetch::Httpbin;
use reqwest::blocking::Client;
use serde_json::Value;

use crate::support::{Demo, EXECUTORS, WRONG};

/// The base URL of the real httpbin; a run that asks for these tests must not pass without it.
fn httpbin_url() -> String {
    env::var("HTTPBIN_URL")
        .expect("HTTPBIN_URL must be the base URL of a httpbin: run cargo xtask test")
}

/// Status, content type and body of an answer.
fn get(url: &str) -> (u16, String, String) {
    let client = Client::builder().no_proxy().build().unwrap();
    let response = client
        .get(url)
        .header("User-Agent", "demo")
        .header("X-Some-THING", "a")
        .send()
        .unwrap();
    let content_type = response
        .headers()
        .get("content-type")
        .map(|text| text.to_str().unwrap().to_owned());
    (
        response.status().as_u16(),
        content_type.unwrap_or_default(),
        response.text().unwrap(),
    )
}

/// The lines that the real server's own answers make.
fn expected_lines(base_url: &str, numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers
        .map(|number| {
            let (status, _, body) = get(&format!("{base_url}/get?number={number}"));
            assert_eq!(status, 200);
            let answer: Value = serde_json::from_str(&body).unwrap();
            format!("{number} ---> {}", answer["args"])
        })
        .collect()
}

#[test]
#[ignore = "needs httpbin: run cargo xtask test"]
fn as_completed_prints_what_the_real_httpbin_answers() {
    let base_url = httpbin_url();
    let mut expected = expected_lines(&base_url, (0..100).filter(|&number| number != 50));
    expected.push(WRONG.to_owned());
    expected.sort();
    for executor in EXECUTORS {
        let mut ended = Demo::run(&["--executor", executor, "--base-url", &base_url]);
        ended.stdout.sort();
        assert_eq!(ended.stdout, expected);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: number 50: "),
            "{}",
            ended.stderr
        );
    }
}

#[test]
#[ignore = "needs httpbin: run cargo xtask test"]
fn map_prints_what_the_real_httpbin_answers() {
    let base_url = httpbin_url();
    let expected = expected_lines(&base_url, 0..50);
    for executor in EXECUTORS {
        let arguments = ["--executor", executor, "--mode", "map"];
        let ended = Demo::run(&[&arguments[..], &["--base-url", &base_url]].concat());
        assert_eq!(ended.stdout, expected);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: number 50: "),
            "{}",
            ended.stderr
        );
    }
}

#[test]
#[ignore = "needs httpbin: run cargo xtask test"]
fn failures_of_the_real_httpbin_are_told() {
    let base_url = httpbin_url();
    // The query takes up the `/get` that the demo appends.
    for (path, told) in [
        ("/status/500?x=", "answered with status 500"),
        ("/delay/5?x=", "within 100ms"),
    ] {
        let url = format!("{base_url}{path}");
        let ended = Demo::run(&[
            "--count",
            "1",
            "--mode",
            "map",
            "--timeout",
            "0.1",
            "--base-url",
            &url,
        ]);
        assert_eq!((ended.code, ended.stdout.len()), (Some(1), 0));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}

#[test]
#[ignore = "needs httpbin: run cargo xtask test"]
fn the_embedded_httpbin_answers_what_the_real_one_does() {
    let embedded = Httpbin::start().unwrap();
    let real = httpbin_url();
    for path in [
        "/get",
        "/get?",
        "/get?number=7",
        "/get?b=2&a=x&number=7&a=y&a=x&empty=&bare&plus=a+b",
        "/delay/0?number=7&a=x&a=y",
        "/status/204",
        "/status/404",
        "/status/500",
    ] {
        // The one thing that must differ is where they listen.
        let answer = |base_url: &str| {
            let (status, content_type, body) = get(&format!("{base_url}{path}"));
            let authority = base_url.trim_start_matches("http://");
            let kind = content_type.starts_with("application/json");
            (status, kind, body.replace(authority, "AUTHORITY"))
        };
        assert_eq!(answer(embedded.base_url()), answer(&real), "{path}");
    }
}
