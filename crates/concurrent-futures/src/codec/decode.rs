//! From bytes to a value.
//!
//! Always: each step takes at least one byte or goes a level deeper, so decoding ends; after a part has
//! failed the whole has failed, whatever the type makes of it.

use std::any::type_name;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Visitor};

use super::exact;
use super::fault::Fault;
use super::format::{HUMAN_READABLE, MAX_DEPTH, tag};
use super::outside::Outside;
use super::reader::{Bytes, Reader};
use crate::error::TaskError;

/// Returns the value that all of `bytes` represent.
///
/// ```
/// use concurrent_futures::codec::{decode, encode};
///
/// let mut bytes = Vec::new();
/// encode(&vec![1_u8, 2, 3], &mut bytes)?;
/// assert_eq!(decode::<Vec<u8>>(&bytes)?, [1, 2, 3]);
///
/// let error = decode::<String>(&bytes).unwrap_err();
/// assert!(error.is_codec());
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// # Errors
///
/// An error of the kind [`Codec`](crate::ErrorKind::Codec) that names the type, if its `Deserialize` fails,
/// if the bytes are not one whole value of it, or if the value is nested more than [`MAX_DEPTH`] levels deep.
///
/// # Panics
///
/// If the type's `Deserialize` panics.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TaskError> {
    decode_with(bytes, None)
}

/// The same, where some bytes may lie outside.
pub(crate) fn decode_with<T: DeserializeOwned>(
    bytes: &[u8],
    outside: Option<&dyn Outside>,
) -> Result<T, TaskError> {
    let mut decoder = Decoder {
        reader: Reader::new(bytes, outside),
        levels_left: MAX_DEPTH,
        failed: false,
    };
    decoder
        .value(PhantomData::<T>)
        .and_then(|value| decoder.finish().map(|()| value))
        .map_err(|fault| TaskError::codec(type_name::<T>(), fault))
}

/// Reads one value and all that is in it.
struct Decoder<'de> {
    reader: Reader<'de>,
    levels_left: usize,
    /// Whether a part of a value failed: nobody knows where the next one begins.
    failed: bool,
}

impl<'de> Decoder<'de> {
    #[inline]
    fn finish(&self) -> Result<(), Fault> {
        if self.failed {
            Err(Fault::new(
                "its `Deserialize` went on after a part had failed",
            ))
        } else if self.reader.left() > 0 {
            let left = self.reader.left();
            Err(Fault::new(format!(
                "{left} bytes are left behind the value"
            )))
        } else {
            Ok(())
        }
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Fault> {
        match self.levels_left.checked_sub(1) {
            Some(left) => {
                self.levels_left = left;
                Ok(())
            }
            None => Err(Fault::too_deep()),
        }
    }

    /// Lets `visit` read what is a level deeper.
    #[inline]
    fn deeper<T>(&mut self, visit: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.enter()?;
        let value = visit(self)?;
        self.levels_left += 1;
        Ok(value)
    }

    #[inline]
    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        if exact::reads_byte_vector::<S>() {
            let vector = if self.reader.found(tag::RUN) {
                Some(self.reader.slice()?.to_vec())
            } else if self.reader.found(tag::RUN_OUTSIDE) {
                Some(self.reader.copy_of_outside()?)
            } else {
                None
            };
            if let Some(vector) = vector {
                return self.deeper(|_| Ok(exact::value_of::<S>(vector)));
            }
        }
        seed.deserialize(self)
    }

    /// Bytes for a visitor that may keep a reference to them.
    fn bytes<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.outside()? {
            Bytes::InPlace(bytes) => visitor.visit_borrowed_bytes(bytes),
            Bytes::Copied(bytes) => visitor.visit_byte_buf(bytes),
        }
    }

    /// The bytes of a `Vec<u8>`, for a visitor that expects a sequence.
    fn run<V: Visitor<'de>>(&mut self, bytes: Bytes<'_>, visitor: V) -> Result<V::Value, Fault> {
        let bytes = match &bytes {
            Bytes::InPlace(bytes) => bytes,
            Bytes::Copied(bytes) => &bytes[..],
        };
        self.deeper(|_| {
            let mut items = SeqDeserializer::new(bytes.iter().copied());
            let value = visitor.visit_seq(&mut items)?;
            items.end()?;
            Ok(value)
        })
    }

    /// The items of a sequence whose tag is read.
    #[inline]
    fn sequence<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.reader.count(1)?;
        self.deeper(|decoder| {
            let mut items = Items { decoder, left };
            let value = visitor.visit_seq(&mut items)?;
            items.close()?;
            Ok(value)
        })
    }

    /// The entries of a map whose tag is read, given to `visit`.
    #[inline]
    fn map<T>(
        &mut self,
        visit: impl FnOnce(&mut Entries<'_, 'de>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let left = 2 * self.reader.count(2)?;
        self.deeper(|decoder| {
            let mut entries = Entries(Items { decoder, left });
            let value = visit(&mut entries)?;
            entries.0.close()?;
            Ok(value)
        })
    }

    /// Whatever comes next, for a visitor that asked for something else.
    ///
    /// A type that is written as an `Option` may be read as what is in it, and the rest is left to the
    /// visitor.
    fn unexpected<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        while self.reader.found(tag::SOME) {}
        self.deserialize_any(visitor)
    }
}

