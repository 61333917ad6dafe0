//! From a value to bytes.
//!
//! Always: what has been appended is either one whole value or taken away again; a count says how many
//! items were written, whatever the type had announced.

use std::any::type_name;
use std::fmt::{self, Write as _};

use serde::ser::{self, Serialize, Serializer};

use super::exact::byte_vector;
use super::fault::Fault;
use super::format::{HUMAN_READABLE, MAX_DEPTH, tag};
use super::outside::Sink;
use super::writer::Writer;
use crate::error::TaskError;

/// Appends `value` as bytes to `out`.
///
/// If this fails or panics, `out` is as it was before.
///
/// ```
/// use concurrent_futures::codec::encode;
///
/// let mut out = Vec::new();
/// encode(&("a", 1), &mut out)?;
/// let one = out.len();
/// encode(&("b", 2), &mut out)?;
/// assert_eq!(out.len(), 2 * one);
/// # Ok::<(), concurrent_futures::TaskError>(())
/// ```
///
/// # Errors
///
/// An error of the kind [`Codec`](crate::ErrorKind::Codec) that names the type, if its `Serialize` fails or
/// the value is nested more than [`MAX_DEPTH`] levels deep.
///
/// # Panics
///
/// If the type's `Serialize` panics.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), TaskError> {
    encode_with(value, out, None)
}

/// The same, with a place for long runs of bytes.
pub(crate) fn encode_with<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    sink: Option<&mut dyn Sink>,
) -> Result<(), TaskError> {
    let mut appended = Appended {
        start: out.len(),
        out,
        whole: false,
    };
    match appended.write(value, sink.map(|sink| sink as &mut dyn Sink)) {
        Ok(()) => {
            appended.whole = true;
            Ok(())
        }
        Err(fault) => Err(TaskError::codec(type_name::<T>(), fault)),
    }
}

/// What is being appended, taken away again unless it becomes whole.
struct Appended<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    whole: bool,
}

impl Appended<'_> {
    fn write<'a, T: Serialize + ?Sized>(
        &'a mut self,
        value: &T,
        sink: Option<&'a mut (dyn Sink + 'a)>,
    ) -> Result<(), Fault> {
        let mut encoder = Encoder {
            writer: Writer::new(self.out, sink),
            levels_left: MAX_DEPTH,
            failed: false,
        };
        encoder.value(value)?;
        if encoder.failed {
            return Err(Fault::new(
                "its `Serialize` went on after a part had failed",
            ));
        }
        Ok(())
    }
}

impl Drop for Appended<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.out.truncate(self.start);
        }
    }
}

/// Writes one value and all that is in it.
struct Encoder<'a> {
    writer: Writer<'a>,
    levels_left: usize,
    /// Whether a part of a value failed: the bytes end in its middle, so nothing after it counts.
    failed: bool,
}

impl Encoder<'_> {
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

    #[inline]
    fn leave(&mut self) {
        self.levels_left += 1;
    }

    /// Notes that the bytes are not a value.
    #[cold]
    fn fail(&mut self, why: &'static str) -> Fault {
        self.failed = true;
        Fault::new(why)
    }

    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let Some(bytes) = byte_vector(value) else {
            return value.serialize(self);
        };
        // It is a sequence to who reads it.
        self.enter()?;
        self.writer.run(bytes);
        self.leave();
        Ok(())
    }

    /// Writes one part of a value.
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let written = self.value(value);
        self.failed |= written.is_err();
        written
    }

    /// Writes a value that is a level deeper.
    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.enter()?;
        self.value(value)?;
        self.leave();
        Ok(())
    }

    /// Begins a variant that has data: a map of one entry.
    #[inline]
    fn variant(&mut self, name: &str) -> Result<(), Fault> {
        self.enter()?;
        self.writer.tag(tag::MAP);
        self.writer.count(1);
        self.writer.text(name);
        Ok(())
    }
}

/// The items of a sequence or the entries of a map while they are written.
struct Items<'a, 'out> {
    encoder: &'a mut Encoder<'out>,
    count_at: usize,
    announced: usize,
    written: usize,
    /// The levels that end with the last item.
    levels: usize,
    /// Whether a key was written whose value was not.
    key_pending: bool,
}

impl<'a, 'out> Items<'a, 'out> {
    /// Begins a sequence or a map of about `announced` items.
    #[inline]
    fn open(encoder: &'a mut Encoder<'out>, tag: u8, announced: usize) -> Result<Self, Fault> {
        encoder.enter()?;
        encoder.writer.tag(tag);
        let count_at = encoder.writer.position();
        encoder.writer.count(announced);
        Ok(Self {
            encoder,
            count_at,
            announced,
            written: 0,
            levels: 1,
            key_pending: false,
        })
    }

