//! What cargo knows about this workspace.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand, Package, TargetKind};
use xshell::Shell;

/// The library that all of this is about.
pub(crate) const LIBRARY: &str = "concurrent-futures";
/// The demo, whose tests need a httpbin.
pub(crate) const DEMO: &str = "fetch";
/// The example that serves until it is stopped; its tests start it.
pub(crate) const SERVICE: &str = "service";

/// The workspace, and a shell that stands at its top.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) shell: Shell,
    metadata: Metadata,
}

impl Workspace {
    /// Reads the workspace that this program was built in.
    pub(crate) fn open() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .no_deps()
            .exec()
            .context("cannot read the workspace")?;
        let shell = Shell::new()?;
        shell.change_dir(metadata.workspace_root.as_std_path());
        Ok(Self { shell, metadata })
    }

    /// The top of the workspace.
    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Where cargo builds.
    pub(crate) fn target_directory(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    /// The programs below `examples/`.
    pub(crate) fn example_packages(&self) -> impl Iterator<Item = &str> {
        let examples = self.metadata.workspace_root.join("examples");
        self.metadata
            .packages
            .iter()
            .filter(move |package| package.manifest_path.starts_with(&examples))
            .filter(|package| targets(package, &TargetKind::Bin).next().is_some())
            .map(|package| package.name.as_str())
    }

    /// The examples of the library itself.
    pub(crate) fn library_examples(&self) -> Result<impl Iterator<Item = &str>> {
        Ok(targets(self.library()?, &TargetKind::Example))
    }

    /// The integration tests of the demo, by names that no other package's test has.
    pub(crate) fn demo_tests(&self) -> Result<Vec<&str>> {
        let demo = self.package(DEMO)?;
        let names: Vec<&str> = targets(demo, &TargetKind::Test).collect();
        ensure!(
            !names.is_empty(),
            "package {DEMO} has no tests: the check of the demo is lost"
        );
        for other in self
            .metadata
            .packages
            .iter()
            .filter(|package| package.id != demo.id)
        {
            if let Some(name) = targets(other, &TargetKind::Test).find(|name| names.contains(name))
            {
                anyhow::bail!(
                    "both {DEMO} and {} have a test {name}: rename one",
                    other.name
                );
            }
        }
        Ok(names)
    }

    /// What the manifest of the library says.
    pub(crate) fn library(&self) -> Result<&Package> {
        self.package(LIBRARY)
    }

    fn package(&self, name: &str) -> Result<&Package> {
        let package = self
            .metadata
            .packages
            .iter()
            .find(|package| package.name == name);
        package.with_context(|| format!("there is no package {name} in the workspace"))
    }
}

/// The names of the package's targets of one kind.
fn targets<'a>(package: &'a Package, kind: &TargetKind) -> impl Iterator<Item = &'a str> {
    let targets = package
        .targets
        .iter()
        .filter(move |target| target.kind.contains(kind));
    targets.map(|target| target.name.as_str())
}
