//! `cargo xtask tidy`: the architecture of the library, checked.

mod check;
mod layers;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use check::run;
