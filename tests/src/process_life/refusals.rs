//! What cannot be started as a worker is refused, and who is no worker does not believe that it is one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::door::Door;
use super::programs::{START, plugin, program, said, said_with};
use super::system::read_to_its_end;
use crate::harness::tests;

const MARK: &str = "CONCURRENT_FUTURES_WORKER";

/// A mark that a worker of the program was really started with, and the number of its parent, which is
/// gone.
fn real_mark() -> (String, u32) {
    let door = Door::new();
    let mut parent = program(START, "visit").arg(door.name()).spawn().unwrap();
    let visitor = door.visitor();
    let environment = fs::read(format!("/proc/{}/environ", visitor.pid())).unwrap();
    visitor.let_in();
    assert!(parent.wait().unwrap().success());
    let mark = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(format!("{MARK}=").as_bytes()))
        .expect("the kernel shows what a process began with");
    (String::from_utf8(mark.to_vec()).unwrap(), parent.id())
}

/// The same mark, naming another parent.
fn with_parent((mark, parent): &(String, u32), other: u32) -> String {
    let parts: Vec<&str> = mark.splitn(5, ':').collect();
    assert_eq!(parts[2], parent.to_string());
    let other = other.to_string();
    [parts[0], parts[1], &other, parts[3], parts[4]].join(":")
}

tests! {
    fn code_in_a_dynamic_library_gets_an_error_with_both_files_and_starts_nothing() {
        let library = plugin();
        let text = said(program(START, "library").arg(&library));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "main"), "{text}");
        let library = library.file_name().unwrap().to_str().unwrap();
        assert!(lines[1].contains(library) && lines[1].contains("process-start"), "{text}");
        assert!(lines[1].contains("make the pool in an executable of its own"), "{text}");
    }

    fn a_program_that_was_started_through_the_loader_gets_an_error_that_says_so() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let loader = maps
            .split_whitespace()
            .find(|word| word.contains("/ld-linux"))
            .expect("this program has a loader");
        let text = said(program(loader, START).arg("build"));
        assert!(text.starts_with("main\nWrongProgram: "), "{text}");
        assert!(text.contains("start the executable itself"), "{text}");
    }

    fn a_mark_that_somebody_has_set_changes_nothing() {
        let real = real_mark();
        let own = with_parent(&real, std::process::id());
        let (_, version_and_rest) = own.split_once(':').unwrap();
        let no_anchor: Vec<&str> = own.splitn(5, ':').collect();
        let no_anchor = format!("{}:7:{}:{}:1:x", no_anchor[0], no_anchor[2], no_anchor[3]);
        let marks = [
            String::new(),
            "1".to_owned(),
            real.0.clone(),
            own.clone(),
            no_anchor,
            format!("9.9.9:{version_and_rest}"),
        ];
        for mark in &marks {
            for kind in ["nothing", "file", "pipe", "open pipe", "socket"] {
                // With a socket of ours and all else right, it is a worker of ours.
                if kind == "socket" && *mark == own {
                    continue;
                }
                let (mut kept_pipe, mut kept_socket) = (None, None);
                let input = match kind {
                    "nothing" => Stdio::null(),
                    "file" => File::open("/proc/self/status").unwrap().into(),
                    "pipe" => io::pipe().unwrap().0.into(),
                    "open pipe" => {
                        let (reader, mut writer) = io::pipe().unwrap();
                        writer.write_all(b"hello").unwrap();
                        kept_pipe = Some(writer);
                        reader.into()
                    }
                    _ => {
                        let (ours, theirs) = UnixStream::pair().unwrap();
                        kept_socket = Some(ours);
                        Stdio::from(OwnedFd::from(theirs))
                    }
                };
                let mut forged = program(START, "mark");
                let text = said(forged.env(MARK, mark).stdin(input));
                assert_eq!(text, "main\nNone\n", "{kind}: {mark}");
                drop((kept_pipe, kept_socket));
            }
        }
    }

    fn one_that_was_started_as_a_worker_ends_with_its_parents_socket_and_never_runs_main() {
        let own = with_parent(&real_mark(), std::process::id());
        for greeting in [&b""[..], &[0; 64], &[255; 64]] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(greeting).unwrap();
            let mut started = program(START, "mark");
            started.env(MARK, &own).stdin(OwnedFd::from(theirs));
            let child = started.spawn().unwrap();
            drop(ours);
            let output = child.wait_with_output().unwrap();
            assert_eq!(said_with(&output, |_| true), "");
        }
    }

    fn a_worker_whose_pool_has_died_before_it_began_ends_at_once() {
        let own = with_parent(&real_mark(), std::process::id());
        let (ours, theirs) = UnixStream::pair().unwrap();
        // The socket is this process's, the parent is the shell.
        let mut shell = program("/bin/sh", "-c");
        shell
            .arg(format!("'{START}' mark; echo $?"))
            .env(MARK, own)
            .stdin(OwnedFd::from(theirs));
        assert_eq!(said(&mut shell), "0\n");
        drop(ours);
    }

    fn a_program_that_a_task_starts_is_no_worker_and_may_have_workers() {
        let text = said(&mut program(START, "task-starts-program"));
        assert_eq!(text, "main\nmain\nNone\nmain\n1024\n");
    }

    fn workers_are_the_program_that_runs_and_not_what_has_replaced_it_on_the_disk() {
        for is_removed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("service");
            fs::copy(START, &path).unwrap();
            let door = Door::new();
            let mut child = program(&path, "replaced").arg(door.name()).spawn().unwrap();
            let visitor = door.visitor();
            fs::remove_file(&path).unwrap();
            if !is_removed {
                fs::copy("/bin/true", &path).unwrap();
            }
            visitor.let_in();
            let text = read_to_its_end(child.stdout.take().unwrap());
            assert!(child.wait().unwrap().success());
            assert_eq!(text, "main\ntrue\n");
        }
    }
}
