//! A Python environment with httpbin, below the target directory; made again only when what it must hold changes.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::workspace::Workspace;

const REQUIREMENTS: &str = include_str!("../httpbin-requirements.txt");
/// In the environment: the requirements that it was made for. Written last, so that a half-made one has none.
const STAMP: &str = "requirements-stamp.txt";

/// Gives the environment's `python`.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    let shell = &workspace.shell;
    let directory = workspace.target_directory().join("httpbin-venv");
    let (python, stamp) = (directory.join("bin/python"), directory.join(STAMP));
    // It can break although its stamp is right: when the Python that it links to goes away.
    if fs::read_to_string(&stamp).is_ok_and(|text| text == REQUIREMENTS)
        && cmd!(shell, "{python} -c 'import gunicorn, httpbin'")
            .quiet()
            .ignore_stderr()
            .run()
            .is_ok()
    {
        return Ok(python);
    }

    let base = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let supported = "import sys; print(sys.version_info >= (3, 11))";
    let answer = cmd!(shell, "{base} -c {supported}")
        .quiet()
        .read()
        .with_context(|| {
            format!("cannot run {base}: install Python 3.11 or newer, or set PYTHON")
        })?;
    ensure!(
        answer == "True",
        "{base} is too old: install Python 3.11 or newer, or set PYTHON"
    );

    eprintln!(
        "making a Python environment with httpbin in {}",
        directory.display()
    );
    shell.remove_path(&directory)?;
    cmd!(shell, "{base} -m venv {directory}")
        .quiet()
        .run()
        .context(
            "cannot make a Python environment: install the venv module (Debian's python3-venv)",
        )?;
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/httpbin-requirements.txt");
    let pip = [
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--retries",
        "1",
    ];
    cmd!(
        shell,
        "{python} {pip...} install --requirement {requirements}"
    )
    .quiet()
    .run()
    .context("cannot install httpbin: check the network, or PIP_INDEX_URL")?;
    fs::write(&stamp, REQUIREMENTS).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}
