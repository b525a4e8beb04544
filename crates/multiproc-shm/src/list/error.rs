//! What can go wrong with a slot of a list.

use std::fmt;

use crate::error::AccessError;

/// Why a value of a list was not read or set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// The list has no such slot.
    OutOfRange {
        /// Which was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The value does not fit into its slot, whose room was fixed when the list was made.
    TooLong {
        /// Its bytes.
        len: usize,
        /// What there is room for.
        room: usize,
    },
    /// The slot holds a value of another type.
    WrongType {
        /// What was asked for.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// What lies there was not written by a list.
    Corrupt(&'static str),
    /// The memory of the list could not be reached.
    Access(AccessError),
}

impl ListError {
    /// Whether the list has no such slot.
    pub fn is_out_of_range(&self) -> bool {
        matches!(self, ListError::OutOfRange { .. })
    }

    /// Whether the value does not fit.
    pub fn is_too_long(&self) -> bool {
        matches!(self, ListError::TooLong { .. })
    }

    /// Whether the slot holds a value of another type.
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, ListError::WrongType { .. })
    }

    /// Whether the memory is damaged.
    pub fn is_corrupt(&self) -> bool {
        match self {
            ListError::Corrupt(_) => true,
            ListError::Access(error) => error.is_corrupt(),
            _ => false,
        }
    }
}

impl From<AccessError> for ListError {
    fn from(error: AccessError) -> ListError {
        ListError::Access(error)
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::OutOfRange { index, len } => {
                write!(f, "the list has {len} slots, none of them is {index}")
            }
            ListError::TooLong { len, room } => write!(
                f,
                "a value of {len} bytes does not fit into a slot of {room}; make the list with more \
                 room (ShareableList::builder)"
            ),
            ListError::WrongType { wanted, found } => write!(f, "expected {wanted}, found {found}"),
            ListError::Corrupt(what) => write!(f, "the list is corrupt: {what}"),
            ListError::Access(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ListError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ListError::Access(error) => error.source(),
            _ => None,
        }
    }
}
