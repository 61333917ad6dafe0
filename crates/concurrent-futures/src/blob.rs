//! Bytes that need not be copied where a task runs in another process.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Bytes to submit. A task in a worker process reads them where they are, without a copy of its own.
///
/// A `Vec<u8>`, a [`Bytes`] or a `serde_bytes::ByteBuf` arrives in memory of its own, which a worker has to
/// get from the system and fill. A `Blob` in the arguments of a task is a view of memory that the pool and
/// the worker share, however large it is. You can keep it beyond the task: the pool does not reuse that
/// memory as long as there is a `Blob` of it.
///
/// After that the pool reuses the memory, also for tasks of other workers. So workers are isolated from each
/// other's crashes, but not for secrets: a hostile worker may read arguments of others.
///
/// Everywhere else a `Blob` is a [`Bytes`]: cheap to clone, made from a `Vec<u8>` without a copy, and turned
/// into a `Bytes` without one. As a result it is copied once, like other bytes.
///
/// ```
/// use concurrent_futures::{Blob, Executor, ProcessPoolExecutor};
///
/// let pool = ProcessPoolExecutor::new(1);
/// let picture = Blob::from(vec![7; 10_000_000]);
/// let brightest = pool.submit(|picture: Blob| picture.iter().copied().max(), picture);
/// assert_eq!(brightest.result()?, Some(7));
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(Bytes);

impl Blob {
    /// Returns the same bytes, without a copy.
    ///
    /// ```
    /// use concurrent_futures::Blob;
    ///
    /// let blob = Blob::from(vec![1, 2, 3]);
    /// assert_eq!(blob.into_bytes().slice(1..), [2, 3][..]);
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&'static [u8]> for Blob {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }
}

impl From<Blob> for Bytes {
    fn from(blob: Blob) -> Self {
        blob.0
    }
}

impl From<Blob> for Vec<u8> {
    /// Without a copy if it was made from a `Vec<u8>` and is the only one.
    fn from(blob: Blob) -> Self {
        blob.0.into()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Blob, E> {
        Ok(Blob(shared(bytes).unwrap_or_else(|| bytes.to_vec().into())))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(bytes.to_vec().into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

thread_local! {
    /// The memory that a value is being decoded from, where a `Blob` may stay.
    static SHARED: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Calls `decode`; a `Blob` that it finds within `memory` stays there.
pub(crate) fn decoded_from<T>(memory: Bytes, decode: impl FnOnce() -> T) -> T {
    struct Restore(Option<Bytes>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = SHARED.try_with(|shared| shared.replace(self.0.take()));
        }
    }
    let _restore = Restore(SHARED.replace(Some(memory)));
    decode()
}

/// The same bytes as a part of the memory that is being decoded from, if they are.
fn shared(bytes: &[u8]) -> Option<Bytes> {
    SHARED.with_borrow(|memory| {
        let memory = memory.as_ref()?;
        let range = bytes.as_ptr_range();
        let whole = memory.as_ptr_range();
        (whole.start <= range.start && range.end <= whole.end).then(|| memory.slice_ref(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn a_blob_stays_where_it_is_decoded_from_and_nowhere_else() {
        let blob = Blob::from(vec![1, 2, 3]);
        let mut encoded = Vec::new();
        encode(&(&blob, 5_u8), &mut encoded).expect("bytes can be encoded");
        let memory = Bytes::from(encoded);
        let (inside, number): (Blob, u8) =
            decoded_from(memory.clone(), || decode(&memory).expect("as encoded"));
        assert_eq!((&inside, number), (&blob, 5));
        assert!(memory.as_ptr_range().contains(&inside.as_ptr()));
        let (outside, _): (Blob, u8) = decode(&memory).expect("as encoded");
        assert_eq!(outside, blob);
        assert!(!memory.as_ptr_range().contains(&outside.as_ptr()));
    }
}
