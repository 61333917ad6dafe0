//! The rules, applied to what the scan finds; every violation says what to do.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::documents;
use super::examples;
use super::layers::{MAX_LINES, RESERVED_WORDS, UNSAFE_FILES, layer_of, objection};
use super::links;
use super::scan::{Mention, Scan, What, scan};
use crate::workspace::Workspace;

/// The folder of the library's sources, from the top.
pub(super) const LIBRARY_SOURCES: &str = "crates/concurrent-futures/src/";
/// The folders that hold Rust.
const SOURCES: &[&str] = &["crates", "examples", "tests"];

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) rule: &'static str,
    pub(super) advice: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            rule,
            advice,
        } = self;
        write!(formatter, "{file}:{line}: {rule}: {advice}")
    }
}

/// Checks the workspace and prints what is wrong.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut files = Vec::new();
    for folder in SOURCES {
        read_sources(workspace.root(), Path::new(folder), &mut files)?;
    }
    ensure!(
        files
            .iter()
            .any(|(file, _)| file.starts_with(LIBRARY_SOURCES)),
        "there is no Rust in {LIBRARY_SOURCES}: tell tidy where the library is"
    );
    let mut documents = Vec::new();
    for folder in ["", "docs", "tests", "examples/service"] {
        read_documents(workspace.root(), Path::new(folder), &mut documents)?;
    }
    let mut violations = check(&files)?;
    violations.extend(documents::check(&documents, &files));
    violations.extend(examples::check(&files)?);
    let repository = workspace.library()?.repository.as_deref();
    let repository = repository.context("the manifest of the library names no repository")?;
    let is_there = |path: &Path| workspace.root().join(path).exists();
    violations.extend(links::check(&documents, repository, is_there));
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => bail!("tidy found 1 violation"),
        count => bail!("tidy found {count} violations"),
    }
}

/// Reads the Rust files below `folder`, by their paths from the top, in order.
fn read_sources(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    let entries = fs::read_dir(root.join(folder))
        .with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let full = root.join(&path);
        if full.is_dir() {
            if name != "target" {
                read_sources(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&full)
                .with_context(|| format!("cannot read {}", path.display()))?;
            files.push((path.to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}

/// Reads the documents in `folder`, by their paths from the top, in order.
fn read_documents(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    let entries = fs::read_dir(root.join(folder))
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = folder.join(entry?.file_name());
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(root.join(&path))
                .with_context(|| format!("cannot read {}", path.display()))?;
            files.push((path.to_string_lossy().into_owned(), text));
        }
    }
    files.sort();
    Ok(())
}

/// Checks files, given by path from the top and text.
pub(super) fn check(files: &[(String, String)]) -> Result<Vec<Violation>> {
    let mut violations: Vec<Violation> = files
        .iter()
        .flat_map(|(file, text)| check_text(file, text))
        .collect();
    let library: Vec<(&str, &str)> = files
        .iter()
        .filter_map(|(file, text)| Some((file.strip_prefix(LIBRARY_SOURCES)?, text.as_str())))
        .collect();
    // A parent says which files are its tests, so the shorter paths come first.
    let mut modules: Vec<(Vec<String>, &str, &str)> = library
        .into_iter()
        .map(|(file, text)| (module_of(file), file, text))
        .collect();
    modules.sort_by_key(|(module, ..)| module.len());
    let mut test_files = BTreeSet::new();
    for (module, file, text) in modules {
        let in_test = (1..=module.len()).any(|length| test_files.contains(&module[..length]));
        let Scan {
            mentions,
            test_files: more,
        } = scan(text, &module, in_test)
            .with_context(|| format!("cannot scan {LIBRARY_SOURCES}{file}"))?;
        test_files.extend(more);
        let found = check_mentions(file, &module, &mentions);
        violations.extend(found.into_iter().map(|(line, rule, advice)| Violation {
            file: format!("{LIBRARY_SOURCES}{file}"),
            line,
            rule,
            advice,
        }));
    }
    violations.sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
    Ok(violations)
}

/// The rules for every Rust file of the workspace.
fn check_text(file: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut violation = |line, rule, advice| {
        violations.push(Violation {
            file: file.to_owned(),
            line,
            rule,
            advice,
        })
    };
    if !text.starts_with("//!") {
        violation(
            1,
            "opening",
            "begin the file with a `//!` sentence that says what it is for".to_owned(),
        );
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        violation(
            lines,
            "length",
            format!("split the file: {lines} lines are more than {MAX_LINES}"),
        );
    }
    violations
}

type Found = (usize, &'static str, String);

/// The rules for a file of the library.
fn check_mentions(file: &str, module: &[String], mentions: &[Mention]) -> Vec<Found> {
    let mut found = Vec::new();
    let own = module.first().map(String::as_str);
    if let Some(own) = own.filter(|own| layer_of(own).is_none()) {
        found.push((
            1,
            "layer",
            format!("say in the table of tidy in which layer `{own}` is"),
        ));
    }
    for Mention {
        line,
        in_test,
        what,
    } in mentions
    {
        let objection = match what {
            What::Path(path) => own
                .and_then(|own| object_to_path(own, path))
                .map(|advice| ("layer", advice)),
            What::Word(word) => {
                object_to_word(own, word, *in_test).map(|advice| ("reserved word", advice))
            }
            What::Unsafe if !UNSAFE_FILES.iter().any(|allowed| file.starts_with(allowed)) => {
                Some((
                    "unsafe",
                    format!("move the unsafe code to one of {}", UNSAFE_FILES.join(", ")),
                ))
            }
            What::Unsafe | What::Macro => None,
        };
        found.extend(objection.map(|(rule, advice)| (*line, rule, advice)));
    }
    found.dedup();
    found
}

fn object_to_path(own: &str, path: &[String]) -> Option<String> {
    match path.first() {
        None => Some("name the module that is meant, and not all of the crate's root".to_owned()),
        Some(to) if layer_of(to).is_none() => Some(format!(
            "name the module that defines `{to}`, and not the crate's root, which is above `{own}`"
        )),
        Some(to) => objection(own, to),
    }
}

fn object_to_word(own: Option<&str>, word: &str, in_test: bool) -> Option<String> {
    let (_, modules) = RESERVED_WORDS
        .iter()
        .find(|(reserved, _)| *reserved == word)?;
    let exempt = in_test && word == "tokio";
    let allowed = own.is_some_and(|own| modules.contains(&own));
    (!exempt && !allowed).then(|| {
        format!(
            "`{word}` is for {} alone: let that module give what is needed",
            quoted(modules)
        )
    })
}

fn quoted(modules: &[&str]) -> String {
    modules
        .iter()
        .map(|module| format!("`{module}`"))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The path of the module that a file below `src/` holds: empty for the root.
pub(super) fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || path == "lib" {
        module.pop();
    }
    module
}
