//! Whether a type is exactly `Vec<u8>`.
//!
//! serde takes that for a sequence like any other, and asks for each byte. Seen here it is one run of
//! bytes. Only serde's own way of reading and writing it is replaced: a type that contains or wraps it
//! is never mistaken for it.

use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use serde::de::DeserializeSeed;

/// The bytes, if `value` is a `Vec<u8>`.
#[inline]
pub(super) fn byte_vector<T: ?Sized>(value: &T) -> Option<&[u8]> {
    if typeid::of::<T>() != TypeId::of::<Vec<u8>>() {
        return None;
    }
    // SAFETY: `T` is `Vec<u8>`: types that differ in more than lifetimes have different ids, and
    // `Vec<u8>` has no lifetimes.
    Some(unsafe { &*std::ptr::from_ref(value).cast::<Vec<u8>>() })
}

/// Whether `S` is what serde itself reads a `Vec<u8>` with.
#[inline]
pub(super) fn reads_byte_vector<S>() -> bool {
    typeid::of::<S>() == TypeId::of::<PhantomData<Vec<u8>>>()
}

/// The value that `S` gives, of which [`reads_byte_vector`] was said.
///
/// # Panics
/// If it was not.
#[inline]
pub(super) fn value_of<'de, S: DeserializeSeed<'de>>(vector: Vec<u8>) -> S::Value {
    assert!(reads_byte_vector::<S>(), "another type");
    let vector = ManuallyDrop::new(vector);
    // SAFETY: `S` is `PhantomData<Vec<u8>>`, for which serde's is the only implementation, and its
    // `Value` is `Vec<u8>`. The original is not dropped.
    unsafe { std::mem::transmute_copy::<ManuallyDrop<Vec<u8>>, S::Value>(&vector) }
}
