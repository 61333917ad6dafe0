//! `cargo xtask tidy`: the architecture of the library, the examples of its public items, and what documents name
//! and link to, checked.

mod check;
mod documents;
mod examples;
mod items;
mod layers;
mod links;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use check::run;
pub(crate) use links::links;
