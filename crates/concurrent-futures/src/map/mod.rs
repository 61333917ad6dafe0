//! A function on many items: pulled as results are taken, given in the order of the items.

mod cost;
mod in_flight;
mod mapping;
mod planner;
mod results;
#[cfg(test)]
mod tests;
mod turn;

pub use mapping::Mapping;
pub use results::Map;

pub(crate) use in_flight::InFlight;
pub(crate) use turn::Turn;
