//! How arguments and results cross to another process and back: any serde type, exactly, as bytes.
//!
//! The value that [`decode`] returns always equals the value that [`encode`] was given, or there is an
//! error that names the type. Neither function recurses deeper than [`MAX_DEPTH`]. No bytes, however
//! wrong, make [`decode`] panic or reserve memory for more items than the bytes can hold.
//!
//! An executor that runs tasks elsewhere uses the same two functions, so a type that crosses to one
//! executor crosses to all:
//!
//! ```
//! use concurrent_futures::codec::{decode, encode};
//!
//! let arguments = (7_u64, Some(None::<String>), f64::NAN);
//! let mut bytes = Vec::new();
//! encode(&arguments, &mut bytes)?;
//! let (number, absent, nan): (u64, Option<Option<String>>, f64) = decode(&bytes)?;
//! assert_eq!((number, absent), (7, Some(None)));
//! assert_eq!(nan.to_bits(), f64::NAN.to_bits());
//! # Ok::<(), concurrent_futures::TaskError>(())
//! ```
//!
//! # What crosses
//!
//! Everything crosses that serde's data model can express and that serde's own buffer (behind
//! `untagged`, `flatten` and `tag`) can hold. What cannot cross is an error:
//!
//! - 128-bit integers in a place that serde buffers, since serde's buffer has none.
//! - Types that are written as one thing and read as another, if the two do not fit: an `Option` read
//!   by a hand-written `deserialize_any` without `visit_some`, or a `serde_json::value::RawValue`.
//! - Values nested deeper than [`MAX_DEPTH`].
//!
//! Some types lose a distinction before it gets here, in every format. An untagged enum is read as the
//! first variant that fits. `SocketAddrV6` does not write its flow information. Newtype structs are
//! written as what they hold; only types that model serde's data model itself (`serde_value`) could tell
//! the difference.
//!
//! # The format
//!
//! Both sides are one program, so the bytes carry no version and promise nothing to another build. A
//! value is a tag byte and what follows it. A *count* is one byte below 255, or 255 and 8 bytes.
//! Numbers are little-endian.
//!
//! | value | follows the tag |
//! |---|---|
//! | unit, `None`, `false`, `true` | nothing |
//! | `Some` | the value in it |
//! | an integer or a float, a tag for each width | 1, 2, 4, 8 or 16 bytes |
//! | `char` | 4 bytes |
//! | string, bytes | count, bytes |
//! | sequence, tuple, tuple struct | count, values |
//! | `Vec<u8>` | count, bytes; to a reader it is a sequence of `u8` |
//! | bytes and `Vec<u8>` that lie outside | 8 bytes each for where they begin and how many they are |
//! | map, struct | count, keys and values in turn; a field's key is its name as a string |
//! | newtype struct | (no tag) the value in it |
//! | variant of an enum | (no tag) its name as a string; if it has data, a map of one entry |
//!
//! `Option`, unit and the widths of numbers have tags of their own because serde's buffer distinguishes
//! them. This makes `Some(None)` exact in an untagged enum too. The rest is shaped like JSON, since
//! serde's buffer understands an enum only as a string or a map of one entry. For the same reason the
//! codec says that it is human readable. The buffer always says so, and a type whose two forms differ
//! (such as `IpAddr`) would otherwise be written in one form and read in the other.

mod decode;
mod encode;
mod exact;
mod fault;
mod format;
mod outside;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use decode::decode;
pub(crate) use decode::decode_with;
pub use encode::encode;
pub(crate) use encode::encode_with;
pub use format::MAX_DEPTH;
#[cfg(test)]
pub(crate) use outside::LEAST_OUTSIDE;
pub(crate) use outside::{Outside, Sink};
