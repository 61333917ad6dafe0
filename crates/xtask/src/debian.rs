//! A compiler from Debian's packages, for machines that rustup's server cannot be reached from.
//!
//! Always: nothing is installed. The packages are unpacked below the target directory, which takes no privileges.

use std::env::consts::ARCH;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::workspace::Workspace;

/// The packages that have a compiler: the release's own, and the newer one that browsers are built with.
const COMPILERS: [&str; 2] = ["rustc", "rustc-web"];
/// What a compiler needs beside what every system has: the standard library and LLVM.
const LIBRARIES: [&str; 2] = ["libstd-rust", "libllvm"];

/// A `rustc` of this minor version.
///
/// # Errors
/// If this is not Debian or a system like it, or none of its packages has that version.
pub(crate) fn compiler(workspace: &Workspace, version: &str) -> Result<PathBuf> {
    let shell = &workspace.shell;
    let directory = workspace
        .target_directory()
        .join(format!("debian-rust-{version}"));
    let program = directory.join("rustc");
    // Written last, so that what was unpacked in part has none.
    if program.exists() {
        return Ok(program);
    }
    let package = offered(shell, version)?.or_else(|| {
        // The lists of packages may never have been fetched, or be out of date.
        cmd!(shell, "apt-get update --quiet").run().ok()?;
        offered(shell, version).ok()?
    });
    let package = package.with_context(|| format!("none of {COMPILERS:?} is of {version}"))?;

    shell.remove_path(&directory)?;
    shell.create_dir(&directory)?;
    let _directory = shell.push_dir(&directory);
    let mut wanted = vec![package];
    while let Some(package) = wanted.pop() {
        cmd!(shell, "apt-get download --quiet {package}").run()?;
        let about = cmd!(shell, "apt-cache show --no-all-versions {package}")
            .quiet()
            .read()?;
        wanted.extend(libraries(&about));
    }
    for file in shell.read_dir(".")? {
        cmd!(shell, "dpkg --extract {file} root").run()?;
        shell.remove_path(file)?;
    }
    let root = directory.join("root/usr").display().to_string();
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{root}/lib/{ARCH}-linux-gnu' exec '{root}/bin/rustc' \"$@\"\n"
    );
    let unfinished = directory.join("rustc.new");
    fs::write(&unfinished, script)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(0o755))?;
    fs::rename(unfinished, &program)?;
    Ok(program)
}

/// The package that has a compiler of this version, as `NAME=VERSION`.
fn offered(shell: &Shell, version: &str) -> Result<Option<String>> {
    let table = cmd!(shell, "apt-cache madison {COMPILERS...}")
        .quiet()
        .read()?;
    Ok(of_version(&table, version))
}

/// The first line of a `table` of packages that is of this minor version.
fn of_version(table: &str, version: &str) -> Option<String> {
    table.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let (name, release) = (columns.next()?, columns.next()?);
        let rest = release.strip_prefix(version)?;
        rest.starts_with('.').then(|| format!("{name}={release}"))
    })
}

/// The libraries that a package depends on, by what is said `about` it, with their versions where it wants one.
fn libraries(about: &str) -> Vec<String> {
    let dependencies = about
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .flat_map(|line| line.split(", "));
    dependencies
        .filter(|dependency| LIBRARIES.iter().any(|name| dependency.starts_with(name)))
        .map(|dependency| {
            let (name, constraint) = dependency.split_once(' ').unwrap_or((dependency, ""));
            let exact = constraint
                .strip_prefix("(= ")
                .and_then(|rest| rest.strip_suffix(')'));
            exact.map_or_else(|| name.to_owned(), |version| format!("{name}={version}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{libraries, of_version};

    const TABLE: &str = " rustc-web | 1.96.0+dfsg1-1~deb12u2 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
 rustc-web | 1.85.0+dfsg3-1~deb12u3 | http://mirror.example/debian bookworm/main amd64 Packages
     rustc | 1.63.0+dfsg1-2 | http://mirror.example/debian bookworm/main amd64 Packages";

    #[test]
    fn a_compiler_is_chosen_by_its_minor_version() {
        let found = |version| of_version(TABLE, version);
        assert_eq!(
            found("1.85").as_deref(),
            Some("rustc-web=1.85.0+dfsg3-1~deb12u3")
        );
        assert_eq!(found("1.63").as_deref(), Some("rustc=1.63.0+dfsg1-2"));
        // 1.9 is not the beginning of 1.96.
        assert_eq!(found("1.9"), None);
        assert_eq!(of_version("", "1.85"), None);
    }

    #[test]
    fn the_libraries_of_a_compiler_come_in_its_version() {
        let about = "Package: rustc-web\nDepends: libc6 (>= 2.34), libstd-rust-web-dev (= 1.85.0+dfsg3-1), libllvm19, gcc\n\
                     Suggests: libllvm20";
        assert_eq!(
            libraries(about),
            ["libstd-rust-web-dev=1.85.0+dfsg3-1", "libllvm19"]
        );
    }
}
