//! Why a process has no result to give.

use std::error::Error;
use std::fmt;

use multiproc_shm::OpenError;
use multiproc_wire::{DecodeError, EncodeError};

use crate::exit::ExitStatus;
use crate::guard::PanicReport;

/// Why a process has no result to give.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// Its function panicked.
    Panicked {
        /// What the panic said.
        message: String,
        /// File, line and column, if known.
        location: Option<String>,
        /// The stack, if `RUST_BACKTRACE` asked for it.
        backtrace: Option<String>,
    },
    /// A signal killed it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core dump was written.
        core: bool,
    },
    /// It ended itself before its function returned.
    Exited(i32),
    /// It ended without a result, and nothing can be said about how.
    Vanished,
    /// The process could not decode its argument; its function was not called.
    Argument(DecodeError),
    /// The result cannot be decoded here.
    Decode(DecodeError),
    /// The process could not encode its result.
    Encode(EncodeError),
    /// The process could not get ready to call its function, or could not hand over the result.
    Failed(String),
    /// The result is there, and cannot be reached.
    Open(OpenError),
    /// It still runs.
    TimedOut,
    /// [`Process::close`](crate::Process::close) has given the result back.
    Closed,
    /// One of the kinds above, with what the process wrote last to its standard error: where that was
    /// [captured](crate::Stdio::captured), or piped and not taken.
    Captured {
        /// What became of it.
        kind: Box<JoinError>,
        /// The last 4 KiB it wrote to its standard error.
        stderr: String,
    },
}

impl JoinError {
    /// What became of the process, without what it wrote.
    pub fn kind(&self) -> &JoinError {
        match self {
            JoinError::Captured { kind, .. } => kind.kind(),
            kind => kind,
        }
    }

    /// The last 4 KiB the process wrote to its standard error, where that was
    /// [captured](crate::Stdio::captured).
    pub fn stderr(&self) -> Option<&str> {
        match self {
            JoinError::Captured { stderr, .. } => Some(stderr),
            _ => None,
        }
    }

    /// With what the process wrote last, if this is about how it ended.
    pub(crate) fn with_stderr(self, stderr: &[u8]) -> JoinError {
        match self {
            JoinError::Panicked { .. }
            | JoinError::Signaled { .. }
            | JoinError::Exited(_)
            | JoinError::Vanished
            | JoinError::Failed(_) => JoinError::Captured {
                kind: Box::new(self),
                stderr: String::from_utf8_lossy(stderr).into_owned(),
            },
            other => other,
        }
    }

    /// Whether its function panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self.kind(), JoinError::Panicked { .. })
    }

    /// Whether a signal killed it.
    pub fn is_signaled(&self) -> bool {
        matches!(self.kind(), JoinError::Signaled { .. })
    }

    /// Whether it ended itself before its function returned.
    pub fn is_exited(&self) -> bool {
        matches!(self.kind(), JoinError::Exited(_))
    }

    /// Whether argument or result could not be decoded.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind(), JoinError::Decode(_) | JoinError::Argument(_))
    }

    /// Whether the result could not be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self.kind(), JoinError::Encode(_))
    }

    /// Whether it still runs.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.kind(), JoinError::TimedOut)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked {
                message, location, ..
            } => {
                f.write_str("the process panicked")?;
                if let Some(location) = location {
                    write!(f, " at {location}")?;
                }
                write!(f, ": {message}")
            }
            JoinError::Signaled { signal, core } => {
                let status = ExitStatus::Signal {
                    signal: *signal,
                    core_dumped: *core,
                };
                write!(f, "the process was {status}")
            }
            JoinError::Exited(code) => {
                let status = ExitStatus::Code(*code);
                write!(f, "the process {status} before its function returned")
            }
            JoinError::Vanished => f.write_str(
                "the process ended without a result, and something else took its exit status",
            ),
            JoinError::Argument(error) => write!(f, "in the process: {error}"),
            JoinError::Decode(error) => write!(f, "the result of the process: {error}"),
            JoinError::Encode(error) => write!(f, "in the process: {error}"),
            JoinError::Failed(text) => write!(f, "in the process: {text}"),
            JoinError::Open(error) => write!(f, "the result of the process: {error}"),
            JoinError::TimedOut => f.write_str("the process still runs"),
            JoinError::Closed => f.write_str("the process was closed, and its result given back"),
            JoinError::Captured { kind, stderr } => {
                write!(f, "{kind}")?;
                match stderr.trim() {
                    "" => Ok(()),
                    text => write!(f, "; it last wrote to its standard error:\n{text}"),
                }
            }
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            JoinError::Argument(error) | JoinError::Decode(error) => Some(error),
            JoinError::Encode(error) => Some(error),
            JoinError::Open(error) => Some(error),
            JoinError::Captured { kind, .. } => kind.source(),
            _ => None,
        }
    }
}

impl From<PanicReport> for JoinError {
    fn from(report: PanicReport) -> JoinError {
        JoinError::Panicked {
            message: report.message,
            location: report.location,
            backtrace: report.backtrace,
        }
    }
}

impl From<ExitStatus> for JoinError {
    /// Of a process that left no result.
    fn from(status: ExitStatus) -> JoinError {
        match status {
            ExitStatus::Code(code) => JoinError::Exited(code),
            ExitStatus::Signal {
                signal,
                core_dumped,
            } => JoinError::Signaled {
                signal,
                core: core_dumped,
            },
            ExitStatus::Unknown => JoinError::Vanished,
        }
    }
}
