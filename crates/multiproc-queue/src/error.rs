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
    /// Nobody is left to get it. A queue never says so, since whoever can put can get; it is here so
    /// that a program treats queues and connections alike.
    Disconnected(T),
    /// The item cannot be encoded.
    Encode(T, EncodeError),
    /// The item is larger than all the family's shared memory.
    TooLarge {
        /// The item.
        item: T,
        /// How many bytes it takes.
        size: u64,
        /// How many there are.
        limit: u64,
    },
    /// There is no shared memory for the item now, or no room for the open files in it.
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
            | PutError::Disconnected(item)
            | PutError::Encode(item, _)
            | PutError::TooLarge { item, .. }
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

    /// Whether nobody is left to get it.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, PutError::Disconnected(_))
    }

    /// Whether the item cannot be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, PutError::Encode(..))
    }

    /// Whether the item is larger than all the family's shared memory.
    pub fn is_too_large(&self) -> bool {
        matches!(self, PutError::TooLarge { .. })
    }

    /// Of a call that was not to wait, to be late is to have found no room.
    pub(crate) fn at_once(self) -> PutError<T> {
        match self {
            PutError::TimedOut(item) => PutError::Full(item),
            error => error,
        }
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
            PutError::Disconnected(_) => f.write_str("Disconnected(..)"),
            PutError::Encode(_, error) => write!(f, "Encode(.., {error:?})"),
            PutError::TooLarge { size, limit, .. } => {
                write!(f, "TooLarge {{ size: {size}, limit: {limit}, .. }}")
            }
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
            PutError::Disconnected(_) => f.write_str("nobody is left to get the item"),
            PutError::Encode(_, error) => write!(f, "the item cannot be sent: {error}"),
            PutError::TooLarge { size, limit, .. } => write!(
                f,
                "the item takes {size} bytes, and all shared memory of the family is {limit}; send it \
                 in parts, or raise what limits it (MULTIPROC_ARENA_MAX, RLIMIT_FSIZE, RLIMIT_AS)"
            ),
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
    /// Nobody is left to put anything. A queue never says so, since whoever can get can put; it is here
    /// so that a program treats queues and connections alike.
    Disconnected,
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

    /// Of a call that was not to wait, to be late is to have found nothing.
    pub(crate) fn at_once(self) -> GetError {
        match self {
            GetError::TimedOut => GetError::Empty,
            error => error,
        }
    }

    /// Whether the queue is closed and drained.
    pub fn is_closed(&self) -> bool {
        matches!(self, GetError::Closed)
    }

    /// Whether nobody is left to put anything.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, GetError::Disconnected)
    }

    /// Whether the next item cannot be reached, since its memory is damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, GetError::Corrupt(_))
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
            GetError::Disconnected => f.write_str("nobody is left to put anything"),
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

/// Why [`Queue::get_many`](crate::Queue::get_many) did not get all there was. What it got beside that is
/// inside: [`GetManyError::into_inner`].
#[derive(Clone, PartialEq, Eq)]
pub struct GetManyError<T> {
    got: Vec<T>,
    error: GetError,
}

impl<T> GetManyError<T> {
    pub(crate) fn new(got: Vec<T>, error: GetError) -> GetManyError<T> {
        GetManyError { got, error }
    }

    pub(crate) fn at_once(self) -> GetManyError<T> {
        GetManyError {
            error: self.error.at_once(),
            ..self
        }
    }

    /// The items that were got; none, unless one of several could not be read.
    pub fn into_inner(self) -> Vec<T> {
        self.got
    }

    /// What went wrong.
    pub fn error(&self) -> &GetError {
        &self.error
    }
}

// No bound on `T`, as for `PutError`.
impl<T> fmt::Debug for GetManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetManyError")
            .field("got", &self.got.len())
            .field("error", &self.error)
            .finish()
    }
}

impl<T> fmt::Display for GetManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.got.len() {
            0 => self.error.fmt(f),
            got => write!(f, "{}; {got} other items were got", self.error),
        }
    }
}

impl<T> Error for GetManyError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<T> From<GetManyError<T>> for GetError {
    fn from(error: GetManyError<T>) -> GetError {
        error.error
    }
}

/// [`JoinableQueue::task_done`](crate::JoinableQueue::task_done) was called in a process that has no item in
/// hand: it has got none, or said so for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskDoneError(pub(crate) ());

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "task_done: this process has no item of the queue in hand; the process that got an item says \
             when it is done",
        )
    }
}

impl Error for TaskDoneError {}

/// Why [`JoinableQueue::join`](crate::JoinableQueue::join) did not see all items done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishError {
    /// The deadline passed before they were.
    Unfinished {
        /// How many were left then.
        items: usize,
    },
    /// All others are done, and these never will be: whoever had them in hand died.
    Lost {
        /// How many, since this handle was last told.
        items: u64,
    },
}

impl FinishError {
    /// Whether the deadline passed.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, FinishError::Unfinished { .. })
    }

    /// Whether items died with a process.
    pub fn is_lost(&self) -> bool {
        matches!(self, FinishError::Lost { .. })
    }
}

impl fmt::Display for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FinishError::Unfinished { items } => {
                write!(
                    f,
                    "{items} items of the queue were not done at the deadline"
                )
            }
            FinishError::Lost { items } => {
                write!(
                    f,
                    "{items} items died with the processes that had taken them; all others are done"
                )
            }
        }
    }
}

impl Error for FinishError {}
