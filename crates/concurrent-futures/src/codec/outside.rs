//! Long runs of bytes that do not lie in the encoded value itself: in it is only where they are.
//!
//! Always: what lies outside is bytes and nothing but bytes; all structure is in the encoded value.

/// Runs of bytes from this length on are put outside, where that is possible.
pub(crate) const LEAST_OUTSIDE: usize = 32 << 10;

/// Takes bytes that are to lie outside of the value that is being encoded.
pub(crate) trait Sink {
    /// Where they lie now; `None` if there is no place, and they are to lie within the value.
    fn put(&mut self, bytes: &[u8]) -> Option<usize>;
}

/// What lies outside of an encoded value. Where something is was maybe written by a stranger, so that
/// there may be nothing.
pub(crate) trait Outside: Send + Sync {
    /// The bytes as they lie there, if nobody can change them while they are looked at.
    fn in_place(&self, start: usize, length: usize) -> Option<&[u8]>;

    /// A copy of the bytes.
    fn copy(&self, start: usize, length: usize) -> Option<Vec<u8>>;
}
