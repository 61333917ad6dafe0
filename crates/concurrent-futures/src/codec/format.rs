//! The tags of the format and its limits: what the two directions must agree about.

/// The maximum nesting depth of a value, in both directions.
///
/// A level is a sequence, tuple, map, struct, newtype struct, `Some`, or a variant with data (its fields are
/// one more level). Code derived for serde recurses with each level, on the stack of the thread that encodes
/// or decodes. The limit keeps a long chain of boxes from overflowing that stack.
///
/// ```
/// use concurrent_futures::codec::{encode, MAX_DEPTH};
/// use serde_json::json;
///
/// let mut value = json!([]);
/// for _ in 0..MAX_DEPTH {
///     value = json!([value]);
/// }
/// assert!(encode(&value, &mut Vec::new()).unwrap_err().is_codec());
/// ```
pub const MAX_DEPTH: usize = 256;

/// The first byte of each value.
pub(super) mod tag {
    pub(in super::super) const UNIT: u8 = 0;
    pub(in super::super) const NONE: u8 = 1;
    pub(in super::super) const SOME: u8 = 2;
    pub(in super::super) const FALSE: u8 = 3;
    pub(in super::super) const TRUE: u8 = 4;
    pub(in super::super) const U8: u8 = 5;
    pub(in super::super) const U16: u8 = 6;
    pub(in super::super) const U32: u8 = 7;
    pub(in super::super) const U64: u8 = 8;
    pub(in super::super) const U128: u8 = 9;
    pub(in super::super) const I8: u8 = 10;
    pub(in super::super) const I16: u8 = 11;
    pub(in super::super) const I32: u8 = 12;
    pub(in super::super) const I64: u8 = 13;
    pub(in super::super) const I128: u8 = 14;
    pub(in super::super) const F32: u8 = 15;
    pub(in super::super) const F64: u8 = 16;
    pub(in super::super) const CHAR: u8 = 17;
    pub(in super::super) const STRING: u8 = 18;
    pub(in super::super) const BYTES: u8 = 19;
    pub(in super::super) const SEQUENCE: u8 = 20;
    pub(in super::super) const MAP: u8 = 21;
    pub(in super::super) const RUN: u8 = 22;
    pub(in super::super) const BYTES_OUTSIDE: u8 = 23;
    pub(in super::super) const RUN_OUTSIDE: u8 = 24;
}

/// A count from here on takes [`LONG_COUNT_WIDTH`] bytes, the first of which is this.
pub(super) const LONG_COUNT: u8 = 255;

/// The bytes of a long count.
pub(super) const LONG_COUNT_WIDTH: usize = 9;

/// What serde's buffer says too, whatever the format beneath it says.
pub(super) const HUMAN_READABLE: bool = true;
