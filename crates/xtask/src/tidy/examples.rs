//! Every public item of the library has an example, or links to one that shows it.
//!
//! - An item is a module, a type, a trait, a function, a method of a type or of a trait, a constant or a macro. Fields,
//!   variants and associated types are covered by what they are in, and the methods of a trait's implementation by the
//!   trait.
//! - An example is a block of Rust in the documentation that the tests compile: not `text`, `ignore` or `compile_fail`.
//! - A type, trait, constant, macro or module is covered by any example of its own. A function or method is covered by
//!   one that calls it.
//! - An item without one is covered by a link to an item whose example names it, and for a method calls it. A link to a
//!   function whose signature names a type, and which has an example, covers the type.
//! - An item without one is also covered by a link to a covered item of its own name, as in `as [Map::next]`.
//!
//! What counts is what a reader sees, so the lines that rustdoc hides (`# `) name nothing. That links lead somewhere is
//! checked by rustdoc; here the last segments of their paths are compared, and where several items match, one whose
//! example shows the item is enough.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use pulldown_cmark::{BrokenLink, CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd};

use super::check::{LIBRARY_SOURCES, Violation, module_of};
use super::items::{Item, Items, Kind};

/// The file that stands in for `process` on systems without worker processes: the examples are in `process`.
const STAND_IN: &str = "process/elsewhere.rs";

/// What may stand after the fence of a block that is compiled and works.
const COMPILED: &[&str] = &["rust", "no_run", "should_panic", "standalone_crate"];

/// Checks the library among files, given by path from the top and text.
pub(super) fn check(files: &[(String, String)]) -> Result<Vec<Violation>> {
    let mut items = Items::default();
    for (file, text) in files {
        if let Some(below) = file.strip_prefix(LIBRARY_SOURCES)
            && below != STAND_IN
        {
            items
                .read(file, text, &module_of(below))
                .with_context(|| format!("cannot read the items of {file}"))?;
        }
    }
    let items: Vec<(Item, Documentation)> = items
        .into_public()
        .into_iter()
        .map(|item| {
            let documentation = Documentation::read(&item.documentation);
            (item, documentation)
        })
        .collect();
    let mut covered: Vec<bool> = items
        .iter()
        .map(|(item, own)| has_example(item, own, &items))
        .collect();
    while let Some(next) = (0..items.len())
        .find(|&at| !covered[at] && has_covered_namesake(&items[at], &items, &covered))
    {
        covered[next] = true;
    }
    let uncovered = items.iter().zip(&covered).filter(|(_, covered)| !**covered);
    Ok(uncovered.map(|((item, _), _)| violation(item)).collect())
}

fn violation(item: &Item) -> Violation {
    let (own, other) = match item.kind {
        Kind::Function | Kind::Method => (" that calls it", "calls it"),
        Kind::Module | Kind::Other => ("", "names it"),
    };
    let name = match &item.path[..] {
        [] => "the library".to_owned(),
        path => format!("`{}`", path.join("::")),
    };
    Violation {
        file: item.file.clone(),
        line: item.line,
        rule: "example",
        advice: format!(
            "write an example of {name}{own}, or link to an item whose example {other}"
        ),
    }
}

/// Whether the item has an example, its own or one that it links to.
fn has_example(item: &Item, own: &Documentation, items: &[(Item, Documentation)]) -> bool {
    let is_called = matches!(item.kind, Kind::Function | Kind::Method);
    if own.has_example && (!is_called || own.shows(item)) {
        return true;
    }
    own.links.iter().any(|link| {
        let target = Target::of(link, item);
        items.iter().any(|(other, documentation)| {
            let in_signature = !is_called
                && item
                    .path
                    .last()
                    .is_some_and(|name| other.signature.contains(name));
            documentation.has_example
                && (in_signature || documentation.shows(item))
                && target.may_be(other)
        })
    })
}

/// Whether the item links to one of its own name that is covered.
fn has_covered_namesake(
    (item, own): &(Item, Documentation),
    items: &[(Item, Documentation)],
    covered: &[bool],
) -> bool {
    let is_namesake = |other: &Item| other.path.last() == item.path.last();
    own.links.iter().any(|link| {
        let target = Target::of(link, item);
        items
            .iter()
            .zip(covered)
            .any(|((other, _), covered)| *covered && is_namesake(other) && target.may_be(other))
    })
}

