//! Pools of worker processes whose workers die, stop and lie at random, while everything is in use.

mod attacks;
mod hostile;
mod stopped;
mod storm;
mod storms;

pub(crate) use storm::longer;
