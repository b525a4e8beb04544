//! What can go wrong with a connection, one small type for each thing one does with it.

use std::error::Error;
use std::fmt;

use multiproc_shm::{CreateError, OpenError};
use multiproc_sys::Errno;
use multiproc_wire::{DecodeError, EncodeError};

/// Why there is no listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// The address is none, or one that is not served; the text says why.
    Invalid(String),
    /// Somebody listens there, or a file that is no dead listener's is in the way.
    InUse(String),
    /// There is no directory for the file of a socket; these were tried.
    NoPlace(String),
    /// The system refused.
    Os(Errno),
}

impl BindError {
    /// Whether the place is taken.
    pub fn is_in_use(&self) -> bool {
        matches!(self, BindError::InUse(_))
    }

    /// Whether the address is none.
    pub fn is_invalid(&self) -> bool {
        matches!(self, BindError::Invalid(_))
    }

    /// Whether there is no directory for the file of a socket.
    pub fn is_no_place(&self) -> bool {
        matches!(self, BindError::NoPlace(_))
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Invalid(why) => f.write_str(why),
            BindError::InUse(place) => {
                write!(
                    f,
                    "`{place}` is in use: somebody listens there, or it is another file"
                )
            }
            BindError::NoPlace(tried) => write!(
                f,
                "no directory for the socket could be made in {tried}; set TMPDIR to one that can be \
                 written, or give an address"
            ),
            BindError::Os(errno) => write!(f, "cannot listen: {errno}"),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BindError::Os(errno) => Some(errno),
            _ => None,
        }
    }
}

/// Why two strangers did not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The other side does not know the key, or it runs as another user.
    AuthenticationFailed,
    /// The other side speaks another version.
    VersionMismatch {
        /// What this side speaks.
        ours: u16,
        /// What the other speaks.
        theirs: u16,
    },
    /// It took longer than it may.
    TimedOut,
    /// Nobody listens there, or the listener closed the connection before it was one.
    Refused,
    /// What is there speaks something else.
    Protocol,
    /// One side does not trust the other's certificate; the text says why.
    Untrusted(String),
    /// The address, or the key, is none; the text says why.
    Invalid(String),
    /// The system refused.
    Os(Errno),
}

impl ConnectError {
    /// Whether the key was to blame.
    pub fn is_authentication_failed(&self) -> bool {
        matches!(self, ConnectError::AuthenticationFailed)
    }

    /// Whether the versions differ.
    pub fn is_version_mismatch(&self) -> bool {
        matches!(self, ConnectError::VersionMismatch { .. })
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, ConnectError::TimedOut)
    }

    /// Whether nobody was there.
    pub fn is_refused(&self) -> bool {
        matches!(self, ConnectError::Refused)
    }

    /// Whether the other side speaks something else.
    pub fn is_protocol(&self) -> bool {
        matches!(self, ConnectError::Protocol)
    }

    /// Whether a certificate was to blame.
    pub fn is_untrusted(&self) -> bool {
        matches!(self, ConnectError::Untrusted(_))
    }

    /// Whether the address or the key is none.
    pub fn is_invalid(&self) -> bool {
        matches!(self, ConnectError::Invalid(_))
    }

    /// Whether the system refused for a reason that is none of the others.
    pub fn is_os(&self) -> bool {
        matches!(self, ConnectError::Os(_))
    }
}

impl From<Errno> for ConnectError {
    fn from(errno: Errno) -> ConnectError {
        match errno {
            Errno::ECONNREFUSED | Errno::ENOENT | Errno::ECONNRESET | Errno::EPIPE => {
                ConnectError::Refused
            }
            Errno::ETIMEDOUT => ConnectError::TimedOut,
            errno => ConnectError::Os(errno),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::AuthenticationFailed => {
                f.write_str("the other side has another key, or runs as another user")
            }
            ConnectError::VersionMismatch { ours, theirs } => {
                write!(f, "the other side speaks version {theirs}, this one {ours}")
            }
            ConnectError::TimedOut => f.write_str("no connection until the deadline"),
            ConnectError::Refused => {
                f.write_str("nobody listens there, or the listener closed the connection")
            }
            ConnectError::Protocol => f.write_str("what listens there speaks something else"),
            ConnectError::Untrusted(why) => write!(f, "a certificate is not trusted: {why}"),
            ConnectError::Invalid(why) => f.write_str(why),
            ConnectError::Os(errno) => write!(f, "cannot connect: {errno}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConnectError::Os(errno) => Some(errno),
            _ => None,
        }
    }
}

/// Why no connection was accepted. Strangers that were turned away are no error: see
/// [`Listener::take_refused`](crate::Listener::take_refused).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// Nobody waits who has shown that he knows the key.
    Empty,
    /// Nobody came until the deadline.
    TimedOut,
    /// The key is none; the text says why.
    Invalid(String),
    /// There is no room for another descriptor in this process, or in the system.
    TooManyFiles,
    /// The system refused.
    Os(Errno),
}

