//! What can go wrong with a queue; a put gives its item back.

use std::error::Error;
use std::fmt;

use multiproc_shm::{CreateError, LockError, OpenError};
use multiproc_wire::{DecodeError, EncodeError};

/// Why an item was not put. It is inside: [`PutError::into_inner`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// The queue holds as many items as it may.
    Full(T),
    /// It did until the deadline, or another process held it up.
    TimedOut(T),
    /// Somebody has closed the queue.
    Closed(T),
    /// The item cannot be encoded.
    Encode(T, EncodeError),
    /// There is no shared memory for the item.
    NoSpace(T, CreateError),
    /// This thread holds 2,000 locks already and cannot take the queue's.
    TooMany(T),
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(item)
            | PutError::TimedOut(item)
            | PutError::Closed(item)
            | PutError::Encode(item, _)
            | PutError::NoSpace(item, _)
            | PutError::TooMany(item) => item,
        }
    }

    /// Whether the queue was full.
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full(_))
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, PutError::TimedOut(_))
    }

    /// Whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, PutError::Closed(_))
    }

    /// Whether the item cannot be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, PutError::Encode(..))
    }

    /// Whether shared memory was missing.
    pub fn is_no_space(&self) -> bool {
        matches!(self, PutError::NoSpace(..))
    }
}

// No bound on `T`: the item may be anything, and may be large.
impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("Full(..)"),
            PutError::TimedOut(_) => f.write_str("TimedOut(..)"),
            PutError::Closed(_) => f.write_str("Closed(..)"),
            PutError::Encode(_, error) => write!(f, "Encode(.., {error:?})"),
            PutError::NoSpace(_, error) => write!(f, "NoSpace(.., {error:?})"),
            PutError::TooMany(_) => f.write_str("TooMany(..)"),
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("the queue is full"),
            PutError::TimedOut(_) => f.write_str("the queue was full until the deadline"),
            PutError::Closed(_) => f.write_str("the queue is closed"),
            PutError::Encode(_, error) => write!(f, "the item cannot be sent: {error}"),
            PutError::NoSpace(_, error) => write!(f, "no room for the item: {error}"),
            PutError::TooMany(_) => LOCKS.fmt(f),
        }
    }
}

impl<T> Error for PutError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PutError::Encode(_, error) => Some(error),
            PutError::NoSpace(_, error) => Some(error),
            _ => None,
        }
    }
}

const LOCKS: &str =
    "this thread holds 2000 locks already and cannot take the queue's; release some";

/// Why no item was got.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// Nothing is in the queue.
    Empty,
    /// Nothing came until the deadline, or another process held the queue up.
    TimedOut,
    /// The queue is closed, and everything in it has been taken.
    Closed,
    /// The item that was taken cannot be decoded. It is gone.
    Decode(DecodeError),
    /// The item that was next cannot be reached: its memory holds what cannot be true, or there is
    /// none left to receive it.
    Corrupt(OpenError),
    /// The item that is next carries open files, and a process has no file descriptor free for them.
    /// It is still there.
    TooManyFiles(OpenError),
    /// This thread holds 2,000 locks already and cannot take the queue's.
    TooMany,
}

impl GetError {
    /// Whether nothing was in the queue.
    pub fn is_empty(&self) -> bool {
        matches!(self, GetError::Empty)
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, GetError::TimedOut)
    }

    /// Whether the queue is closed and drained.
    pub fn is_closed(&self) -> bool {
        matches!(self, GetError::Closed)
    }

    /// Whether no descriptor was free for the open files in the item, which is still in the queue.
    pub fn is_too_many_files(&self) -> bool {
        matches!(self, GetError::TooManyFiles(_))
    }

    /// Whether the item could not be decoded.
    pub fn is_decode(&self) -> bool {
        matches!(self, GetError::Decode(_))
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("the queue is empty"),
            GetError::TimedOut => f.write_str("the queue was empty until the deadline"),
            GetError::Closed => f.write_str("the queue is closed and drained"),
            GetError::Decode(error) => write!(f, "the item taken cannot be read: {error}"),
            GetError::Corrupt(error) => write!(f, "the next item cannot be reached: {error}"),
            GetError::TooManyFiles(error) => error.fmt(f),
            GetError::TooMany => LOCKS.fmt(f),
        }
    }
}

impl Error for GetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            GetError::Decode(error) => Some(error),
            GetError::Corrupt(error) | GetError::TooManyFiles(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OpenError> for GetError {
    fn from(error: OpenError) -> GetError {
        if error.is_too_many_files() {
            GetError::TooManyFiles(error)
        } else {
            GetError::Corrupt(error)
        }
    }
}

impl From<LockError> for GetError {
    fn from(error: LockError) -> GetError {
        match error {
            LockError::Refused(_) => GetError::TooMany,
            LockError::TimedOut | LockError::OwnerDied | LockError::Deadlock => GetError::TimedOut,
        }
    }
}