/// What the documentation of an item shows and links to.
#[derive(Debug, Default)]
struct Documentation {
    has_example: bool,
    /// What the visible lines of the examples name.
    names: BTreeSet<String>,
    /// Those of the names that stand after a dot, a path or `fn`.
    members: BTreeSet<String>,
    /// Where the links lead, as they are written.
    links: Vec<String>,
}

impl Documentation {
    fn read(text: &str) -> Self {
        let mut documentation = Self::default();
        // A link without an address means an item.
        let item_link =
            |link: BrokenLink<'_>| Some((link.reference.to_string().into(), CowStr::Borrowed("")));
        let mut parser =
            Parser::new_with_broken_link_callback(text, Options::empty(), Some(item_link));
        while let Some(event) = parser.next() {
            match event {
                Event::Start(Tag::Link { dest_url, .. }) => {
                    documentation.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language)))
                    if is_compiled(&language) =>
                {
                    let code: String = parser
                        .by_ref()
                        .take_while(|event| !matches!(event, Event::End(TagEnd::CodeBlock)))
                        .filter_map(|event| match event {
                            Event::Text(text) => Some(text.into_string()),
                            _ => None,
                        })
                        .collect();
                    documentation.add_example(&code);
                }
                _ => {}
            }
        }
        documentation
    }

    fn add_example(&mut self, code: &str) {
        self.has_example = true;
        let (visible, lines): (Vec<bool>, Vec<&str>) = code.lines().map(shown).unzip();
        // What is not Rust does not pass the tests either.
        let Ok(tokens) = lines.join("\n").parse() else {
            return;
        };
        self.add_names(tokens, &visible);
    }

    fn add_names(&mut self, tokens: TokenStream, visible: &[bool]) {
        let mut is_member = false;
        for tree in tokens {
            let mut before_member = false;
            match tree {
                TokenTree::Group(group) => self.add_names(group.stream(), visible),
                TokenTree::Punct(mark) => before_member = matches!(mark.as_char(), '.' | ':'),
                TokenTree::Ident(name) => {
                    let line = name.span().start().line;
                    let name = name.to_string();
                    before_member = name == "fn";
                    if visible.get(line - 1).is_some_and(|&visible| visible) {
                        if is_member {
                            self.members.insert(name.clone());
                        }
                        self.names.insert(name);
                    }
                }
                TokenTree::Literal(_) => {}
            }
            is_member = before_member;
        }
    }

    /// Whether an example names the item, and as a method if it is one.
    fn shows(&self, item: &Item) -> bool {
        let names = match item.kind {
            Kind::Method => &self.members,
            _ => &self.names,
        };
        item.path.last().is_some_and(|name| names.contains(name))
    }
}

/// Whether a block with this after its fence is compiled and shows what works.
fn is_compiled(language: &str) -> bool {
    language
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .all(|word| COMPILED.contains(&word) || word.starts_with("edition"))
}

/// Whether readers see a line of an example, and the line without the mark that hides it.
fn shown(line: &str) -> (bool, &str) {
    let trimmed = line.trim_start();
    match trimmed.strip_prefix('#') {
        Some("") => (false, ""),
        Some(rest) if rest.starts_with(' ') => (false, rest),
        Some(rest) if rest.starts_with('#') => (true, rest),
        _ => (true, line),
    }
}

/// The item that a link means, as far as the path that is written tells.
#[derive(Debug)]
struct Target<'a> {
    /// The type, if the path begins with one: `Self`, or what stands before the name.
    owner: Option<&'a str>,
    /// Nothing if the root is meant.
    name: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(link: &'a str, item: &'a Item) -> Self {
        let link = link.trim_matches('`');
        let link = link.split_once('@').map_or(link, |(_, path)| path);
        let link = link.split(['(', '<', '!', '#']).next().unwrap_or(link);
        let mut segments: Vec<&str> = link
            .split("::")
            .filter(|segment| !matches!(*segment, "crate" | "super" | "self" | ""))
            .collect();
        if let (Some(first), Some(self_type)) = (segments.first_mut(), &item.self_type)
            && *first == "Self"
        {
            *first = self_type;
        }
        let name = segments.pop();
        let owner = segments.pop();
        Self { owner, name }
    }

    fn may_be(&self, item: &Item) -> bool {
        let mut path = item.path.iter().map(String::as_str).rev();
        if path.next() != self.name {
            return false;
        }
        match (self.owner, item.kind) {
            (Some(owner), Kind::Method) => path.next() == Some(owner),
            (Some(owner), _) => path.any(|module| module == owner),
            (None, kind) => kind != Kind::Method,
        }
    }
}
