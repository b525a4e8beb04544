//! Why a process was not started.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use multiproc_shm::CreateError;
use multiproc_sys::Errno;
use multiproc_wire::{EncodeError, FunctionError};

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
    /// Other threads run, and [`StartMethod::Fork`](crate::StartMethod::Fork) was asked for.
    ThreadsRunning {
        /// Their names.
        names: Vec<String>,
    },
    /// What [`set_forkserver_preload`](crate::set_forkserver_preload) was given panicked, ended the fork
    /// server, or left a thread running.
    Preload(String),
    /// What was asked for cannot be.
    Invalid(String),
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

    /// Whether the operating system means the path it was given, and not itself.
    pub(crate) fn is_of_the_path(errno: Errno) -> bool {
        use Errno::{EACCES, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR};
        [EACCES, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR].contains(&errno)
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

    /// Whether other threads run, so that this process cannot be copied.
    pub fn is_threads_running(&self) -> bool {
        matches!(self, StartError::ThreadsRunning { .. })
    }

    /// Whether the preload of the fork server failed.
    pub fn is_preload(&self) -> bool {
        matches!(self, StartError::Preload(_))
    }

    /// Whether something was asked for that cannot be.
    pub fn is_invalid(&self) -> bool {
        matches!(self, StartError::Invalid(_))
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
            StartError::ThreadsRunning { names } => write!(
                f,
                "cannot fork: other threads run ({}), and a copy of this process would have their \
                 locks but not them; use StartMethod::ForkServer or StartMethod::Spawn, or fork \
                 before the threads are started",
                names.join(", ")
            ),
            StartError::Preload(text) => {
                write!(
                    f,
                    "cannot start a process: the fork server's preload {text}"
                )
            }
            StartError::Invalid(text) => write!(f, "cannot start a process: {text}"),
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
            StartError::ThreadsRunning { .. }
            | StartError::Preload(_)
            | StartError::Invalid(_)
            | StartError::HookMissing
            | StartError::Build(_) => None,
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
