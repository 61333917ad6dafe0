//! One small file for each way to break a rule, and for what looks like it and is none.

mod examples;
mod links;

use super::check::check;
use super::documents;

const HEAD: &str = "//! A module.\n";

/// The violations of one file of the library, as `line rule`.
fn violations(file: &str, source: &str) -> Vec<String> {
    violations_of(&[(file, source)])
}

fn violations_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(String, String)> = files
        .iter()
        .map(|(file, source)| {
            (
                format!("crates/concurrent-futures/src/{file}"),
                format!("{HEAD}{source}"),
            )
        })
        .collect();
    let found = check(&files).expect("the snippet is Rust");
    found
        .iter()
        .map(|violation| format!("{} {}", violation.line, violation.rule))
        .collect()
}

#[test]
fn a_module_uses_the_layers_below_it() {
    for (file, source) in [
        ("task/mod.rs", "use crate::error::TaskError;"),
        (
            "wait.rs",
            "use crate::{error::TaskError, task::{Task, cell::Cell}};",
        ),
        (
            "thread/worker.rs",
            "use super::queue; use super::super::executor::Executor; use crate::thread::queue::Job;",
        ),
        (
            "any.rs",
            "fn f() { crate::thread::new(); crate::process::new(); }",
        ),
        (
            "lib.rs",
            "pub use crate::any::Any; pub use self::task::Task; use crate::Whatever;",
        ),
        (
            "error.rs",
            "use crate::panic::Payload; use super::id::TaskId;",
        ),
        ("map/mod.rs", "use crate::stream::Stream;"),
        (
            "task/mod.rs",
            "pub(crate) mod cell; pub(super) fn f() {} pub(in crate::task) fn g() {}",
        ),
        (
            "task/mod.rs",
            "fn f() { crate::trace!(); $crate::trace!(); self.run(); }",
        ),
        ("process/mod.rs", "use std::process; use super::map;"),
    ] {
        assert_eq!(violations(file, source), [""; 0], "{file}: {source}");
    }
}

#[test]
fn an_arrow_that_points_up_is_found() {
    for (file, source, lines) in [
        ("task/mod.rs", "use crate::wait::wait;", &[2][..]),
        ("error.rs", "use super::task::Task;", &[2]),
        ("task/cell.rs", "use super::super::thread::Worker;", &[2]),
        (
            "task/mod.rs",
            "use crate::{\n    error::TaskError,\n    executor::{Executor, Shutdown},\n};",
            &[4],
        ),
        ("time/timer.rs", "fn f() {\n    crate::any::new();\n}", &[3]),
        (
            "task/mod.rs",
            "fn f() {\n    println!(\"{}\", crate::map::LIMIT);\n}",
            &[3],
        ),
        (
            "task/mod.rs",
            "macro_rules! m { () => { $crate::stream::Stream } }",
            &[2],
        ),
        (
            "task/mod.rs",
            "mod inner {\n    use super::super::wait::wait;\n}",
            &[3],
        ),
        (
            "task/mod.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::wait::wait;\n}",
            &[4],
        ),
        ("executor.rs", "impl crate::thread::Pool {}", &[2]),
    ] {
        let expected: Vec<String> = lines.iter().map(|line| format!("{line} layer")).collect();
        assert_eq!(violations(file, source), expected, "{file}: {source}");
    }
}

#[test]
fn thread_and_process_must_not_know_each_other() {
    assert_eq!(
        violations("thread/mod.rs", "use crate::process::Pool;"),
        ["2 layer"]
    );
    assert_eq!(
        violations("process/mod.rs", "use super::thread::Pool;"),
        ["2 layer"]
    );
}

#[test]
fn the_root_hides_the_layer_that_is_used() {
    assert_eq!(
        violations("task/mod.rs", "use crate::TaskError;"),
        ["2 layer"]
    );
    assert_eq!(violations("task/mod.rs", "use crate::*;"), ["2 layer"]);
    assert_eq!(
        violations("error.rs", "use super::{self as root, *};"),
        ["2 layer"]
    );
}

#[test]
fn a_module_without_a_layer_is_found() {
    assert_eq!(violations("metrics/mod.rs", ""), ["1 layer"]);
}

#[test]
fn tokio_is_named_by_its_modules_alone() {
    assert_eq!(
        violations("context.rs", "use tokio::runtime::Handle;"),
        [""; 0]
    );
    assert_eq!(
        violations("thread/worker.rs", "fn f() { tokio::spawn(g()); }"),
        [""; 0]
    );
    for source in [
        "use tokio::runtime::Handle;",
        "use ::tokio::runtime::Handle;",
        "use {std::fmt, tokio::time};",
        "use tokio as runtime;",
        "extern crate tokio;",
        "fn f() { select!(tokio::time::sleep(g())); }",
        "#[tokio::test] async fn f() {}",
    ] {
        assert_eq!(
            violations("wait.rs", source),
            ["2 reserved word"],
            "{source}"
        );
    }
}

