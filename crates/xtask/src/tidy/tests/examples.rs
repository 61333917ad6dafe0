//! One small file for each way to have an example, and to have none.

use crate::tidy::examples::check;

/// An opening that is an example of what it names.
const HEAD: &str = "//! The library.\n//!\n//! ```\n//! library::start(1).stop();\n//! ```\n";
/// The lines of the opening.
const HEAD_LINES: usize = 5;

/// The items of a root that have no example, as `line name`.
fn uncovered(source: &str) -> Vec<String> {
    uncovered_in(&[("lib.rs", source)])
}

fn uncovered_in(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(String, String)> = files
        .iter()
        .map(|(file, source)| {
            let head = if *file == "lib.rs" {
                HEAD
            } else {
                "//!\n//!\n//!\n//!\n//!\n"
            };
            (
                format!("crates/concurrent-futures/src/{file}"),
                format!("{head}{source}"),
            )
        })
        .collect();
    let found = check(&files).expect("the snippet is Rust");
    found
        .iter()
        .map(|violation| {
            assert_eq!(violation.rule, "example");
            let name = violation.advice.split('`').nth(1).unwrap_or("the library");
            format!("{} {name}", violation.line.saturating_sub(HEAD_LINES))
        })
        .collect()
}

#[track_caller]
fn expect(source: &str, expected: &[&str]) {
    assert_eq!(uncovered(source), expected, "{source}");
}

#[test]
fn every_kind_of_item_needs_an_example() {
    for source in [
        "/// A type.\npub struct Item;",
        "/// A type.\npub enum Item {}",
        "/// A name for a type.\npub type Item = u8;",
        "/// A trait.\npub trait Item {}",
        "/// A function.\npub fn Item() {}",
        "/// A constant.\npub const Item: u8 = 1;",
        "/// A module.\npub mod Item {}",
        "/// A macro.\n#[macro_export]\nmacro_rules! Item { () => {} }",
        "pin_project! {\n    /// A type.\n    pub struct Item {}\n}",
    ] {
        let line = source.lines().count() - usize::from(source.starts_with("pin_project"));
        let line = if source.contains("macro_rules") {
            3
        } else {
            line
        };
        expect(source, &[&format!("{line} Item")]);
    }
}

#[test]
fn what_users_cannot_name_needs_none() {
    for source in [
        "/// A type.\nstruct Item;",
        "/// A type.\npub(crate) struct Item;",
        "/// A type.\n#[doc(hidden)]\npub struct Item;\nimpl Item { pub fn f() {} }",
        "mod inner { pub struct Item; impl Item { pub fn f() {} } }",
        "#[doc(hidden)]\npub mod inner { pub fn f() {} }",
        "#[cfg(test)]\npub mod inner { pub fn f() {} }",
        "#[cfg(all(test, unix))]\npub mod inner { pub fn f() {} }",
        "macro_rules! inner { () => {} }",
        "mod inner { pub struct Item; }\n#[doc(hidden)]\npub use inner::Item;",
        "mod inner { pub struct Item; }\npub(crate) use inner::Item;",
    ] {
        expect(source, &[]);
    }
    let stand_in = ("process/elsewhere.rs", "pub struct Pool;");
    let files = [
        ("lib.rs", "pub use process::Pool;\npub mod process {}"),
        stand_in,
    ];
    assert_eq!(uncovered_in(&files), ["2 process"]);
}

