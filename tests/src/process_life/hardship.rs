//! Pools where the system, or other code of the program, makes life hard: in programs of their own, since
//! that concerns the whole process.

use super::programs::{HARDSHIP, program, said};
use crate::harness::tests;

tests! {
    fn where_sigchld_is_ignored_the_status_is_unknown_and_all_else_works() {
        said(&mut program(HARDSHIP, "sigchld-ignored"));
    }

    fn a_foreign_wait_for_any_child_costs_only_the_status() {
        said(&mut program(HARDSHIP, "foreign-wait"));
    }

    fn a_worker_that_no_descriptor_is_left_for_is_an_error_and_later_there_is_one() {
        said(&mut program(HARDSHIP, "few-descriptors"));
    }

    fn where_no_more_processes_may_be_started_the_others_do_the_work() {
        said(&mut program(HARDSHIP, "few-processes"));
    }
}