#[test]
fn test_modules_may_name_tokio() {
    for source in [
        "#[cfg(test)] mod tests { #[tokio::test] async fn f() {} }",
        "#[cfg(all(test, not(concurrent_futures_loom)))]\n#[allow(x)]\npub(crate) mod tests { mod inner { use tokio::time; } }",
    ] {
        assert_eq!(violations("wait.rs", source), [""; 0], "{source}");
    }
    for source in [
        "#[cfg(test)] fn f() {} mod inner { use tokio::time; }",
        "#[cfg(not(test))] mod inner { use tokio::time; }",
        "#[cfg(any(test, unix))] mod inner { use tokio::time; }",
    ] {
        assert_eq!(
            violations("wait.rs", source),
            ["2 reserved word"],
            "{source}"
        );
    }
    let tests = ("wait/tests/slow.rs", "use tokio::time;");
    assert_eq!(
        violations_of(&[tests, ("wait/mod.rs", "#[cfg(test)]\nmod tests;")]),
        [""; 0]
    );
    assert_eq!(
        violations_of(&[tests, ("wait/mod.rs", "mod tests;")]),
        ["2 reserved word"]
    );
}

#[test]
fn tokio_util_is_for_task_alone() {
    assert_eq!(
        violations("task/mod.rs", "use tokio_util::sync::CancellationToken;"),
        [""; 0]
    );
    assert_eq!(
        violations("thread/mod.rs", "use tokio_util::sync::CancellationToken;"),
        ["2 reserved word"]
    );
    let test = "#[cfg(test)] mod tests { use tokio_util::sync::CancellationToken; }";
    assert_eq!(violations("thread/mod.rs", test), ["2 reserved word"]);
}

#[test]
fn panics_are_caught_in_one_place() {
    assert_eq!(
        violations("panic.rs", "use std::panic::catch_unwind;"),
        [""; 0]
    );
    for source in [
        "use std::panic::catch_unwind;",
        "fn f() { std::panic::catch_unwind(g); }",
        "fn f() { future.catch_unwind(); }",
        "#[cfg(test)] mod tests { use std::panic::catch_unwind; }",
    ] {
        assert_eq!(
            violations("task/mod.rs", source),
            ["2 reserved word"],
            "{source}"
        );
    }
}

#[test]
fn unsafe_code_has_its_places() {
    for file in [
        "task/cell.rs",
        "task/cell/slot.rs",
        "process/ring.rs",
        "process/record/mod.rs",
        "process/sys.rs",
    ] {
        assert_eq!(violations(file, "unsafe fn f() {}"), [""; 0], "{file}");
    }
    for source in [
        "unsafe fn f() {}",
        "unsafe impl Send for X {}",
        "fn f() { unsafe { g() } }",
        "#[unsafe(no_mangle)] fn f() {}",
    ] {
        assert_eq!(violations("task/mod.rs", source), ["2 unsafe"], "{source}");
        assert_eq!(violations("lib.rs", source), ["2 unsafe"], "{source}");
    }
    assert_eq!(
        violations("task/cells.rs", "unsafe fn f() {}"),
        ["2 unsafe"]
    );
}

#[test]
fn comments_and_strings_do_not_count() {
    let source = r##"
        //! use tokio::time;
        /// unsafe { crate::wait::wait() }
        #[doc = "catch_unwind"]
        fn f() {
            // use crate::thread::Pool;
            /* tokio::spawn */
            let text = "unsafe tokio::spawn crate::any::Any";
            let raw = r#"catch_unwind"#;
            let unsafe_op_in_unsafe_fn = r#fn;
        }
        /// ```
        /// tokio::spawn(async {});
        /// ```
        fn g() {}
    "##;
    assert_eq!(violations("error.rs", source), [""; 0]);
}

#[test]
fn every_file_opens_with_what_it_is_for_and_ends_in_time() {
    let check_one = |file: &str, text: String| {
        let found = check(&[(file.to_owned(), text)]).expect("the snippet is Rust");
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let file = "examples/fetch/src/main.rs";
    assert_eq!(check_one(file, HEAD.repeat(700)), [""; 0]);
    assert_eq!(
        check_one(file, HEAD.repeat(701)),
        [format!(
            "{file}:701: length: split the file: 701 lines are more than 700"
        )]
    );
    let opening = "begin the file with a `//!` sentence that says what it is for";
    for text in [
        "fn main() {}\n",
        "// A program.\nfn main() {}\n",
        "\n//! Too late.\n",
        "",
    ] {
        assert_eq!(
            check_one(file, text.to_owned()),
            [format!("{file}:1: opening: {opening}")],
            "{text}"
        );
    }
}

#[test]
fn a_document_names_tests_that_there_are() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let tests = [
        file(
            "tests/src/map.rs",
            "fn results_come_in_order<S: Subject>() {}",
        ),
        file("tests/src/chaos/storms.rs", "fn a_storm_is_survived() {}"),
    ];
    for (line, expected) in [
        (
            "`map::threads::results_come_in_order`, `…::a_storm_is_survived`",
            0,
        ),
        (
            "`chaos::storms::a_storm_is_survived`, `chaos::…`, `map::chunk_size()`",
            0,
        ),
        (
            "`task::cell::not_a_test_of_ours` and `map/results_come_in_no_order`",
            0,
        ),
        ("`map::results_come_in_no_order`", 1),
        (
            "`chaos::storms::results_come_in_order`, `…::nothing_is_there`",
            2,
        ),
    ] {
        let found = documents::check(&[file("docs/a.md", line)], &tests);
        assert_eq!(found.len(), expected, "{line}: {found:?}");
    }
}