#[test]
fn what_a_private_module_has_can_be_given_to_users() {
    for (root, below, expected) in [
        ("mod inner;", "pub struct Item;", &[][..]),
        (
            "mod inner;\npub use inner::Item;",
            "pub struct Item;",
            &["1 inner::Item"],
        ),
        (
            "mod inner;\npub use inner::{other::Any, Item as Other};",
            "pub struct Item;",
            &["1 inner::Item"],
        ),
        (
            "/// See [`start`].\npub mod inner;\n#[doc = include_str!(\"a.md\")]\nfn start() {}",
            "pub struct Item;",
            &["0 inner", "1 inner::Item"],
        ),
        (
            "mod inner;\npub use inner::Item;",
            "pub struct Item;\nimpl Item { pub fn f() {} fn g() {} }\nimpl Drop for Item { fn drop(&mut self) {} }",
            &["1 inner::Item", "2 inner::Item::f"],
        ),
        (
            "mod inner;\npub use inner::Item;",
            "pub trait Item {\n    fn f();\n    #[doc(hidden)]\n    fn g();\n}",
            &["1 inner::Item", "2 inner::Item::f"],
        ),
    ] {
        let files = [("lib.rs", root), ("inner.rs", below)];
        assert_eq!(uncovered_in(&files), expected, "{root} {below}");
    }
}

#[test]
fn an_example_is_a_block_that_is_compiled() {
    for (fence, is_example) in [
        ("", true),
        ("rust", true),
        ("no_run", true),
        ("should_panic", true),
        ("rust,edition2021", true),
        ("text", false),
        ("ignore", false),
        ("rust,ignore", false),
        ("compile_fail,E0277", false),
        ("console", false),
    ] {
        let source = format!("/// ```{fence}\n/// let one = 1;\n/// ```\npub struct Item;");
        let expected = ["4 Item"];
        expect(&source, if is_example { &[] } else { &expected });
    }
    expect(
        "/// In a line: `let item = Item;`\npub struct Item;",
        &["2 Item"],
    );
}

#[test]
fn a_function_is_called_in_its_own_example() {
    for (code, is_called) in [
        ("library::work();", true),
        ("use library::work;", true),
        ("assert!(work());", true),
        ("library::play(\"work\"); // work()", false),
        ("# work();", false),
        ("let unfinished = (work(", false),
    ] {
        let source = format!("/// ```\n/// {code}\n/// ```\npub fn work() {{}}");
        expect(&source, if is_called { &[] } else { &["4 work"] });
    }
    for (code, is_called) in [
        ("Item::work();", true),
        ("item\n///     .work();", true),
        ("assert!(item.work().is_ok());", true),
        ("impl Item for u8 {\n///     fn work() {}\n/// }", true),
        ("let work = 1;", false),
        ("# item.work();", false),
    ] {
        let source = format!(
            "/// See [`start`](crate).\npub trait Item {{\n/// ```\n/// {code}\n/// ```\nfn work();\n}}\n/// [`Self`](crate)\npub fn start() {{}}"
        );
        let found = uncovered(&source);
        let is_found = found.iter().any(|found| found.ends_with(" Item::work"));
        assert_eq!(is_found, !is_called, "{code}: {found:?}");
    }
}

#[test]
fn a_link_leads_to_an_example_that_shows_the_item() {
    let types = "/// ```\n/// let item: Item = library::make();\n/// item.work();\n/// let play = 1;\n/// ```\npub struct Shown;\n";
    for (documentation, item, expected) in [
        ("See [`Shown`].", "pub struct Item;", &[][..]),
        ("See [here](Shown).", "pub struct Item;", &[]),
        ("See [here](crate::Shown).", "pub struct Item;", &[]),
        ("See [here](struct@Shown).", "pub struct Item;", &[]),
        (
            "See [here].\n///\n/// [here]: Shown",
            "pub struct Item;",
            &[],
        ),
        ("See `Shown`.", "pub struct Item;", &["8 Item"]),
        ("See [`Other`].", "pub struct Item;", &["8 Item"]),
        ("See [`Shown::item`].", "pub struct Item;", &["8 Item"]),
        // It names something else.
        ("See [`Shown`].", "pub struct Other;", &["8 Other"]),
        // A function of that name is not the item that the example calls as a method, nor is a variable.
        ("See [`Shown`].", "pub fn make() {}", &[]),
        ("See [`Shown`].", "pub fn item() {}", &[]),
        ("See [`Shown`].", "pub fn other() {}", &["8 other"]),
        // The root has an example of this one.
        ("See [the library](crate).", "pub fn start() {}", &[]),
        (
            "See [the library](crate).",
            "pub fn other() {}",
            &["8 other"],
        ),
    ] {
        expect(&format!("{types}/// {documentation}\n{item}"), expected);
    }
    for (documentation, method, expected) in [
        ("See [`Shown`].", "work", &[][..]),
        ("See [`Self`].", "work", &[]),
        ("See [above](Self).", "work", &[]),
        ("See [`Self::work`].", "work", &["9 Shown::work"]),
        ("See [`Shown`].", "item", &["9 Shown::item"]),
        ("See [`Shown`].", "play", &["9 Shown::play"]),
    ] {
        let source =
            format!("{types}impl Shown {{\n/// {documentation}\npub fn {method}() {{}}\n}}");
        expect(&source, expected);
    }
}

