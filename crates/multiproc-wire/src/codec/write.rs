//! serde's `Serializer` over a parcel's bytes.
//!
//! The format is postcard's, and postcard writes every number, text and block of bytes. What holds
//! other values (sequences, structs, enums) is walked here, for three things postcard does not do:
//! it keeps the text of a type's own error, it refuses a field left out by `skip_serializing_if`,
//! and it refuses a sequence whose length is not the one announced, or which the reader would refuse.
//! What it refuses would otherwise be misread by the receiver, or come to light only there.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::EMPTY_ELEMENTS_MAX;
use super::fault::{Fault, Why};

/// Appends values to a buffer.
pub(super) struct Writer<'b> {
    leaves: postcard::Serializer<Tail<'b>>,
    /// How many elements took no bytes; the reader bounds them, so the writer does.
    empty_elements: u32,
}

impl<'b> Writer<'b> {
    #[inline]
    pub(super) fn new(buffer: &'b mut Vec<u8>) -> Writer<'b> {
        Writer {
            leaves: postcard::Serializer {
                output: Tail(buffer),
            },
            empty_elements: 0,
        }
    }

    #[inline]
    fn position(&self) -> usize {
        self.leaves.output.0.len()
    }

    #[cold]
    fn count_empty(&mut self) -> Result<(), Fault> {
        self.empty_elements += 1;
        if self.empty_elements > EMPTY_ELEMENTS_MAX {
            return Err(Fault::new(Why::EmptyElements));
        }
        Ok(())
    }
}

/// The end of a buffer, as postcard wants it.
struct Tail<'b>(&'b mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Small numbers by stores, not by a call for each.
        match *bytes {
            [one] => self.0.push(one),
            [one, two] => self.0.extend_from_slice(&[one, two]),
            [one, two, three] => self.0.extend_from_slice(&[one, two, three]),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Numbers, texts and blocks: postcard's business.
macro_rules! leaf {
    ($($method:ident($type:ty)),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<(), Fault> {
            Ok(self.leaves.$method(value)?)
        }
    )*};
}

impl<'w, 'b> Serializer for &'w mut Writer<'b> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Counted<'w, 'b>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Counted<'w, 'b>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    leaf! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_i128(i128), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
        serialize_u64(u64), serialize_u128(u128), serialize_f32(f32), serialize_f64(f64),
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        Ok(self.leaves.collect_str(value)?)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.serialize_u8(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.serialize_u8(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Fault> {
        self.serialize_u32(index)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.serialize_u32(index)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Counted<'w, 'b>, Fault> {
        Counted::start(self, "sequence", len)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Fault> {
        self.serialize_u32(index)?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Counted<'w, 'b>, Fault> {
        Counted::start(self, "map", len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Fault> {
        self.serialize_u32(index)?;
        Ok(self)
    }
}

/// A sequence or map under way, which must have as many elements as it announced.
pub(super) struct Counted<'w, 'b> {
    writer: &'w mut Writer<'b>,
    what: &'static str,
    announced: usize,
    written: usize,
}

impl<'w, 'b> Counted<'w, 'b> {
    #[inline]
    fn start(
        writer: &'w mut Writer<'b>,
        what: &'static str,
        len: Option<usize>,
    ) -> Result<Self, Fault> {
        let announced = len.ok_or_else(|| Fault::new(Why::UnknownLength { what }))?;
        writer.serialize_u64(announced as u64)?;
        Ok(Counted {
            writer,
            what,
            announced,
            written: 0,
        })
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.written += 1;
        let before = self.writer.position();
        value.serialize(&mut *self.writer)?;
        if self.writer.position() == before {
            self.writer.count_empty()?;
        }
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<(), Fault> {
        let Counted {
            what,
            announced,
            written,
            ..
        } = self;
        if written == announced {
            return Ok(());
        }
        Err(Fault::new(Why::OtherLength { what, announced }))
    }
}

impl SerializeSeq for Counted<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

impl SerializeMap for Counted<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.element(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

/// Values of fixed number follow one another without more ado.
macro_rules! row {
    ($($trait:ident::$method:ident),* $(,)?) => {$(
        impl $trait for &mut Writer<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )*};
}

row! {
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// Fields are written in order, without their names.
macro_rules! fields {
    ($($trait:ident),* $(,)?) => {$(
        impl $trait for &mut Writer<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                value.serialize(&mut **self)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Fault> {
                Err(Fault::new(Why::SkippedField { name }))
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);
