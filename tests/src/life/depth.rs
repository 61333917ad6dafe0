//! Pools in workers of pools: how deep, and what the programs see that tasks start.

use std::os::fd::FromRawFd as _;
use std::process::Command;

use concurrent_futures::{BuildErrorKind, Executor, ProcessPoolExecutor};

use crate::harness::tests;

/// This program's like, which makes a pool.
const START: &str = env!("CARGO_BIN_EXE_process-start");

/// How deep a function comes that makes a pool and submits itself, and the error that ends it; or what a
/// program says that is started there and makes a pool.
fn dive(level: u32, starts_program: bool) -> (u32, String) {
    match ProcessPoolExecutor::builder().max_workers(1).build() {
        Ok(pool) => {
            let below = pool.submit(dive, (level + 1, starts_program));
            below.result().unwrap()
        }
        Err(error) => {
            assert_eq!(error.kind(), BuildErrorKind::TooDeep);
            let text = if starts_program {
                let output = Command::new(START).arg("blocking").output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            } else {
                error.to_string()
            };
            (level, text)
        }
    }
}

/// What a program says that is started in this way, of the variables that it has.
fn variables_by(start: fn(*const *mut libc::c_char)) -> String {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    let mut ends = [0; 2];
    // SAFETY: there is place for two descriptors, which belong to nobody else.
    let mut reader = unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        std::fs::File::from_raw_fd(ends[0])
    };
    // SAFETY: the copy does nothing but start the program, and ends without returning from here.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        // SAFETY: as above; the environment is that of a process with one thread.
        unsafe {
            libc::dup2(ends[1], 1);
            start(environ);
            libc::_exit(1);
        }
    }
    // SAFETY: the end is ours, and not used any more; the copy is a child of this process.
    unsafe {
        libc::close(ends[1]);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let mut status = 0;
        assert_eq!(libc::waitpid(copy, &raw mut status, 0), copy);
        assert_eq!(status, 0);
        text
    }
}

const ENV: &std::ffi::CStr = c"/usr/bin/env";

fn by_execve(environ: *const *mut libc::c_char) {
    let arguments = [ENV.as_ptr(), std::ptr::null()];
    // SAFETY: both end with a null pointer.
    unsafe { libc::execve(ENV.as_ptr(), arguments.as_ptr(), environ.cast()) };
}

fn by_spawn(environ: *const *mut libc::c_char) {
    let arguments = [ENV.as_ptr().cast_mut(), std::ptr::null_mut()];
    let (mut pid, mut status) = (0, 0);
    // SAFETY: both end with a null pointer, and the others may be null.
    unsafe {
        let (actions, attributes) = (std::ptr::null(), std::ptr::null());
        let code = libc::posix_spawn(
            &raw mut pid,
            ENV.as_ptr(),
            actions,
            attributes,
            arguments.as_ptr(),
            environ,
        );
        libc::waitpid(pid, &raw mut status, 0);
        libc::_exit(code | status);
    }
}

fn by_shell(_: *const *mut libc::c_char) {
    // SAFETY: the text ends with a zero.
    unsafe { libc::_exit(libc::system(c"env".as_ptr())) };
}

/// The variables of programs that a task starts, in each way.
fn variables() -> Vec<String> {
    let by_std = Command::new("env").output().unwrap();
    let mut all = Vec::from([String::from_utf8(by_std.stdout).unwrap()]);
    all.extend(
        [by_execve, by_spawn, by_shell]
            .map(|start: fn(*const *mut libc::c_char)| variables_by(start)),
    );
    all
}

tests! {
    fn a_function_that_makes_a_pool_and_submits_itself_ends_with_an_error() {
        let (depth, error) = dive(0, false);
        assert_eq!(depth, 10);
        assert!(error.contains("a worker of a worker, 10 deep"), "{error}");
    }

    fn a_program_that_is_started_in_the_depths_makes_pools_of_its_own() {
        assert_eq!(dive(0, true), (10, "main\n1024\n".to_owned()));
    }

    fn nothing_that_a_task_starts_sees_that_it_is_in_a_worker() {
        let pool = ProcessPoolExecutor::builder().max_workers(1).env("CF_SEEN", "yes").build().unwrap();
        let variables = pool.submit(variables, ()).result().unwrap();
        assert_eq!(variables.len(), 4);
        for seen in variables {
            assert!(seen.contains("CF_SEEN=yes"), "{seen}");
            assert!(!seen.contains("CONCURRENT_FUTURES"), "{seen}");
        }
    }
}