#[test]
fn a_link_to_a_method_means_that_of_its_type() {
    let methods = "impl Item {\n/// ```\n/// item.work();\n/// ```\npub fn work() {}\n}\nimpl Other {\n/// See [`Item::work`].\npub fn work() {}\n/// See [`Third::work`] and [`work`].\npub fn work() {}\n}";
    let source = format!("mod item {{ {methods} }}\npub use item::{{Item, Other}};");
    assert_eq!(uncovered(&source).len(), 1, "{:?}", uncovered(&source));
}

#[test]
fn a_link_to_a_covered_namesake_is_enough() {
    let shown = "/// ```\n/// item.work();\n/// item.play();\n/// ```\npub struct Shown;\n";
    for (first, second, expected) in [
        ("See [`Shown`].", "As [`One::work`].", &[][..]),
        ("As [`Two::work`].", "See [`Shown`].", &[]),
        (
            "Works.",
            "As [`One::work`].",
            &["10 One::work", "14 Two::work"],
        ),
        (
            "As [`Two::work`].",
            "As [`One::work`].",
            &["10 One::work", "14 Two::work"],
        ),
        ("See [`Shown`].", "As [`One::play`].", &["14 Two::work"]),
    ] {
        let source = format!(
            "{shown}impl One {{\n/// [`Shown`]\npub fn play() {{}}\n/// {first}\npub fn work() {{}}\n}}\nimpl Two {{\n/// {second}\npub fn work() {{}}\n}}"
        );
        expect(&source, expected);
    }
}

#[test]
fn a_signature_covers_the_types_that_it_names() {
    for (documentation, signature, expected) in [
        ("See [`make`].", "pub fn make() -> Option<Item> {}", &[][..]),
        ("See [`make`].", "pub fn make(_: impl Into<Item>) {}", &[]),
        (
            "See [`make`].",
            "pub fn make<T>() where T: Iterator<Item = Item> {}",
            &[],
        ),
        ("See [`make`].", "pub fn make() -> u8 { Item }", &["2 Item"]),
        ("See `make`.", "pub fn make() -> Item {}", &["2 Item"]),
    ] {
        let source = format!(
            "/// {documentation}\npub struct Item;\n/// ```\n/// library::make();\n/// ```\n{signature}"
        );
        expect(&source, expected);
    }
    // Without an example of its own, the function shows nothing.
    expect(
        "/// See [`make`].\npub struct Item;\n/// Makes.\npub fn make() -> Item {}",
        &["2 Item", "4 make"],
    );
}

#[test]
fn the_library_itself_needs_an_example() {
    let file = (
        "crates/concurrent-futures/src/lib.rs".to_owned(),
        "//! The library.\n".to_owned(),
    );
    let found = check(&[file]).expect("it is Rust");
    assert_eq!(
        found[0].to_string(),
        "crates/concurrent-futures/src/lib.rs:1: example: write an example of the library, or link to an item whose \
         example names it"
    );
}
