//! Links of documents, as they are and as they are broken.

use std::path::Path;

use crate::tidy::links;

const REPOSITORY: &str = "https://forge.example/a";

/// Where the links of `docs/guide.md` with this text are broken.
fn broken(text: &str) -> Vec<String> {
    let guide = format!("# Guide\n\n{text}\n\n## What is `left`?\n\n## Twice\n\n## Twice\n");
    let documents = [
        ("README.md".to_owned(), "# The top\n".to_owned()),
        ("docs/guide.md".to_owned(), guide),
    ];
    let is_there = |path: &Path| path == Path::new("examples/service");
    let found = links::check(&documents, REPOSITORY, is_there);
    let found = found.into_iter();
    found
        .map(|violation| format!("{} {}", violation.line, violation.advice))
        .collect()
}

#[test]
fn what_links_lead_to_is_there() {
    for text in [
        "[a](https://elsewhere.example/guide.md#none)",
        "[a](../README.md), [b](../README.md#the-top), [c](#guide)",
        "[a](#what-is-left), [b](#twice), [c](#twice-1)",
        "[the service](../examples/service)",
        "[`a`], and [b][a page]\n\n[`a`]: ../README.md#the-top\n[a page]: https://forge.example/a/blob/HEAD/docs/guide.md#twice",
        "`[a](none.md)`",
    ] {
        assert_eq!(broken(text), [""; 0], "{text}");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_told_with_its_line() {
    for (text, problem) in [
        ("[a](../READ.md)", "there is no READ.md"),
        ("[a](README.md)", "there is no docs/README.md"),
        (
            "[a](../README.md#guide)",
            "README.md has no heading for #guide",
        ),
        ("[a](#the-top)", "docs/guide.md has no heading for #the-top"),
        ("[a](#twice-2)", "docs/guide.md has no heading for #twice-2"),
        ("| [a] |\n|---|\n\n[a]: none.md", "there is no docs/none.md"),
        (
            "[a](https://forge.example/a/blob/HEAD/none.md)",
            "there is no none.md",
        ),
    ] {
        let found = broken(text);
        assert_eq!(found.len(), 1, "{text}");
        assert!(found[0].starts_with(&format!("3 {problem}: ")), "{found:?}");
    }
}
