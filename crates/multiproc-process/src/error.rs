//! The errors of starting, joining and signalling a process.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use multiproc_shm::{CreateError, OpenError};
use multiproc_sys::Errno;
use multiproc_sys::child::lifetime;
use multiproc_wire::{DecodeError, EncodeError, FunctionError};

use crate::exit::ExitStatus;
use crate::guard::PanicReport;

/// Something of which a system has only so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Processes and threads: `RLIMIT_NPROC`, a control group's `pids.max`, the kernel's maximum.
    Processes,
    /// Open files: `RLIMIT_NOFILE`, or the system's maximum.
    Descriptors,
    /// Memory.
    Memory,
}

/// Why a process was not started. There is no process then, and nothing is left behind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The function cannot run in another process.
    Function(FunctionError),
    /// The argument cannot travel.
    Encode(EncodeError),
    /// Too little of something was left.
    Limit {
        /// Of what.
        resource: Resource,
        /// How that was seen.
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// The code that turns a new process into a child was not linked into this program, so a child
    /// would run `main` again.
    HookMissing,
    /// What was run as this program is another one, another build of it, or did not come up.
    Build(String),
    /// This program cannot be run again.
    NoProgram(Errno),
    /// The operating system refused.
    Os {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// The family's shared memory refused.
    Shared(CreateError),
}

impl StartError {
    /// An answer of the operating system, sorted into the kinds a caller can act upon.
    pub(crate) fn from_errno(doing: &'static str, errno: Errno) -> StartError {
        let resource = match errno {
            Errno::EAGAIN => Resource::Processes,
            Errno::EMFILE | Errno::ENFILE | Errno::ETOOMANYREFS => Resource::Descriptors,
            Errno::ENOMEM | Errno::ENOSPC | Errno::ENOBUFS => Resource::Memory,
            errno => return StartError::Os { doing, errno },
        };
        StartError::Limit {
            resource,
            cause: Arc::new(Doing { doing, errno }),
        }
    }

    /// What `/proc` answered when it was asked for this program or this thread.
    pub(crate) fn from_proc(errno: Errno) -> StartError {
        match StartError::from_errno("/proc/self", errno) {
            StartError::Os { errno, .. } => StartError::NoProgram(errno),
            limit => limit,
        }
    }

    /// Whether the function cannot run in another process.
    pub fn is_function(&self) -> bool {
        matches!(self, StartError::Function(_))
    }

    /// Whether the argument could not be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, StartError::Encode(_))
    }

    /// Whether a limit was reached; trying again later may work.
    pub fn is_limit(&self) -> bool {
        matches!(self, StartError::Limit { .. })
    }

    /// The limit that was reached.
    pub fn limit(&self) -> Option<Resource> {
        match self {
            StartError::Limit { resource, .. } => Some(*resource),
            _ => None,
        }
    }

    /// Whether the hook is missing from this program.
    pub fn is_hook_missing(&self) -> bool {
        matches!(self, StartError::HookMissing)
    }

    /// Whether another program, or another build, came up.
    pub fn is_build(&self) -> bool {
        matches!(self, StartError::Build(_))
    }

    /// Whether this program cannot be run again, as without a mounted `/proc`.
    pub fn is_no_program(&self) -> bool {
        matches!(self, StartError::NoProgram(_))
    }
}

/// An operation and what the system answered.
#[derive(Debug)]
struct Doing {
    doing: &'static str,
    errno: Errno,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.errno)
    }
}

impl Error for Doing {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.errno)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Function(error) => write!(f, "cannot start a process: {error}"),
            StartError::Encode(error) => write!(f, "cannot start a process: {error}"),
            StartError::Limit { resource, cause } => {
                write!(f, "cannot start a process: {cause}; ")?;
                f.write_str(match resource {
                    Resource::Processes => {
                        "too many processes or threads: raise RLIMIT_NPROC (ulimit -u) or the \
                         control group's pids.max, or join some first"
                    }
                    Resource::Descriptors => {
                        "too many open files: raise RLIMIT_NOFILE (ulimit -n), or join and drop \
                         some processes first"
                    }
                    Resource::Memory => "out of memory: free some, or raise the limit that applies",
                })
            }
            StartError::HookMissing => f.write_str(
                "cannot start a process: the code that turns a new process into a child was not \
                 linked into this program; keep the section .init_array of multiproc-process",
            ),
            StartError::Build(text) => write!(f, "cannot start a process: {text}"),
            StartError::NoProgram(errno) => write!(
                f,
                "cannot start a process: this program cannot be run again: /proc/self/exe: {errno}; \
                 mount /proc, and let the program's file be executable"
            ),
            StartError::Os { doing, errno } => {
                write!(f, "cannot start a process: {doing}: {errno}")
            }
            StartError::Shared(error) => write!(f, "cannot start a process: {error}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Function(error) => Some(error),
            StartError::Encode(error) => Some(error),
            StartError::Limit { cause, .. } => Some(&**cause),
            StartError::NoProgram(errno) | StartError::Os { errno, .. } => Some(errno),
            StartError::Shared(error) => Some(error),
            StartError::HookMissing | StartError::Build(_) => None,
        }
    }
}

impl From<FunctionError> for StartError {
    fn from(error: FunctionError) -> StartError {
        StartError::Function(error)
    }
}

impl From<EncodeError> for StartError {
    fn from(error: EncodeError) -> StartError {
        StartError::Encode(error)
    }
}

impl From<CreateError> for StartError {
    fn from(error: CreateError) -> StartError {
        match error {
            CreateError::NoSpace(_) => StartError::Limit {
                resource: Resource::Memory,
                cause: Arc::new(error),
            },
            CreateError::Limit(_) => StartError::Limit {
                resource: Resource::Processes,
                cause: Arc::new(error),
            },
            CreateError::Os { doing, errno } => StartError::from_errno(doing, errno),
            error => StartError::Shared(error),
        }
    }
}

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
}

impl JoinError {
    /// Whether its function panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self, JoinError::Panicked { .. })
    }

    /// Whether a signal killed it.
    pub fn is_signaled(&self) -> bool {
        matches!(self, JoinError::Signaled { .. })
    }

    /// Whether it ended itself before its function returned.
    pub fn is_exited(&self) -> bool {
        matches!(self, JoinError::Exited(_))
    }

    /// Whether argument or result could not be decoded.
    pub fn is_decode(&self) -> bool {
        matches!(self, JoinError::Decode(_) | JoinError::Argument(_))
    }

    /// Whether the result could not be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, JoinError::Encode(_))
    }

    /// Whether it still runs.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, JoinError::TimedOut)
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
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            JoinError::Argument(error) | JoinError::Decode(error) => Some(error),
            JoinError::Encode(error) => Some(error),
            JoinError::Open(error) => Some(error),
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

/// A name for the number in [`JoinError::Signaled`], such as `SIGKILL`.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    lifetime::signal_name(signal)
}
