//! What can go wrong when something shared is made or reached.

use std::fmt;

use multiproc_sys::Errno;
use multiproc_sys::robust::Refusal;

/// For [`OpenError::TooManyFiles`] where it is this process that has no room.
pub(crate) const TOO_MANY_FILES: &str = "no file descriptor is free for the open files of a message; \
    close some and try again, or raise RLIMIT_NOFILE (ulimit -n)";

const NO_EXCHANGE: &str = "the family's first process has ended or does not answer; open files travel \
    through it, so no more can be sent or received";

/// Why something shared could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateError {
    /// No memory is left for it: the machine's, or a limit's. The text names the limit.
    NoSpace(String),
    /// What was asked for makes no sense; the text says what would.
    Invalid(String),
    /// The name is taken.
    Exists(String),
    /// What it found in the family's shared memory cannot be true.
    Corrupt(&'static str),
    /// A table or a limit of the operating system is full; the text names it.
    Limit(String),
    /// The operating system refused.
    Os {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// Open files travel through the family's first process, and that has ended or does not answer.
    NoExchange,
    /// This process was forked by other means than this library, so it is no member of the family.
    ForeignFork,
}

impl CreateError {
    /// Whether memory was missing.
    pub fn is_no_space(&self) -> bool {
        matches!(self, CreateError::NoSpace(_))
    }

    /// Whether a table or limit was full.
    pub fn is_limit(&self) -> bool {
        matches!(self, CreateError::Limit(_))
    }

    /// Whether the request made no sense.
    pub fn is_invalid(&self) -> bool {
        matches!(self, CreateError::Invalid(_))
    }

    /// Whether shared memory is damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, CreateError::Corrupt(_))
    }

    /// Whether the name is taken.
    pub fn is_exists(&self) -> bool {
        matches!(self, CreateError::Exists(_))
    }

    /// Whether the operating system refused for a reason that is none of the others.
    pub fn is_os(&self) -> bool {
        matches!(self, CreateError::Os { .. })
    }

    /// An answer of the operating system, sorted into the kinds a caller can act upon.
    pub(crate) fn from_errno(doing: &'static str, errno: Errno) -> CreateError {
        match errno {
            Errno::ENOSPC | Errno::ENOMEM => CreateError::NoSpace(format!(
                "{doing}: no memory is left ({errno}); free some, or raise the limit that applies"
            )),
            Errno::EFBIG => CreateError::NoSpace(format!(
                "{doing}: RLIMIT_FSIZE is too small for it; raise it (ulimit -f)"
            )),
            Errno::EMFILE | Errno::ENFILE => CreateError::Limit(format!(
                "{doing}: no file descriptor is free ({errno}); raise RLIMIT_NOFILE (ulimit -n)"
            )),
            errno => CreateError::Os { doing, errno },
        }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::NoSpace(text)
            | CreateError::Invalid(text)
            | CreateError::Limit(text) => f.write_str(text),
            CreateError::Corrupt(what) => write!(f, "shared memory is corrupt: {what}"),
            CreateError::Exists(name) => {
                write!(f, "the name {name:?} is taken; open it, unlink it, or choose another")
            }
            CreateError::Os { doing, errno } => write!(f, "{doing}: {errno}"),
            CreateError::NoExchange => f.write_str(NO_EXCHANGE),
            CreateError::ForeignFork => f.write_str(
                "this process was made by a fork that multiproc did not make, so it shares nothing; \
                 start processes with multiproc::Process",
            ),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CreateError::Os { errno, .. } => Some(errno),
            _ => None,
        }
    }
}

