//! The workspace's own commands, as `cargo xtask COMMAND`: the tests with a real httpbin, the layer check, and all of CI.

mod ci;
mod debian;
mod examples;
mod httpbin;
mod msrv;
mod package;
mod soak;
mod test;
mod tidy;
mod tools;
mod venv;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The workspace's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all tests, those against a real httpbin too
    Test(test::Options),
    /// Check the layers of the library, where it names tokio, catches panics and has unsafe code, and the tests that
    /// documents name
    Tidy,
    /// Use worker processes in all ways for minutes, and look whether anything grows, hangs or is wrong
    Soak(soak::Options),
    /// Run everything that a change must pass
    Ci(ci::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = Workspace::open().and_then(|workspace| match arguments.command {
        Command::Test(options) => test::run(&workspace, &options),
        Command::Tidy => tidy::run(&workspace),
        Command::Soak(options) => soak::run(&workspace, &options),
        Command::Ci(options) => ci::run(&workspace, &options),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
