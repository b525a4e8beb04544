//! A byte buffer that travels as one block.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that travel by one copy, wherever in a value they stand.
///
/// serde sees a `Vec<u8>` as a sequence and visits each byte. By itself, as the whole value, a
/// `Vec<u8>` is recognised and copied like `Bytes`; inside another type only `Bytes` is.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// No bytes.
    pub const fn new() -> Bytes {
        Bytes(Vec::new())
    }

    /// The buffer.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Bytes {
    fn from(bytes: [u8; N]) -> Bytes {
        Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Bytes {
        Bytes(bytes.to_vec())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Bytes {
        Bytes(text.into_bytes())
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Vec<u8> {
        bytes.0
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Bytes {
        Bytes(bytes.into_iter().collect())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The length and the beginning: a buffer is often too large to print.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        let (start, more) = self.0.split_at(self.0.len().min(SHOWN));
        let more = if more.is_empty() { "" } else { ".." };
        write!(
            f,
            "Bytes({}: \"{}\"{more})",
            self.0.len(),
            start.escape_ascii()
        )
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_byte_buf(Buffer)
    }
}

struct Buffer;

impl<'de> Visitor<'de> for Buffer {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::from(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }

    /// Formats without bytes of their own, such as JSON, write a sequence.
    fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Bytes, A::Error> {
        let mut buffer = Vec::new();
        while let Some(byte) = bytes.next_element()? {
            buffer.push(byte);
        }
        Ok(Bytes(buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_beginning_only() {
        assert_eq!(
            format!("{:?}", Bytes::from(&b"a\n"[..])),
            r#"Bytes(2: "a\n")"#
        );
        let long = format!("{:?}", Bytes::from(vec![b'x'; 1000]));
        assert_eq!(long, r#"Bytes(1000: "xxxxxxxxxxxxxxxx"..)"#);
    }

    #[test]
    fn a_sequence_from_another_format_is_accepted() {
        use serde::de::value::{Error, SeqDeserializer};
        let bytes = SeqDeserializer::<_, Error>::new([1u8, 2].into_iter());
        assert_eq!(Bytes::deserialize(bytes), Ok(Bytes(vec![1, 2])));
    }
}
