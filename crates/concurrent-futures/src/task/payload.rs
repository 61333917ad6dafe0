//! Encoded values: short ones, which are most, lie where they are held and not in an allocation.

use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::codec::{self, Outside};
use crate::error::TaskError;

/// The bytes of an encoded value. Up to 16 of them take no allocation.
pub(crate) type Payload = SmallVec<[u8; 16]>;

/// An encoded value, of which a part may lie elsewhere.
pub(crate) struct Encoded {
    pub(crate) bytes: Payload,
    pub(crate) elsewhere: Option<Box<Elsewhere>>,
}

/// What does not lie in the bytes of a value.
pub(crate) struct Elsewhere {
    pub(crate) outside: Box<dyn Outside>,
    /// Where the value itself lies outside, and how long it is; otherwise its bytes are here.
    pub(crate) value: Option<(usize, usize)>,
}

impl Encoded {
    /// # Errors
    /// Those of [`codec::decode`].
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        let Some(elsewhere) = &self.elsewhere else {
            return codec::decode(&self.bytes);
        };
        let outside = &*elsewhere.outside;
        let Some((start, length)) = elsewhere.value else {
            return codec::decode_with(&self.bytes, Some(outside));
        };
        // Copied first: nobody may change what is looked at.
        let Some(bytes) = outside.copy(start, length) else {
            let why = "there is no memory for it, or it is not where it was said to be";
            return Err(TaskError::codec(std::any::type_name::<T>(), why));
        };
        codec::decode_with(&bytes, Some(outside))
    }
}

impl From<Payload> for Encoded {
    fn from(bytes: Payload) -> Self {
        Self {
            bytes,
            elsewhere: None,
        }
    }
}
