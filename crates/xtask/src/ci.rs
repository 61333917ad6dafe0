//! `cargo xtask ci`: everything that a change must pass, in steps that are named and timed; the first failure ends it.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use xshell::cmd;

use crate::workspace::{LIBRARY, Workspace};
use crate::{examples, msrv, package, test, tidy, tools};

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
    /// The library with each combination of its features
    Features,
    /// The documentation
    Documentation,
    /// Where dependencies come from, and the licences and duplicates among those of the library
    Dependencies,
    /// The library with the oldest Rust that it promises to build with
    Msrv,
    /// What would be published
    Package,
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
            Self::Clippy => cmd!(
                shell,
                "cargo clippy --workspace --all-targets --all-features -- -D warnings"
            )
            .run()?,
            Self::Features => features(workspace)?,
            Self::Documentation => documentation(workspace)?,
            Self::Dependencies => dependencies(workspace)?,
            Self::Msrv => msrv::check(workspace)?,
            Self::Package => package::check(workspace)?,
            Self::Test => test::run(workspace, &test::Options::default())?,
            Self::Examples => examples::run(workspace)?,
            Self::Demo => examples::demo(workspace)?,
            Self::Soak => examples::soak(workspace)?,
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

fn features(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let _path = tools::HACK.on_path(workspace)?;
    // `default` is one of the combinations that there are without it.
    cmd!(
        shell,
        "cargo hack clippy --package {LIBRARY} --feature-powerset --exclude-features default -- -D warnings"
    )
    .run()?;
    Ok(())
}

fn documentation(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let _flags = shell.push_env("RUSTDOCFLAGS", "-D warnings");
    // All features come last, so that theirs are the pages that are left.
    cmd!(
        shell,
        "cargo doc --package {LIBRARY} --no-deps --no-default-features"
    )
    .run()?;
    cmd!(shell, "cargo doc --workspace --no-deps --all-features").run()?;
    Ok(())
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let _path = tools::DENY.on_path(workspace)?;
    cmd!(shell, "cargo deny check sources").run()?;
    // Only the library is published, and without what its tests use.
    let library = &workspace.library()?.manifest_path;
    cmd!(
        shell,
        "cargo deny --manifest-path {library} --exclude-dev check bans licenses"
    )
    .run()?;
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
