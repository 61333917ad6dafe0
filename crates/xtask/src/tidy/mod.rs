//! `cargo xtask tidy`: the architecture of the library, the examples of its public items, and the tests that documents
//! name, checked.

mod check;
mod documents;
mod examples;
mod items;
mod layers;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use check::run;