    /// Begins the fields of a variant, which are the one value of a map.
    #[inline]
    fn open_variant(
        encoder: &'a mut Encoder<'out>,
        variant: &str,
        tag: u8,
        announced: usize,
    ) -> Result<Self, Fault> {
        encoder.variant(variant)?;
        let mut items = Self::open(encoder, tag, announced)?;
        items.levels = 2;
        Ok(items)
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.written += 1;
        self.encoder.part(value)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Fault> {
        self.encoder.writer.text(name);
        self.item(value)
    }

    #[inline]
    fn close(self) -> Result<(), Fault> {
        if self.key_pending {
            return Err(Fault::new("its `Serialize` wrote a key without a value"));
        }
        if self.written != self.announced {
            self.encoder
                .writer
                .recount(self.count_at, self.announced, self.written);
        }
        self.encoder.levels_left += self.levels;
        Ok(())
    }
}

/// Writes a number in one step, its tag before it.
macro_rules! numbers {
    ($($method:ident($number:ty) $tag:ident)*) => {
        $(
            #[inline]
            fn $method(self, value: $number) -> Result<(), Fault> {
                let mut bytes = [tag::$tag; 1 + size_of::<$number>()];
                bytes[1..].copy_from_slice(&value.to_le_bytes());
                self.writer.tagged(bytes);
                Ok(())
            }
        )*
    };
}

impl<'a, 'out> Serializer for &'a mut Encoder<'out> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Items<'a, 'out>;
    type SerializeTuple = Items<'a, 'out>;
    type SerializeTupleStruct = Items<'a, 'out>;
    type SerializeTupleVariant = Items<'a, 'out>;
    type SerializeMap = Items<'a, 'out>;
    type SerializeStruct = Items<'a, 'out>;
    type SerializeStructVariant = Items<'a, 'out>;

    numbers! {
        serialize_u8(u8) U8
        serialize_u16(u16) U16
        serialize_u32(u32) U32
        serialize_u64(u64) U64
        serialize_u128(u128) U128
        serialize_i8(i8) I8
        serialize_i16(i16) I16
        serialize_i32(i32) I32
        serialize_i64(i64) I64
        serialize_i128(i128) I128
        serialize_f32(f32) F32
        serialize_f64(f64) F64
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.writer.tag(if value { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Fault> {
        let mut bytes = [tag::CHAR; 5];
        bytes[1..].copy_from_slice(&u32::from(value).to_le_bytes());
        self.writer.tagged(bytes);
        Ok(())
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Fault> {
        self.writer.text(text);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.writer.tag(tag::STRING);
        let count_at = self.writer.position();
        self.writer.count(0);
        let text_at = self.writer.position();
        write!(self.writer, "{value}")
            .map_err(|_| Fault::new("its `Display` returned an error"))?;
        let length = self.writer.position() - text_at;
        if length != 0 {
            self.writer.recount(count_at, 0, length);
        }
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Fault> {
        self.writer.bytes(bytes);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.writer.tag(tag::NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.writer.tag(tag::SOME);
        self.inner(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        self.writer.tag(tag::UNIT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.inner(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(variant)?;
        self.value(value)?;
        self.leave();
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, announced: Option<usize>) -> Result<Items<'a, 'out>, Fault> {
        Items::open(self, tag::SEQUENCE, announced.unwrap_or(0))
    }

    #[inline]
    fn serialize_tuple(self, announced: usize) -> Result<Items<'a, 'out>, Fault> {
        Items::open(self, tag::SEQUENCE, announced)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        announced: usize,
    ) -> Result<Items<'a, 'out>, Fault> {
        Items::open(self, tag::SEQUENCE, announced)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        announced: usize,
    ) -> Result<Items<'a, 'out>, Fault> {
        Items::open_variant(self, variant, tag::SEQUENCE, announced)
    }

    #[inline]
    fn serialize_map(self, announced: Option<usize>) -> Result<Items<'a, 'out>, Fault> {
        Items::open(self, tag::MAP, announced.unwrap_or(0))
    }

    #[inline]
    fn serialize_struct(
        self,
        _name: &'static str,
        announced: usize,
    ) -> Result<Items<'a, 'out>, Fault> {
        Items::open(self, tag::MAP, announced)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        announced: usize,
    ) -> Result<Items<'a, 'out>, Fault> {
        Items::open_variant(self, variant, tag::MAP, announced)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        HUMAN_READABLE
    }
}

/// The traits whose items have no names.
macro_rules! unnamed {
    ($($part:ident $method:ident)*) => {
        $(
            impl ser::$part for Items<'_, '_> {
                type Ok = ();
                type Error = Fault;

                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                    self.item(value)
                }

                #[inline]
                fn end(self) -> Result<(), Fault> {
                    self.close()
                }
            }
        )*
    };
}

unnamed! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

/// The traits whose items are fields.
macro_rules! named {
    ($($part:ident)*) => {
        $(
            impl ser::$part for Items<'_, '_> {
                type Ok = ();
                type Error = Fault;

                #[inline]
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    name: &'static str,
                    value: &T,
                ) -> Result<(), Fault> {
                    self.field(name, value)
                }

                #[inline]
                fn end(self) -> Result<(), Fault> {
                    self.close()
                }
            }
        )*
    };
}

named! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        if self.key_pending {
            return Err(self
                .encoder
                .fail("its `Serialize` wrote a key without a value"));
        }
        self.key_pending = true;
        self.encoder.part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        if !self.key_pending {
            return Err(self
                .encoder
                .fail("its `Serialize` wrote a value without a key"));
        }
        self.key_pending = false;
        self.item(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}
