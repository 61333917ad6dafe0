//! A list that constructors fill before `main`, with one entry of this library's own. Who links it can
//! see whether they have run.

pub use inventory::submit;

/// An entry.
#[derive(Debug)]
pub struct Plugin(
    /// Its name.
    pub &'static str,
);

inventory::collect!(Plugin);
inventory::submit!(Plugin("of a library"));

/// The names of all entries, sorted.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = inventory::iter::<Plugin>
        .into_iter()
        .map(|plugin| plugin.0.to_owned())
        .collect();
    names.sort();
    names
}
