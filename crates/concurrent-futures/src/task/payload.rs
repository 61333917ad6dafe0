//! Encoded values: short ones, which are most, lie where they are held and not in an allocation.

use smallvec::SmallVec;

/// The bytes of an encoded value. Up to 16 of them take no allocation.
pub(crate) type Payload = SmallVec<[u8; 16]>;