impl AcceptError {
    /// Whether nobody waits now.
    pub fn is_empty(&self) -> bool {
        matches!(self, AcceptError::Empty)
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, AcceptError::TimedOut)
    }

    /// Whether descriptors ran out.
    pub fn is_too_many_files(&self) -> bool {
        matches!(self, AcceptError::TooManyFiles)
    }
}

impl From<Errno> for AcceptError {
    fn from(errno: Errno) -> AcceptError {
        match errno {
            Errno::EMFILE | Errno::ENFILE => AcceptError::TooManyFiles,
            errno => AcceptError::Os(errno),
        }
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::Empty => f.write_str("nobody waits to be accepted"),
            AcceptError::TimedOut => f.write_str("nobody came until the deadline"),
            AcceptError::Invalid(why) => f.write_str(why),
            AcceptError::TooManyFiles => {
                f.write_str("no room for another descriptor; close some, or raise RLIMIT_NOFILE")
            }
            AcceptError::Os(errno) => write!(f, "cannot accept: {errno}"),
        }
    }
}

impl Error for AcceptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AcceptError::Os(errno) => Some(errno),
            _ => None,
        }
    }
}

/// Why nothing was sent. A send borrows its value, so there is nothing to give back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// There is no room now.
    Full,
    /// There was none until the deadline, or another sender was in the middle of a message.
    TimedOut,
    /// This end has been closed here, or an earlier error has made it unusable.
    Closed,
    /// Nobody is left who could receive.
    Disconnected,
    /// The value cannot be encoded.
    Encode(EncodeError),
    /// The message is longer than may be.
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// The longest there may be.
        limit: u64,
    },
    /// There is no shared memory for it.
    NoSpace(CreateError),
    /// More open files than the system lets a process send at once, or this thread holds 2,000 locks.
    Limit(String),
    /// The system refused.
    Os(Errno),
}

impl SendError {
    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, SendError::Full)
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, SendError::TimedOut)
    }

    /// Whether this end was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, SendError::Closed)
    }

    /// Whether nobody is left at the other end.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendError::Disconnected)
    }

    /// Whether the value cannot be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, SendError::Encode(_))
    }

    /// Whether the message was too long.
    pub fn is_too_large(&self) -> bool {
        matches!(self, SendError::TooLarge { .. })
    }

    /// Whether shared memory was missing.
    pub fn is_no_space(&self) -> bool {
        matches!(self, SendError::NoSpace(_))
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => f.write_str("the connection is full"),
            SendError::TimedOut => f.write_str("the connection was full until the deadline"),
            SendError::Closed => f.write_str("this end of the connection is closed"),
            SendError::Disconnected => f.write_str("the other end of the connection is gone"),
            SendError::Encode(error) => write!(f, "the value cannot be sent: {error}"),
            SendError::TooLarge { size, limit } => {
                write!(
                    f,
                    "a message of {size} bytes is longer than the limit of {limit}"
                )
            }
            SendError::NoSpace(error) => write!(f, "no room for the message: {error}"),
            SendError::Limit(what) => f.write_str(what),
            SendError::Os(errno) => write!(f, "cannot send: {errno}"),
        }
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SendError::Encode(error) => Some(error),
            SendError::NoSpace(error) => Some(error),
            SendError::Os(errno) => Some(errno),
            _ => None,
        }
    }
}

/// Why nothing was received.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing is there.
    Empty,
    /// Nothing came, or not all of it, until the deadline. What came is kept for the next call.
    TimedOut,
    /// This end has been closed here, or an earlier error has made it unusable.
    Closed,
    /// Everything has been received, and nobody is left who could send. Python's `EOFError`.
    Disconnected,
    /// The message that came is no value of this type. It is gone.
    Decode(DecodeError),
    /// The buffer is too short; the whole message is here.
    BufferTooShort(Vec<u8>),
    /// The message is longer than may be. This end is unusable from here on.
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// The longest there may be.
        limit: u64,
    },
    /// What came is no message, or its sender died in the middle of it; the text says which.
    Protocol(&'static str),
    /// This process had no room for the descriptors that came. This end is unusable from here on.
    TooManyFiles,
    /// There is no shared memory left to receive the handles in the message. It is kept for the next call.
    NoSpace(OpenError),
    /// The message cannot be reached: its memory holds what cannot be true. It is gone.
    Corrupt(OpenError),
    /// This thread holds 2,000 locks already, and cannot take the connection's.
    Limit(String),
    /// The system refused.
    Os(Errno),
}

