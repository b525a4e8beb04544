//! serde's `Deserializer` over the bytes of a parcel: the counterpart of [`write`](super::write).
//!
//! **No allocation follows from a length in the bytes alone.** Texts and blocks are slices of the
//! input, cut out before they are copied, so a length beyond the input is an error first. Sequences
//! and maps grow as their elements are read. What they may reserve beforehand is shared: one place
//! for each byte of the input, over all containers of the value together. A well-formed value never
//! needs more, since each element has a byte of its own (its first, or the length it starts with);
//! without the sharing, a type that contains itself would reserve anew at each level.

use serde::de::value::U32Deserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::EMPTY_ELEMENTS_MAX;
use super::fault::{Fault, Why};

/// Takes values from the front of a slice.
pub(super) struct Reader<'de> {
    rest: &'de [u8],
    /// How many places containers may still reserve for elements to come.
    places: usize,
    /// How many elements took no bytes.
    empty_elements: u32,
}

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn new(bytes: &'de [u8]) -> Reader<'de> {
        Reader {
            rest: bytes,
            places: bytes.len(),
            empty_elements: 0,
        }
    }

    /// What no value has taken yet.
    #[inline]
    pub(super) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// A number, a text or a block of bytes: postcard's business.
    #[inline]
    fn leaf<T: Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        let (value, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    /// Elements as many as the bytes announce.
    #[inline]
    fn announced(&mut self) -> Result<Elements<'_, 'de>, Fault> {
        let left = self.leaf()?;
        let reserve = self.places.min(left);
        self.places -= reserve;
        Ok(Elements {
            reader: self,
            left,
            reserve,
        })
    }

    /// Elements as many as the type has, for which nothing is reserved.
    #[inline]
    fn row<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Elements {
            reader: self,
            left,
            reserve: 0,
        })
    }
}

macro_rules! leaf {
    ($($method:ident $visit:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.leaf()?)
        }
    )*};
}

/// What only a format that records its own structure can answer.
macro_rules! unanswerable {
    ($($method:ident),* $(,)?) => {$(
        #[cold]
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
            Err(Fault::new(Why::NotSelfDescribing))
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    leaf! {
        deserialize_bool visit_bool, deserialize_char visit_char,
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32,
        deserialize_i64 visit_i64, deserialize_i128 visit_i128,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32,
        deserialize_u64 visit_u64, deserialize_u128 visit_u128,
        deserialize_f32 visit_f32, deserialize_f64 visit_f64,
        deserialize_str visit_borrowed_str, deserialize_string visit_borrowed_str,
        deserialize_bytes visit_borrowed_bytes, deserialize_byte_buf visit_borrowed_bytes,
    }

    unanswerable!(
        deserialize_any,
        deserialize_identifier,
        deserialize_ignored_any
    );

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.leaf::<u8>()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(Fault::new(Why::Discriminant { what: "an option" })),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.announced()?)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.row(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.row(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self.announced()?)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.row(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self)
    }
}

/// A known number of elements, or of pairs, that follow.
struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
    /// For how many of them a container may reserve memory.
    reserve: usize,
}

impl<'de> Elements<'_, 'de> {
    /// The next element or key, if there is one.
    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let before = self.reader.rest.len();
        let value = seed.deserialize(&mut *self.reader)?;
        if self.reader.rest.len() == before {
            self.count_empty()?;
        }
        Ok(Some(value))
    }

    #[cold]
    fn count_empty(&mut self) -> Result<(), Fault> {
        self.reader.empty_elements += 1;
        if self.reader.empty_elements > EMPTY_ELEMENTS_MAX {
            return Err(Fault::new(Why::EmptyElements));
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reserve)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reserve)
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let index: U32Deserializer<Fault> = self.leaf::<u32>()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.row(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.row(fields.len(), visitor)
    }
}
