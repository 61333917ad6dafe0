//! `cargo xtask tidy`: the architecture of the library, and the tests that documents name, checked.

mod check;
mod documents;
mod layers;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use check::run;
