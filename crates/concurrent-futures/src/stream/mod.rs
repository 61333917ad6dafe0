//! Streams of results: adapters for any [`Stream`](futures_core::Stream), and iteration over the streams
//! of this crate with `for` in blocking code. See [`StreamExt::map_on`].

mod blocking;
mod fed;
mod map_on;

pub use blocking::Blocking;
pub use fed::Fed;
pub use map_on::{MapOn, StreamExt};
