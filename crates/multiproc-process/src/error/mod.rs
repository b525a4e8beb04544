//! The errors of starting, joining, signalling and closing a process.

mod join;
mod start;

use std::error::Error;
use std::fmt;

use multiproc_sys::Errno;
use multiproc_sys::child::lifetime;

pub use join::JoinError;
pub use start::{Resource, StartError};

/// A process could not be signalled: by now it runs as a user this process may not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalError {
    pub(crate) pid: u32,
    pub(crate) errno: Errno,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot signal process {}: {}", self.pid, self.errno)
    }
}

impl Error for SignalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.errno)
    }
}

/// A process was not closed: it still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseError {
    pub(crate) pid: u32,
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} still runs; join or kill it before", self.pid)
    }
}

impl Error for CloseError {}

/// A name for the number in [`JoinError::Signaled`], such as `SIGKILL`.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    lifetime::signal_name(signal)
}
