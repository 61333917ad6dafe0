//! The subcommands of cargo that steps of CI need and that do not come with it.
//!
//! Always: a step gets the version that is named here. What is on the path is taken if it has that version; if not,
//! it is built from its sources below the target directory, once.

use anyhow::{Context, Result};
use xshell::{PushEnv, cmd};

use crate::workspace::Workspace;

/// Checks every combination of features.
pub(crate) const HACK: Tool = Tool {
    name: "hack",
    version: "0.6.46",
};

/// Checks licences, duplicates and where crates come from.
pub(crate) const DENY: Tool = Tool {
    name: "deny",
    version: "0.20.2",
};

/// `cargo NAME`, in one version.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Puts it on the path for as long as what is returned lives; builds it if it is not there.
    ///
    /// # Errors
    /// If it cannot be built, most often for want of a network.
    pub(crate) fn on_path<'a>(&self, workspace: &'a Workspace) -> Result<PushEnv<'a>> {
        let Self { name, version } = self;
        let shell = &workspace.shell;
        let directory = workspace.target_directory().join("tools");
        let before = shell.var_os("PATH").unwrap_or_default();
        let programs = std::iter::once(directory.join("bin")).chain(std::env::split_paths(&before));
        let path = shell.push_env("PATH", std::env::join_paths(programs)?);

        let found = cmd!(shell, "cargo {name} --version")
            .quiet()
            .ignore_stderr()
            .read();
        if !found.is_ok_and(|found| found.split(' ').any(|word| word == *version)) {
            let build = directory.join("build");
            cmd!(
                shell,
                "cargo install --locked --debug --force cargo-{name}@{version} --root {directory} --target-dir {build}"
            )
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .run()
            .with_context(|| {
                format!(
                    "cannot build cargo-{name} {version}: check the network, or install that version by cargo install"
                )
            })?;
            shell.remove_path(build)?;
        }
        Ok(path)
    }
}
