//! What a file of the library names, found in its tokens: so comments and strings do not count, and macros do.

use std::collections::BTreeSet;
use std::iter;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Something that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) line: usize,
    /// Whether a `#[cfg(test)]` module does it.
    pub(super) in_test: bool,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A path inside the library, from its root; empty for the root itself and for all that is in it.
    Path(Vec<String>),
    /// A macro by a path from the root, where exported macros live wherever they were written.
    Macro,
    /// An identifier that means an external crate or a function.
    Word(String),
    /// The keyword `unsafe`.
    Unsafe,
}

/// All that a file names.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) mentions: Vec<Mention>,
    /// The `#[cfg(test)] mod name;` of the file, by their paths from the root.
    pub(super) test_files: BTreeSet<Vec<String>>,
}

/// Scans the source of the module `module`, given by its path from the root.
pub(super) fn scan(source: &str, module: &[String], in_test: bool) -> Result<Scan> {
    let tokens: TokenStream = source
        .parse()
        .map_err(|error| anyhow!("no Rust: {error}"))?;
    let mut scan = Scan::default();
    scan.tokens(
        tokens,
        &Scope {
            module: module.to_vec(),
            in_test,
        },
    );
    Ok(scan)
}

/// Where a token stands.
#[derive(Clone, Debug)]
struct Scope {
    module: Vec<String>,
    in_test: bool,
}

impl Scope {
    fn child(&self, name: &str, in_test: bool) -> Self {
        let module = self
            .module
            .iter()
            .cloned()
            .chain(iter::once(name.to_owned()))
            .collect();
        Self {
            module,
            in_test: self.in_test || in_test,
        }
    }
}

impl Scan {
    fn tokens(&mut self, tokens: TokenStream, scope: &Scope) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        // Whether a `#[cfg(test)]` stands before the item at hand.
        let mut for_test = false;
        let mut at = 0;
        while at < trees.len() {
            let rest = &trees[at..];
            at += 1;
            match &rest[0] {
                TokenTree::Group(group) => {
                    for_test |= is_attribute(&trees[..at]) && is_cfg_test(group);
                    self.tokens(group.stream(), scope);
                }
                TokenTree::Ident(word) if word == "mod" => {
                    at += self.module(rest, scope, for_test);
                    for_test = false;
                }
                TokenTree::Ident(word) if *word != "pub" => {
                    let word = word.to_string();
                    at += self.word(&word, rest, &trees[..at - 1], scope);
                    for_test = false;
                }
                TokenTree::Punct(mark) if mark.as_char() == ';' => for_test = false,
                _ => {}
            }
        }
    }

    /// Takes `mod name { … }` or `mod name;` and gives how many tokens after `mod` that were.
    fn module(&mut self, rest: &[TokenTree], scope: &Scope, for_test: bool) -> usize {
        match rest {
            [_, TokenTree::Ident(name), TokenTree::Group(body), ..]
                if body.delimiter() == Delimiter::Brace =>
            {
                self.tokens(body.stream(), &scope.child(&name.to_string(), for_test));
                2
            }
            [_, TokenTree::Ident(name), TokenTree::Punct(mark), ..] if mark.as_char() == ';' => {
                if for_test {
                    self.test_files
                        .insert(scope.child(&name.to_string(), true).module);
                }
                2
            }
            _ => 0,
        }
    }

    /// Takes the identifier at the front of `rest`, and the path that it begins; gives how many tokens after it that
    /// were.
    fn word(
        &mut self,
        word: &str,
        rest: &[TokenTree],
        before: &[TokenTree],
        scope: &Scope,
    ) -> usize {
        let mut mention = |line, what| {
            self.mentions.push(Mention {
                line,
                in_test: scope.in_test,
                what,
            })
        };
        let line = line_of(&rest[0]);
        match word {
            "crate" | "self" | "super" if is_path_separator(&rest[1..]) => {
                let mut ends = Vec::new();
                let taken = path(&rest[1..], vec![(word.to_owned(), line)], &mut ends);
                for (segments, is_macro) in ends {
                    let line = segments.last().map_or(line, |(_, line)| *line);
                    let resolved = resolve(&segments, &scope.module);
                    let at_root = resolved.len() == 1;
                    let what = if is_macro && at_root {
                        What::Macro
                    } else {
                        What::Path(resolved)
                    };
                    mention(line, what);
                }
                taken
            }
            "unsafe" => {
                mention(line, What::Unsafe);
                0
            }
            _ => {
                let after_dot =
                    matches!(before.last(), Some(TokenTree::Punct(mark)) if mark.as_char() == '.');
                let names_crate = is_path_separator(&rest[1..])
                    || matches!(rest.get(1), Some(TokenTree::Ident(next)) if next == "as")
                    || matches!(before.last(), Some(TokenTree::Ident(word)) if word == "use" || word == "crate");
                if word == "catch_unwind" || (names_crate && !after_dot) {
                    mention(line, What::Word(word.to_owned()));
                }
                0
            }
        }
    }
}

