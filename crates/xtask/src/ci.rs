//! `cargo xtask ci`: everything that a change must pass, in steps that are named and timed; the first failure ends it.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use xshell::cmd;

use crate::workspace::{DEMO, LIBRARY, Workspace};
use crate::{test, tidy};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run this step alone; may repeat
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// Leave this step out; may repeat
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    skip: Vec<Step>,
}

/// The steps, in their order: what fails fast comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The formatting
    Format,
    /// The layers of the library
    Tidy,
    /// The lints
    Clippy,
    /// The documentation
    Documentation,
    /// The tests, as `cargo xtask test` runs them
    Test,
    /// The examples, each run to its end
    Examples,
    /// The demo, in both of its forms, on threads and in processes
    Demo,
    /// Worker processes in all ways, for a while
    Soak,
    /// The models of what threads may do to each other
    Loom,
}

impl Step {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no step is hidden");
        value.get_name().to_owned()
    }

    fn run(self, workspace: &Workspace) -> Result<()> {
        let shell = &workspace.shell;
        match self {
            Self::Format => cmd!(shell, "cargo fmt --all --check").run()?,
            Self::Tidy => tidy::run(workspace)?,
            Self::Clippy => {
                cmd!(
                    shell,
                    "cargo clippy --workspace --all-targets -- -D warnings"
                )
                .run()?;
                cmd!(
                    shell,
                    "cargo clippy --package {LIBRARY} --no-default-features -- -D warnings"
                )
                .run()?;
            }
            Self::Documentation => {
                cmd!(shell, "cargo doc --workspace --no-deps")
                    .env("RUSTDOCFLAGS", "-D warnings")
                    .run()?;
            }
            Self::Test => test::run(workspace, &test::Options::default())?,
            Self::Examples => examples(workspace)?,
            Self::Demo => demo(workspace)?,
            Self::Soak => cmd!(shell, "cargo run --package soak -- --minutes 0.3").run()?,
            Self::Loom => loom(workspace)?,
        }
        Ok(())
    }
}

/// Runs the steps and prints how long each took.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let chosen = |step: &Step| options.only.is_empty() || options.only.contains(step);
    let skipped = |step: &Step| options.skip.contains(step);
    let mut times: Vec<(Step, Duration)> = Vec::new();
    for &step in Step::value_variants()
        .iter()
        .filter(|step| chosen(step) && !skipped(step))
    {
        let name = step.name();
        eprintln!("== {name}");
        let start = Instant::now();
        let result = step.run(workspace);
        times.push((step, start.elapsed()));
        if let Err(error) = result {
            print_times(&times);
            bail!("step {name} failed: {error:#}\nrun it alone by cargo xtask ci --only {name}");
        }
    }
    print_times(&times);
    Ok(())
}

fn print_times(times: &[(Step, Duration)]) {
    eprintln!("\n{:<15}{:>9}", "step", "seconds");
    for (step, time) in times {
        eprintln!("{:<15}{:>9.1}", step.name(), time.as_secs_f64());
    }
}

fn examples(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    for package in workspace
        .example_packages()
        .filter(|package| *package != DEMO)
    {
        cmd!(shell, "cargo run --package {package}").run()?;
    }
    for example in workspace.library_examples()? {
        cmd!(shell, "cargo run --package {LIBRARY} --example {example}").run()?;
    }
    Ok(())
}

fn demo(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    // The number 50 fails: one form goes on after it, the other stops there.
    let forms = [("as-completed", 0, 100), ("map", 1, 50)];
    let everywhere = ["threads", "processes"]
        .into_iter()
        .flat_map(|executor| forms.map(|form| (executor, form)));
    for (executor, (mode, code, lines)) in everywhere {
        let demo = cmd!(
            shell,
            "cargo run --package {DEMO} -- --executor {executor} --mode {mode}"
        );
        eprintln!("$ {demo}");
        let output = demo.ignore_status().output()?;
        let printed = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
        ensure!(
            output.status.code() == Some(code) && printed == lines,
            "{mode} must print {lines} lines and exit with {code}, and it printed {printed}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// The models need an own build of the library, on loom's atomics and locks.
fn loom(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let _flags = shell.push_env(
        "RUSTFLAGS",
        format!("{flags} --cfg concurrent_futures_loom").trim(),
    );
    let directory = workspace.target_directory().join("loom");
    let models = || {
        cmd!(
            shell,
            "cargo test --package {LIBRARY} --lib --release --target-dir {directory} loom_"
        )
    };
    let list = models().args(["--", "--list"]).read()?;
    ensure!(
        list.contains(": test"),
        "there is no loom model: name them loom_…, or this step checks nothing"
    );
    models().run()?;
    Ok(())
}
