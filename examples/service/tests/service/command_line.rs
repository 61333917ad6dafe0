//! What is said to whoever starts the service.

use std::net::TcpListener;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_service"))
        .args(arguments)
        .output()
        .expect("the service starts")
}

#[test]
fn arguments_that_cannot_be_are_refused_before_anything_is_started() {
    for (arguments, said) in [
        (["--listen", "nowhere"], "invalid socket address"),
        (["--thumbnail-workers", "0"], "0 is not in 1..=1024"),
        (["--picture-size", "65MiB"], "is more than --body-memory"),
        (["--hash-passes", "0"], "nothing that argon2 can do"),
    ] {
        let output = run(&arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_hash_that_takes_more_memory_than_there_is_is_refused_at_the_start() {
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -v 1000000 && exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_service"))
        .args(["--listen", "127.0.0.1:0", "--hash-memory", "2GiB"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("give less --hash-memory"), "{text}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains(&format!("cannot listen on {address}")),
        "{text}"
    );
}
