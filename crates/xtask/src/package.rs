//! The step `package`: what would be published is complete, and works away from this repository.

use std::path::Path;

use anyhow::{Result, ensure};
use xshell::cmd;

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

    let readme = shell.read_file(packed.join("README.md"))?;
    let repository = package.repository.as_deref().unwrap_or_default();
    for link in links(&readme) {
        check_link(link, repository, workspace.root())?;
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

/// A registry shows the README at an address of its own, where what is relative to the repository leads nowhere.
fn check_link(link: &str, repository: &str, root: &Path) -> Result<()> {
    ensure!(
        link.starts_with("https://") || link.starts_with('#'),
        "README.md links to {link}, which leads nowhere in a registry: write {repository}/blob/HEAD/{link}"
    );
    if let Some(path) = link.strip_prefix(&format!("{repository}/blob/HEAD/")) {
        let path = path.split('#').next().unwrap_or(path);
        ensure!(
            root.join(path).exists(),
            "README.md links to {link}, and there is no {path} in the repository"
        );
    }
    Ok(())
}

/// Where the links of a Markdown text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
}

#[cfg(test)]
mod tests {
    use super::{check_link, links};
    use crate::workspace::Workspace;

    #[test]
    fn every_link_of_a_text_is_found() {
        let text = "[a](docs/a.md), and\n| [`b`](https://b.rs \"b\") | [c](#c) |";
        assert_eq!(
            links(text).collect::<Vec<_>>(),
            ["docs/a.md", "https://b.rs", "#c"]
        );
    }

    #[test]
    fn links_must_lead_somewhere_in_a_registry_too() {
        let workspace = Workspace::open().expect("this is in one");
        let is_right = |link| check_link(link, "https://forge.example/a", workspace.root()).is_ok();
        assert!(is_right("https://docs.rs/rayon"));
        assert!(is_right("#section"));
        assert!(is_right(
            "https://forge.example/a/blob/HEAD/docs/guide.md#maps"
        ));
        assert!(!is_right("docs/guide.md"));
        assert!(!is_right(
            "https://forge.example/a/blob/HEAD/docs/no-such-document.md"
        ));
    }
}