/// What is left of a sequence, or of the keys and values of a map.
struct Items<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> Items<'_, 'de> {
    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.left -= 1;
        let value = self.decoder.value(seed);
        self.decoder.failed |= value.is_err();
        value
    }

    #[inline]
    fn close(&self) -> Result<(), Fault> {
        match self.left {
            0 => Ok(()),
            left => Err(Fault::new(format!(
                "its `Deserialize` left {left} parts of a sequence or map unread"
            ))),
        }
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        match self.left {
            0 => Ok(None),
            _ => self.next(seed).map(Some),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// What is left of a map: an odd number if the next is a value.
struct Entries<'a, 'de>(Items<'a, 'de>);

impl Entries<'_, '_> {
    #[cold]
    fn out_of_turn(&mut self) -> Fault {
        self.0.decoder.failed = true;
        Fault::new("its `Deserialize` did not read keys and values in turn")
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        match self.0.left {
            0 => Ok(None),
            left if left % 2 == 0 => self.0.next(seed).map(Some),
            _ => Err(self.out_of_turn()),
        }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        match self.0.left {
            left if left % 2 == 1 => self.0.next(seed),
            _ => Err(self.out_of_turn()),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.0.left.div_ceil(2))
    }
}

/// Reads what has one tag in one step, and leaves the rest to the visitor.
macro_rules! scalars {
    ($($method:ident $tag:ident $visit:ident($read:ident))*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                if self.reader.found(tag::$tag) {
                    visitor.$visit(self.reader.$read()?)
                } else {
                    self.unexpected(visitor)
                }
            }
        )*
    };
}

/// The same for numbers, and the reading of all of them by their tags.
macro_rules! numbers {
    ($($method:ident $tag:ident $visit:ident($number:ty))*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                if self.reader.found(tag::$tag) {
                    visitor.$visit(<$number>::from_le_bytes(self.reader.array()?))
                } else {
                    self.unexpected(visitor)
                }
            }
        )*

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.reader.byte()? {
                tag::UNIT => visitor.visit_unit(),
                tag::NONE => visitor.visit_none(),
                tag::SOME => self.deeper(|decoder| visitor.visit_some(decoder)),
                tag::FALSE => visitor.visit_bool(false),
                tag::TRUE => visitor.visit_bool(true),
                $(tag::$tag => visitor.$visit(<$number>::from_le_bytes(self.reader.array()?)),)*
                tag::CHAR => visitor.visit_char(self.reader.character()?),
                tag::STRING => visitor.visit_borrowed_str(self.reader.text()?),
                tag::BYTES => visitor.visit_borrowed_bytes(self.reader.slice()?),
                tag::BYTES_OUTSIDE => self.bytes(visitor),
                tag::RUN => {
                    let bytes = Bytes::InPlace(self.reader.slice()?);
                    self.run(bytes, visitor)
                }
                tag::RUN_OUTSIDE => {
                    let bytes = self.reader.outside()?;
                    self.run(bytes, visitor)
                }
                tag::SEQUENCE => self.sequence(visitor),
                tag::MAP => self.map(|entries| visitor.visit_map(entries)),
                other => Err(Fault::no_tag(other)),
            }
        }
    };
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Fault;

    numbers! {
        deserialize_u8 U8 visit_u8(u8)
        deserialize_u16 U16 visit_u16(u16)
        deserialize_u32 U32 visit_u32(u32)
        deserialize_u64 U64 visit_u64(u64)
        deserialize_u128 U128 visit_u128(u128)
        deserialize_i8 I8 visit_i8(i8)
        deserialize_i16 I16 visit_i16(i16)
        deserialize_i32 I32 visit_i32(i32)
        deserialize_i64 I64 visit_i64(i64)
        deserialize_i128 I128 visit_i128(i128)
        deserialize_f32 F32 visit_f32(f32)
        deserialize_f64 F64 visit_f64(f64)
    }

    scalars! {
        deserialize_char CHAR visit_char(character)
        deserialize_str STRING visit_borrowed_str(text)
        deserialize_string STRING visit_borrowed_str(text)
        deserialize_identifier STRING visit_borrowed_str(text)
        deserialize_bytes BYTES visit_borrowed_bytes(slice)
    }

    /// For who is going to own them.
    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.found(tag::BYTES_OUTSIDE) {
            visitor.visit_byte_buf(self.reader.copy_of_outside()?)
        } else {
            self.deserialize_bytes(visitor)
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.found(tag::TRUE) {
            visitor.visit_bool(true)
        } else if self.reader.found(tag::FALSE) {
            visitor.visit_bool(false)
        } else {
            self.unexpected(visitor)
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.found(tag::UNIT) {
            visitor.visit_unit()
        } else {
            self.unexpected(visitor)
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.found(tag::NONE) {
            visitor.visit_none()
        } else if self.reader.found(tag::UNIT) {
            // What is written as unit and read as an `Option`, as serde's buffer has it.
            visitor.visit_unit()
        } else {
            // Without a mark it was written as what is in it.
            self.reader.found(tag::SOME);
            self.deeper(|decoder| visitor.visit_some(decoder))
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deeper(|decoder| visitor.visit_newtype_struct(decoder))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.found(tag::SEQUENCE) {
            self.sequence(visitor)
        } else {
            self.unexpected(visitor)
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.found(tag::MAP) {
            self.map(|entries| visitor.visit_map(entries))
        } else {
            self.unexpected(visitor)
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        while self.reader.found(tag::SOME) {}
        if self.reader.found(tag::STRING) {
            visitor.visit_enum(BorrowedStrDeserializer::new(self.reader.text()?))
        } else if self.reader.found(tag::MAP) {
            self.map(|entries| visitor.visit_enum(MapAccessDeserializer::new(entries)))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        HUMAN_READABLE
    }
}
