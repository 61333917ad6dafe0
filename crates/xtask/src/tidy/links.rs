//! Where documents link to in this repository, looked for there.
//!
//! A link is relative, or leads to the repository's page of a file. A file has to be there, and in a document also the
//! heading that an anchor names.

use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::check::Violation;

/// Checks documents, given by path from the top and text. `repository` is the address of its page, and `is_there` says
/// whether there is such a path from the top.
pub(super) fn check(
    documents: &[(String, String)],
    repository: &str,
    is_there: impl Fn(&Path) -> bool,
) -> Vec<Violation> {
    let pages = format!("{repository}/blob/HEAD/");
    let mut violations = Vec::new();
    for (file, text) in documents {
        for (link, line) in links(text) {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = match target.strip_prefix(&pages) {
                Some(path) => PathBuf::from(path),
                None if target.contains(':') => continue,
                None if target.is_empty() => PathBuf::from(file),
                None => beside(Path::new(file), Path::new(target)),
            };
            let document = documents
                .iter()
                .find(|(file, _)| Path::new(file.as_str()) == path);
            let has_heading =
                |text: &str| anchor.is_empty() || anchors(text).iter().any(|name| name == anchor);
            let problem = match document {
                Some((_, text)) if has_heading(text) => continue,
                Some((other, _)) => format!("{other} has no heading for #{anchor}"),
                None if is_there(&path) => continue,
                None => format!("there is no {}", path.display()),
            };
            violations.push(Violation {
                file: file.clone(),
                line,
                rule: "link",
                advice: format!("{problem}: mend the link to {link}"),
            });
        }
    }
    violations
}

/// Where the links of a Markdown text lead, with their lines.
pub(crate) fn links(text: &str) -> Vec<(String, usize)> {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
    let links = events.filter_map(|(event, place)| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            let line = 1 + text[..place.start].matches('\n').count();
            Some((dest_url.into_string(), line))
        }
        _ => None,
    });
    links.collect()
}

/// The path of `target`, as `file` names it.
fn beside(file: &Path, target: &Path) -> PathBuf {
    let mut path = file.to_owned();
    path.pop();
    for part in target.components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            part => path.push(part),
        }
    }
    path
}

/// The anchors of a text's headings, as forges make them: letters and digits in lower case, hyphens for spaces, and a
/// number after the first of the same name.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let heading = heading.take().unwrap_or_default().to_lowercase();
                let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                let name: String = heading.chars().filter(kept).collect();
                let name = name.replace(' ', "-");
                let same = anchors.iter().filter(|other| **other == name).count();
                anchors.push(match same {
                    0 => name,
                    count => format!("{name}-{count}"),
                });
            }
            _ => {}
        }
    }
    anchors
}
