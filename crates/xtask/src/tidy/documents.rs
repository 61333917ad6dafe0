//! The tests that documents name, looked for among the tests that there are.
//!
//! A name is given in backticks as `module::name`, or as `…::name` after another one. Modules in between are not
//! looked at, since tests that hold on every executor are in one for each. What is not a sentence is something else.

use super::check::Violation;

/// The folder of the tests' sources, from the top.
const TESTS: &str = "tests/src/";
/// The name of a test is a sentence: so many underscores at least.
const LEAST_UNDERSCORES: usize = 2;

/// Checks documents, given by path from the top and text, against the Rust files.
pub(super) fn check(
    documents: &[(String, String)],
    sources: &[(String, String)],
) -> Vec<Violation> {
    let tests: Vec<(&str, &str)> = sources
        .iter()
        .filter_map(|(file, text)| Some((file.strip_prefix(TESTS)?, text.as_str())))
        .collect();
    let mut violations = Vec::new();
    for (file, text) in documents {
        for (index, line) in text.lines().enumerate() {
            // What is between the first and the second backtick, the third and the fourth, and so on.
            let quoted = line.split('`').skip(1).step_by(2);
            for name in quoted.filter(|name| !is_there(name, &tests)) {
                violations.push(Violation {
                    file: file.clone(),
                    line: index + 1,
                    rule: "test",
                    advice: format!("name a test that there is: `{name}` is not in {TESTS}"),
                });
            }
        }
    }
    violations
}

/// Whether what is quoted is a test that there is, or no test's name at all.
fn is_there(quoted: &str, tests: &[(&str, &str)]) -> bool {
    let Some((path, name)) = quoted.rsplit_once("::") else {
        return true;
    };
    let is_plain = |text: &str| {
        text.chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | ':'))
    };
    let module = path.split("::").next().unwrap_or(path);
    let of_module: Vec<&str> = tests
        .iter()
        .filter(|(file, _)| {
            let rest = file.strip_prefix(module);
            module == "…" || rest.is_some_and(|rest| rest.starts_with(['.', '/']))
        })
        .map(|(_, text)| *text)
        .collect();
    if of_module.is_empty()
        || !is_plain(name)
        || !(module == "…" || is_plain(path))
        || name.matches('_').count() < LEAST_UNDERSCORES
    {
        return true;
    }
    let [plain, generic] = [format!("fn {name}("), format!("fn {name}<")];
    of_module
        .iter()
        .any(|text| text.contains(&plain) || text.contains(&generic))
}