/// The segments of a path with their lines.
type Segments = Vec<(String, usize)>;

/// Follows the path that goes on with `rest` after `begun`, through the braces of a `use` too; adds each of its ends,
/// and whether it is a macro, to `ends`. Gives the number of tokens that were taken.
fn path(rest: &[TokenTree], begun: Segments, ends: &mut Vec<(Segments, bool)>) -> usize {
    if !is_path_separator(rest) {
        let is_macro =
            matches!(rest.first(), Some(TokenTree::Punct(mark)) if mark.as_char() == '!');
        ends.push((begun, is_macro));
        return 0;
    }
    match rest.get(2) {
        Some(TokenTree::Ident(name)) => {
            let mut longer = begun;
            longer.push((name.to_string(), line_of(&rest[2])));
            3 + path(&rest[3..], longer, ends)
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let trees: Vec<TokenTree> = group.stream().into_iter().collect();
            for branch in
                trees.split(|tree| matches!(tree, TokenTree::Punct(mark) if mark.as_char() == ','))
            {
                match branch {
                    [TokenTree::Ident(name), after @ ..] => {
                        let mut longer = begun.clone();
                        longer.push((name.to_string(), line_of(&branch[0])));
                        path(after, longer, ends);
                    }
                    [] => {}
                    _ => ends.push((begun.clone(), false)),
                }
            }
            3
        }
        // A glob, or generics.
        _ => {
            ends.push((begun, false));
            2
        }
    }
}

/// The path from the root that `segments` mean inside `module`.
fn resolve(segments: &[(String, usize)], module: &[String]) -> Vec<String> {
    let mut resolved = module.to_vec();
    for (segment, _) in segments {
        match segment.as_str() {
            "crate" => resolved.clear(),
            "self" => {}
            "super" => {
                resolved.pop();
            }
            _ => resolved.push(segment.clone()),
        }
    }
    resolved
}

fn line_of(tree: &TokenTree) -> usize {
    tree.span().start().line
}

fn is_path_separator(trees: &[TokenTree]) -> bool {
    let colon = |tree: Option<&TokenTree>| matches!(tree, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    colon(trees.first()) && colon(trees.get(1))
}

/// Whether the last of `trees`, a group, is an attribute's brackets.
fn is_attribute(trees: &[TokenTree]) -> bool {
    matches!(trees, [.., TokenTree::Punct(mark), TokenTree::Group(group)]
        if mark.as_char() == '#' && group.delimiter() == Delimiter::Bracket)
}

/// Whether an attribute says `cfg(test)` or `cfg(all(test, …))`.
fn is_cfg_test(attribute: &Group) -> bool {
    let mut stream = attribute.stream();
    for expected in ["cfg", "all"] {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let [TokenTree::Ident(word), TokenTree::Group(group), ..] = &trees[..] else {
            return false;
        };
        if word != expected {
            return false;
        }
        if group
            .stream()
            .into_iter()
            .any(|tree| matches!(tree, TokenTree::Ident(word) if word == "test"))
        {
            return true;
        }
        stream = group.stream();
    }
    false
}
