//! Why a value could not be written or read, while serde unwinds its calls.
//!
//! postcard's own error forgets the text of what a type's serde code reports; this one keeps it.

use std::fmt;

/// One word, since every step of serde returns it.
#[derive(Debug)]
pub(super) struct Fault(Box<Why>);

#[derive(Debug)]
pub(super) enum Why {
    /// postcard says so of a number, a text or a block of bytes.
    Format(postcard::Error),
    /// The type asks the format what comes next.
    NotSelfDescribing,
    /// A sequence or map did not say how long it is.
    UnknownLength { what: &'static str },
    /// A sequence or map said another length than it had.
    OtherLength {
        what: &'static str,
        announced: usize,
    },
    /// `skip_serializing_if` left out a field.
    SkippedField { name: &'static str },
    /// An option's or enum's discriminant that does not exist.
    Discriminant { what: &'static str },
    /// More elements that take no bytes than anyone means.
    EmptyElements,
    /// What the type's own serde code had to say.
    Text(String),
}

impl Fault {
    pub(super) fn new(why: Why) -> Fault {
        Fault(Box::new(why))
    }

    pub(super) fn is_not_self_describing(&self) -> bool {
        matches!(*self.0, Why::NotSelfDescribing)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Why::Format(postcard::Error::DeserializeUnexpectedEnd) => {
                f.write_str("the bytes end before the value does")
            }
            Why::Format(postcard::Error::DeserializeBadBool) => {
                f.write_str("a truth value that is neither 0 nor 1")
            }
            Why::Format(postcard::Error::DeserializeBadChar) => f.write_str("no character"),
            Why::Format(postcard::Error::DeserializeBadUtf8) => {
                f.write_str("text that is not UTF-8")
            }
            Why::Format(postcard::Error::DeserializeBadVarint) => {
                f.write_str("a number too large for its type")
            }
            Why::Format(other) => write!(f, "{other}"),
            Why::NotSelfDescribing => f.write_str(
                "it asks what comes next in the bytes, which this format does not record \
                 (serde's `untagged`, `tag` and `flatten` do so, and types such as \
                 `serde_json::Value`)",
            ),
            Why::UnknownLength { what } => write!(
                f,
                "a {what} does not say how long it is, which this format needs (serde's `flatten` \
                 makes such maps)"
            ),
            Why::OtherLength { what, announced } => {
                write!(
                    f,
                    "a {what} announced {announced} elements and had another number"
                )
            }
            Why::SkippedField { name } => write!(
                f,
                "`skip_serializing_if` leaves out the field `{name}`, which the receiver could not \
                 know, as this format does not record names"
            ),
            Why::Discriminant { what } => write!(f, "{what} with a discriminant it does not have"),
            Why::EmptyElements => {
                f.write_str("more than 2^20 elements that take no bytes; send their number instead")
            }
            Why::Text(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl From<postcard::Error> for Fault {
    fn from(error: postcard::Error) -> Fault {
        Fault::new(Why::Format(error))
    }
}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Fault {
        Fault::new(Why::Text(text.to_string()))
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Fault {
        Fault::new(Why::Text(text.to_string()))
    }
}
