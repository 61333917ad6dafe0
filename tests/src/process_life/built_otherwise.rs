//! Workers of a program that is built otherwise: without life before `main`, and with panics that abort.

use super::programs::{program, said, without_constructor};
use crate::harness::{check, prepare};

#[test]
fn without_life_before_main_a_call_at_its_top_begins_the_workers() {
    let built = prepare(without_constructor);
    check("a call at the top of main", || {
        assert_eq!(said(&mut program(built, "init")), "main\n1024\n");
    });
}

#[test]
fn without_that_call_building_fails_and_names_it_and_main_runs_once() {
    let built = prepare(without_constructor);
    check("no call at the top of main", || {
        let text = said(&mut program(built, "no-init"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "main"));
        assert!(lines[1].starts_with("WrongProgram: "), "{text}");
        let call = "concurrent_futures::worker::init()";
        assert!(lines[1].contains(call), "{text}");
    });
}

#[test]
fn the_text_of_a_panic_is_told_where_panics_abort() {
    let built = prepare(without_constructor);
    check("a panic that aborts", || {
        let text = said(&mut program(built, "panic"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Some(Signal(6))");
        assert!(lines[1].contains("too much to bear"), "{text}");
        assert!(lines[1].contains("without_constructor.rs"), "{text}");
        assert_eq!(lines[2..], ["1024"]);
    });
}
