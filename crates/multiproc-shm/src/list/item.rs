//! What a slot of a list can hold, and its bytes.

use super::error::ListError;

const NONE: u8 = 1;
const BOOL: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;

/// A value in a [`ShareableList`](crate::ShareableList).
#[derive(Clone, Debug, PartialEq)]
pub enum ListItem {
    /// Nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl ListItem {
    /// How many bytes it needs.
    pub(super) fn room(&self) -> usize {
        match self {
            ListItem::Text(text) => text.len(),
            ListItem::Bytes(bytes) => bytes.len(),
            _ => 8,
        }
    }

    pub(super) fn to_bytes(&self) -> (u8, Vec<u8>) {
        match self {
            ListItem::None => (NONE, Vec::new()),
            ListItem::Bool(value) => (BOOL, vec![u8::from(*value)]),
            ListItem::Int(value) => (INT, value.to_le_bytes().to_vec()),
            ListItem::Float(value) => (FLOAT, value.to_le_bytes().to_vec()),
            ListItem::Text(text) => (TEXT, text.as_bytes().to_vec()),
            ListItem::Bytes(bytes) => (BYTES, bytes.clone()),
        }
    }

    pub(super) fn from_bytes(kind: u8, bytes: Vec<u8>) -> Result<ListItem, ListError> {
        let word = || <[u8; 8]>::try_from(&bytes[..]).ok();
        let item = match kind {
            NONE if bytes.is_empty() => Some(ListItem::None),
            BOOL if bytes == [0] => Some(ListItem::Bool(false)),
            BOOL if bytes == [1] => Some(ListItem::Bool(true)),
            INT => word().map(i64::from_le_bytes).map(ListItem::Int),
            FLOAT => word().map(f64::from_le_bytes).map(ListItem::Float),
            TEXT => String::from_utf8(bytes).ok().map(ListItem::Text),
            BYTES => Some(ListItem::Bytes(bytes)),
            _ => None,
        };
        item.ok_or(ListError::Corrupt(
            "the bytes of a value are not of its type",
        ))
    }

    fn type_name(&self) -> &'static str {
        match self {
            ListItem::None => "nothing",
            ListItem::Bool(_) => "a truth value",
            ListItem::Int(_) => "an integer",
            ListItem::Float(_) => "a floating-point number",
            ListItem::Text(_) => "a text",
            ListItem::Bytes(_) => "bytes",
        }
    }
}

macro_rules! from_integers {
    ($($int:ty)*) => {$(
        impl From<$int> for ListItem {
            fn from(value: $int) -> ListItem {
                ListItem::Int(value.into())
            }
        }
    )*};
}

from_integers!(i8 i16 i32 i64 u8 u16 u32);

macro_rules! try_into_types {
    ($($type:ty, $variant:ident, $wanted:literal;)*) => {$(
        impl TryFrom<ListItem> for $type {
            type Error = ListError;

            fn try_from(item: ListItem) -> Result<$type, ListError> {
                match item {
                    ListItem::$variant(value) => Ok(value),
                    other => Err(ListError::WrongType {
                        wanted: $wanted,
                        found: other.type_name(),
                    }),
                }
            }
        }
    )*};
}

try_into_types! {
    bool, Bool, "a truth value";
    i64, Int, "an integer";
    f64, Float, "a floating-point number";
    String, Text, "a text";
    Vec<u8>, Bytes, "bytes";
}

impl From<bool> for ListItem {
    fn from(value: bool) -> ListItem {
        ListItem::Bool(value)
    }
}

impl From<f32> for ListItem {
    fn from(value: f32) -> ListItem {
        ListItem::Float(value.into())
    }
}

impl From<f64> for ListItem {
    fn from(value: f64) -> ListItem {
        ListItem::Float(value)
    }
}

impl From<&str> for ListItem {
    fn from(text: &str) -> ListItem {
        ListItem::Text(text.to_owned())
    }
}

impl From<String> for ListItem {
    fn from(text: String) -> ListItem {
        ListItem::Text(text)
    }
}

impl From<&[u8]> for ListItem {
    fn from(bytes: &[u8]) -> ListItem {
        ListItem::Bytes(bytes.to_owned())
    }
}

impl<const N: usize> From<&[u8; N]> for ListItem {
    fn from(bytes: &[u8; N]) -> ListItem {
        ListItem::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for ListItem {
    fn from(bytes: Vec<u8>) -> ListItem {
        ListItem::Bytes(bytes)
    }
}

impl<T: Into<ListItem>> From<Option<T>> for ListItem {
    fn from(value: Option<T>) -> ListItem {
        value.map_or(ListItem::None, Into::into)
    }
}
