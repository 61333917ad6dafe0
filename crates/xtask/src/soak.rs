//! `cargo xtask soak`: worker processes in all ways, for minutes, in release.

use anyhow::Result;
use clap::Args;
use xshell::cmd;

use crate::workspace::Workspace;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The seed that a run before has printed
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the program `soak`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let shell = &workspace.shell;
    let minutes = options.minutes.to_string();
    let mut soak = cmd!(
        shell,
        "cargo run --release --package soak -- --minutes {minutes}"
    );
    if let Some(seed) = options.seed {
        soak = soak.arg("--seed").arg(seed.to_string());
    }
    soak.run()?;
    Ok(())
}
