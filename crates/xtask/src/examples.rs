//! The steps that run the workspace's programs: `examples`, `demo`, `soak`.
//!
//! Always: they are built as the tests are, in one build with the same features, so that nothing is built twice.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use xshell::{Cmd, cmd};

use crate::workspace::{DEMO, SERVICE, Workspace};

/// Runs each example to its end.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let programs = build(workspace)?;
    let shell = &workspace.shell;
    let packages = workspace
        .example_packages()
        .filter(|package| ![DEMO, SERVICE].contains(package))
        .map(|package| programs.join(package));
    let examples = workspace
        .library_examples()?
        .map(|example| programs.join("examples").join(example));
    for program in packages.chain(examples) {
        succeed(cmd!(shell, "{program}"))?;
    }
    Ok(())
}

/// Runs the demo in both of its forms, on threads and in processes.
pub(crate) fn demo(workspace: &Workspace) -> Result<()> {
    let demo = build(workspace)?.join(DEMO);
    let shell = &workspace.shell;
    // The number 50 fails: one form goes on after it, the other stops there.
    let forms = [("as-completed", 0, 100), ("map", 1, 50)];
    let everywhere = ["threads", "processes"]
        .into_iter()
        .flat_map(|executor| forms.map(|form| (executor, form)));
    for (executor, (mode, code, lines)) in everywhere {
        let demo = cmd!(shell, "{demo} --executor {executor} --mode {mode}");
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

/// Uses worker processes in all ways, for a while.
pub(crate) fn soak(workspace: &Workspace) -> Result<()> {
    let soak = build(workspace)?.join("soak");
    cmd!(workspace.shell, "{soak} --minutes 0.3").run()?;
    Ok(())
}

/// Builds all programs, and gives the directory that they are in.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    cmd!(
        workspace.shell,
        "cargo build --workspace --all-features --bins --examples"
    )
    .run()?;
    Ok(workspace.target_directory().join("debug"))
}

/// Runs a program, whose output is shown if it fails.
fn succeed(program: Cmd<'_>) -> Result<()> {
    eprintln!("$ {program}");
    let output = program.quiet().ignore_status().output()?;
    ensure!(
        output.status.success(),
        "{}, after it printed\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
