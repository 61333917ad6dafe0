//! The step `msrv`: the library builds with the oldest Rust that its manifest promises.
//!
//! Always: it is a compiler of that version that checks it, and where there is none to be had the step fails.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use xshell::{Shell, cmd};

use crate::debian;
use crate::workspace::{LIBRARY, Workspace};

/// Checks the library with that compiler, with all features and with none.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let version = workspace
        .library()?
        .rust_version
        .as_ref()
        .with_context(|| format!("{LIBRARY} does not say which Rust it needs: set rust-version"))?;
    let version = format!("{}.{}", version.major, version.minor);
    let compiler = compiler(workspace, &version)?;

    let directory = workspace.target_directory().join("msrv");
    for features in ["--all-features", "--no-default-features"] {
        cmd!(
            shell,
            "cargo check --locked --package {LIBRARY} {features} --target-dir {directory}"
        )
        .env("RUSTC", &compiler)
        .run()?;
    }
    Ok(())
}

/// A `rustc` of this minor version.
fn compiler(workspace: &Workspace, version: &str) -> Result<PathBuf> {
    let shell = &workspace.shell;
    let compiler = from_rustup(shell, version).or_else(|of_rustup| {
        debian::compiler(workspace, version).map_err(|of_debian| {
            anyhow!(
                "there is no Rust {version} to check with: install it by rustup toolchain install {version}\n\
                 rustup: {of_rustup:#}\npackages of Debian: {of_debian:#}"
            )
        })
    })?;
    let found = cmd!(shell, "{compiler} --version").read()?;
    ensure!(
        found.starts_with(&format!("rustc {version}.")),
        "{} must be of version {version}, and says that it is {found}: remove it",
        compiler.display()
    );
    Ok(compiler)
}

/// The compiler of rustup's toolchain, which is installed if it is not there.
fn from_rustup(shell: &Shell, version: &str) -> Result<PathBuf> {
    let which = || {
        cmd!(shell, "rustup which --toolchain {version} rustc")
            .quiet()
            .ignore_stderr()
            .read()
    };
    if let Ok(compiler) = which() {
        return Ok(compiler.into());
    }
    cmd!(
        shell,
        "rustup toolchain install {version} --profile minimal --no-self-update"
    )
    .run()?;
    Ok(which()?.into())
}