impl RecvError {
    /// Whether nothing was there.
    pub fn is_empty(&self) -> bool {
        matches!(self, RecvError::Empty)
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, RecvError::TimedOut)
    }

    /// Whether this end was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, RecvError::Closed)
    }

    /// Whether this is the end: everything has been received.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvError::Disconnected)
    }

    /// Whether the message was no value of this type.
    pub fn is_decode(&self) -> bool {
        matches!(self, RecvError::Decode(_))
    }

    /// Whether the buffer was too short.
    pub fn is_buffer_too_short(&self) -> bool {
        matches!(self, RecvError::BufferTooShort(_))
    }

    /// Whether the message was too long.
    pub fn is_too_large(&self) -> bool {
        matches!(self, RecvError::TooLarge { .. })
    }

    /// Whether what came was no message.
    pub fn is_protocol(&self) -> bool {
        matches!(self, RecvError::Protocol(_))
    }

    /// Whether shared memory was missing.
    pub fn is_no_space(&self) -> bool {
        matches!(self, RecvError::NoSpace(_))
    }

    /// Whether there was no room for descriptors.
    pub fn is_too_many_files(&self) -> bool {
        matches!(self, RecvError::TooManyFiles)
    }

    /// Whether the message cannot be reached, since its memory is damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, RecvError::Corrupt(_))
    }
}

// Written by hand for one reason: a message may be long, and is not for logs.
impl fmt::Debug for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Empty => f.write_str("Empty"),
            RecvError::TimedOut => f.write_str("TimedOut"),
            RecvError::Closed => f.write_str("Closed"),
            RecvError::Disconnected => f.write_str("Disconnected"),
            RecvError::Decode(error) => write!(f, "Decode({error:?})"),
            RecvError::BufferTooShort(bytes) => write!(f, "BufferTooShort({} bytes)", bytes.len()),
            RecvError::TooLarge { size, limit } => write!(f, "TooLarge({size} > {limit})"),
            RecvError::Protocol(what) => write!(f, "Protocol({what:?})"),
            RecvError::TooManyFiles => f.write_str("TooManyFiles"),
            RecvError::NoSpace(error) => write!(f, "NoSpace({error:?})"),
            RecvError::Corrupt(error) => write!(f, "Corrupt({error:?})"),
            RecvError::Limit(what) => write!(f, "Limit({what:?})"),
            RecvError::Os(errno) => write!(f, "Os({errno})"),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Empty => f.write_str("nothing is there to be received"),
            RecvError::TimedOut => f.write_str("nothing came until the deadline"),
            RecvError::Closed => f.write_str("this end of the connection is closed"),
            RecvError::Disconnected => f.write_str("the other end of the connection is gone"),
            RecvError::Decode(error) => write!(f, "what came cannot be read: {error}"),
            RecvError::BufferTooShort(bytes) => {
                write!(
                    f,
                    "a message of {} bytes is longer than the buffer",
                    bytes.len()
                )
            }
            RecvError::TooLarge { size, limit } => write!(
                f,
                "a message of {size} bytes is longer than the limit of {limit}; nothing more can be \
                 received here"
            ),
            RecvError::Protocol(what) => f.write_str(what),
            RecvError::TooManyFiles => f.write_str(
                "no room for the descriptors that came; close some, or raise RLIMIT_NOFILE",
            ),
            RecvError::NoSpace(error) => write!(
                f,
                "no room to receive the handles in the message, which is kept: {error}"
            ),
            RecvError::Corrupt(error) => write!(f, "the message cannot be reached: {error}"),
            RecvError::Limit(what) => f.write_str(what),
            RecvError::Os(errno) => write!(f, "cannot receive: {errno}"),
        }
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RecvError::Decode(error) => Some(error),
            RecvError::NoSpace(error) | RecvError::Corrupt(error) => Some(error),
            RecvError::Os(errno) => Some(errno),
            _ => None,
        }
    }
}
