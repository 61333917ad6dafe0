//! The step `package`: what would be published is complete, and works away from this repository.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use xshell::cmd;

use crate::tidy::links;
use crate::tools;
use crate::workspace::{LIBRARY, Workspace};

/// Packs the library, builds what was packed, and looks for the documents in it.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let package = workspace.library()?;
    let said = [
        ("description", package.description.is_some()),
        ("documentation", package.documentation.is_some()),
        ("license", package.license.is_some()),
        ("readme", package.readme.is_some()),
        ("repository", package.repository.is_some()),
        ("rust-version", package.rust_version.is_some()),
    ];
    for (field, is_there) in said {
        ensure!(is_there, "the manifest of {LIBRARY} has no {field}");
    }

    let target = workspace.target_directory();
    // With what is not committed yet, since this is asked before a commit. cargo builds what it has packed.
    cmd!(
        shell,
        "cargo package --package {LIBRARY} --allow-dirty --target-dir {target}"
    )
    .run()?;
    let packed = target.join(format!("package/{LIBRARY}-{}", package.version));
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
        ensure!(
            packed.join(file).is_file(),
            "{file} is not packed: see `include` in the manifest of {LIBRARY}"
        );
    }
    let manifest = packed.join("Cargo.toml");
    // Their snippets are compiled from the files that were packed, and are run by the step of the tests.
    let snippets = cmd!(
        shell,
        "cargo test --doc --locked --manifest-path {manifest} --target-dir {target} -- --list"
    )
    .read()?;
    ensure!(
        snippets.contains("README.md"),
        "the snippets of README.md are not among the tests of what was packed"
    );

    oldest_dependencies(workspace, &manifest)?;

    // Whether they lead somewhere is checked by tidy.
    let readme = shell.read_file(packed.join("README.md"))?;
    let relative = links(&readme)
        .into_iter()
        .find(|(link, _)| !link.contains(':') && !link.starts_with('#'));
    if let Some((link, line)) = relative {
        let repository = package.repository.as_deref().unwrap_or_default();
        bail!(
            "README.md:{line} links to {link}, which leads nowhere in a registry, where the README has an address of its \
             own: write {repository}/blob/HEAD/{link}"
        );
    }
    Ok(())
}

/// The library builds with the oldest versions that its manifest allows. What was packed is changed for that, and done
/// with.
fn oldest_dependencies(workspace: &Workspace, manifest: &Path) -> Result<()> {
    let shell = &workspace.shell;
    let target = workspace.target_directory();
    let _path = tools::HACK.on_path(workspace)?;
    // What tests use is nobody else's business.
    cmd!(
        shell,
        "cargo hack --remove-dev-deps --manifest-path {manifest}"
    )
    .run()?;
    // The option is not stable in cargo yet. The variable lets cargo have it, here alone: the compiler gets no such
    // leave.
    cmd!(
        shell,
        "cargo generate-lockfile -Z direct-minimal-versions --manifest-path {manifest}"
    )
    .env("RUSTC_BOOTSTRAP", "1")
    .run()?;
    cmd!(
        shell,
        "cargo check --locked --all-features --manifest-path {manifest} --target-dir {target}"
    )
    .run()?;
    Ok(())
}
