//! Waits inside a pool whose extra workers the system refuses: in a program of its own, since the limit is
//! that of the whole process.

use std::process::{Command, Stdio};

use crate::harness::tests;

tests! {
    fn a_drop_that_waits_in_a_task_that_no_thread_is_left_for() {
        let output = Command::new(env!("CARGO_BIN_EXE_few-threads")).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
    }
}
