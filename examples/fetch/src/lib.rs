//! What the httpbin demo fetches with ([`fetch()`]) and fetches from ([`Httpbin`]), for the demo and for benchmarks.

mod fetch;
mod httpbin;

pub use crate::fetch::{FetchError, Target, fetch};
pub use crate::httpbin::Httpbin;
