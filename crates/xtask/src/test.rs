//! `cargo xtask test`: all tests of the workspace, and those of the demo against a real httpbin.
//!
//! A test that was left out is never a silent success: its name is told, before and after the others run.

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use xshell::{Cmd, cmd};

use crate::httpbin::Httpbin;
use crate::venv;
use crate::workspace::Workspace;

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Leave out the tests that need httpbin, and keep cargo from the network too
    #[arg(long)]
    pub(crate) offline: bool,
    /// What the test programs get, such as a part of a test's name
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

/// Runs the tests.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let shell = &workspace.shell;
    let _offline = options
        .offline
        .then(|| shell.push_env("CARGO_NET_OFFLINE", "true"));
    // The same packages and features in each command, so that cargo builds few dependencies twice.
    let cargo_test = || {
        cmd!(
            shell,
            "cargo test --workspace --all-features --no-fail-fast"
        )
    };
    let all = ["--lib", "--bins", "--tests", "--examples"];
    let demo: Vec<&str> = workspace
        .demo_tests()?
        .into_iter()
        .flat_map(|name| ["--test", name])
        .collect();
    cargo_test().args(all).arg("--no-run").run()?;

    let httpbin = if options.offline {
        Err(anyhow!("--offline was given"))
    } else {
        venv::python(workspace).and_then(|python| Httpbin::start(&python))
    };
    let mut steps = vec![cargo_test().args(all).arg("--")];
    let missing = match &httpbin {
        Ok(httpbin) => {
            eprintln!("httpbin answers at {}", httpbin.base_url());
            let step = cargo_test().args(&demo).args(["--", "--ignored"]);
            steps.push(step.env("HTTPBIN_URL", httpbin.base_url()));
            None
        }
        Err(error) => {
            let tests =
                ignored_tests(cargo_test().args(&demo).args(["--", "--ignored", "--list"]))?;
            let missing = format!(
                "left out, for want of httpbin ({error:#}):\n{}",
                tests.join("\n")
            );
            eprintln!("{missing}");
            Some(missing)
        }
    };
    steps.push(cargo_test().args(["--doc", "--"]));

    let mut failures = Vec::new();
    for step in steps {
        if let Err(error) = step.args(&options.arguments).run() {
            failures.push(error.to_string());
        }
    }
    drop(httpbin);

    if let Some(missing) = missing {
        eprintln!("{missing}");
        if !options.offline {
            failures.push(
                "httpbin is missing: see above, or leave its tests out by --offline".to_owned(),
            );
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// The names in the `--list` that `tests` prints.
fn ignored_tests(tests: Cmd<'_>) -> Result<Vec<String>> {
    let list = tests
        .quiet()
        .read()
        .context("cannot list the tests that need httpbin")?;
    Ok(list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(|name| format!("    {name}"))
        .collect())
}
