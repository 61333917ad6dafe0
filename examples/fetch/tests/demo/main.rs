//! The real demo, as a child process: its two forms, its errors and its ends.

#![cfg(unix)]

mod ends;
mod failures;
mod forms;
mod real_httpbin;
mod support;