/// Why something shared that exists elsewhere could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// It is gone: its last holder has dropped it, its name was taken away, or the handle is from
    /// another family.
    NotFound,
    /// The name is taken.
    Exists(String),
    /// What was asked for makes no sense; the text says what would.
    Invalid(String),
    /// It is something else than what was expected.
    Incompatible {
        /// What this side expects.
        ours: String,
        /// What it found.
        theirs: String,
    },
    /// What it found there cannot be true.
    Corrupt(&'static str),
    /// Memory was missing.
    NoSpace(String),
    /// The operating system refused.
    Os {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// A process has no file descriptor free for the open files in a message; the text says which.
    /// The message is as it was.
    TooManyFiles(&'static str),
    /// Open files travel through the family's first process, and that has ended or does not answer.
    NoExchange,
    /// This process was forked by other means than this library, so it is no member of the family.
    ForeignFork,
}

impl OpenError {
    /// Whether it is gone.
    pub fn is_not_found(&self) -> bool {
        matches!(self, OpenError::NotFound)
    }

    /// Whether the name is taken.
    pub fn is_exists(&self) -> bool {
        matches!(self, OpenError::Exists(_))
    }

    /// Whether the request made no sense.
    pub fn is_invalid(&self) -> bool {
        matches!(self, OpenError::Invalid(_))
    }

    /// Whether it is something else than was expected.
    pub fn is_incompatible(&self) -> bool {
        matches!(self, OpenError::Incompatible { .. })
    }

    /// Whether it is damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, OpenError::Corrupt(_))
    }

    /// Whether memory was missing.
    pub fn is_no_space(&self) -> bool {
        matches!(self, OpenError::NoSpace(_))
    }

    /// Whether the operating system refused for a reason that is none of the others.
    pub fn is_os(&self) -> bool {
        matches!(self, OpenError::Os { .. })
    }

    /// Whether open files found no room; to be tried again once there is some.
    pub fn is_too_many_files(&self) -> bool {
        matches!(self, OpenError::TooManyFiles(_))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NotFound => {
                f.write_str("the shared object is gone, or belongs to another family of processes")
            }
            OpenError::Exists(name) => CreateError::Exists(name.clone()).fmt(f),
            OpenError::Incompatible { ours, theirs } => {
                write!(f, "expected {ours}, found {theirs}")
            }
            OpenError::Corrupt(what) => write!(f, "shared memory is corrupt: {what}"),
            OpenError::NoSpace(text) | OpenError::Invalid(text) => f.write_str(text),
            OpenError::Os { doing, errno } => write!(f, "{doing}: {errno}"),
            OpenError::TooManyFiles(text) => f.write_str(text),
            OpenError::NoExchange => f.write_str(NO_EXCHANGE),
            OpenError::ForeignFork => CreateError::ForeignFork.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Os { errno, .. } => Some(errno),
            _ => None,
        }
    }
}

impl From<CreateError> for OpenError {
    fn from(error: CreateError) -> OpenError {
        match error {
            CreateError::NoSpace(text) | CreateError::Limit(text) => OpenError::NoSpace(text),
            CreateError::Invalid(text) => OpenError::Invalid(text),
            CreateError::Exists(name) => OpenError::Exists(name),
            CreateError::Corrupt(what) => OpenError::Corrupt(what),
            CreateError::Os { doing, errno } => OpenError::Os { doing, errno },
            CreateError::NoExchange => OpenError::NoExchange,
            CreateError::ForeignFork => OpenError::ForeignFork,
        }
    }
}

/// Why bytes of shared memory were not read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessError {
    /// It has not so many bytes there.
    OutOfBounds {
        /// Where they were to begin.
        offset: usize,
        /// How many they were to be.
        len: usize,
        /// How many there are in all.
        size: usize,
    },
    /// It is damaged; the text says how.
    Corrupt(&'static str),
    /// A limit does not let this process write there; the text names it.
    NoSpace(String),
    /// This thread holds as many locks as it can.
    TooManyLocks,
    /// The operating system refused.
    Os {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        errno: Errno,
    },
}

impl AccessError {
    /// Whether it has not so many bytes there.
    pub fn is_out_of_bounds(&self) -> bool {
        matches!(self, AccessError::OutOfBounds { .. })
    }

    /// Whether it is damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, AccessError::Corrupt(_))
    }

    /// Whether a limit was in the way.
    pub fn is_no_space(&self) -> bool {
        matches!(self, AccessError::NoSpace(_))
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::OutOfBounds { offset, len, size } => write!(
                f,
                "{len} bytes from {offset} on go beyond the {size} bytes of the shared memory"
            ),
            AccessError::Corrupt(what) => write!(f, "shared memory is corrupt: {what}"),
            AccessError::NoSpace(text) => f.write_str(text),
            AccessError::TooManyLocks => Refusal::TooMany.fmt(f),
            AccessError::Os { doing, errno } => write!(f, "{doing}: {errno}"),
        }
    }
}

impl std::error::Error for AccessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AccessError::Os { errno, .. } => Some(errno),
            _ => None,
        }
    }
}
