//! What can go wrong: with one task ([`TaskError`]), with making a pool ([`BuildError`]), with
//! waiting for its end ([`PoolJoinError`]).
//!
//! Errors of tasks are values that many threads may hold: clones share one text. They travel, since
//! a pool may have its users in other processes.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use multiproc_process::{ExitStatus, StartError};
use multiproc_shm::CreateError;
use multiproc_wire::{DecodeError, EncodeError, FunctionError};
use serde::{Deserialize, Serialize};

/// Why a task has no value.
///
/// Every task ends as its value or as one of these, whatever dies. Cheap to clone.
///
/// # Examples
///
/// ```
/// use multiproc_pool::Pool;
///
/// let pool = Pool::new(1)?;
/// let error = pool.map(|n: u32| 10 / n, [5, 0]).unwrap_err();
/// assert!(error.is_panicked());
/// assert_eq!(error.index(), 1);
/// assert!(error.to_string().contains("attempt to divide by zero"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Inner", into = "Inner")]
pub struct TaskError {
    inner: Arc<Inner>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: TaskErrorKind,
    index: usize,
    attempts: u32,
}

impl From<Inner> for TaskError {
    fn from(inner: Inner) -> TaskError {
        let inner = Arc::new(inner);
        TaskError { inner }
    }
}

impl From<TaskError> for Inner {
    fn from(error: TaskError) -> Inner {
        Arc::unwrap_or_clone(error.inner)
    }
}

/// The kinds of [`TaskError`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// The function panicked. Its worker lives on.
    #[non_exhaustive]
    Panicked {
        /// The text of the panic.
        message: String,
        /// `file:line:column`.
        location: Option<String>,
        /// Where `RUST_BACKTRACE` asks for one.
        backtrace: Option<String>,
    },
    /// The worker died while it ran this task: killed, crashed, or it called `exit`.
    #[non_exhaustive]
    WorkerLost {
        /// The process that is gone.
        pid: u32,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
        /// How it ended.
        status: ExitStatus,
        /// Whether the kernel killed it because its control group had used up its memory.
        oom: bool,
        /// The last it wrote to its standard error, 4 KiB at most; empty unless the pool was built
        /// with [`capture_stderr`](crate::PoolBuilder::capture_stderr).
        stderr: String,
    },
    /// Not in time. With [`attempts`](TaskError::attempts) of 1 or more, the task ran longer than its
    /// limit and was stopped; with 0, the caller did not wait longer: the task goes on, ask again.
    TimedOut,
    /// The task was cancelled, or the pool terminated or dropped before it was finished.
    Cancelled,
    /// The pool was closed before the task was handed in.
    Closed,
    /// The argument or the result could not be encoded.
    Encode(EncodeError),
    /// The argument or the result could not be decoded.
    Decode(DecodeError),
    /// The function cannot be called in another process.
    Function(FunctionError),
    /// There was no shared memory for the argument or the result.
    #[non_exhaustive]
    NoSpace {
        /// What the allocation answered; the text names the limit.
        reason: String,
    },
    /// The pool gave up: its workers died again and again before they could work.
    #[non_exhaustive]
    Broken {
        /// Why the first of them failed.
        cause: BrokenCause,
    },
}

/// Why a pool's workers cannot start.
///
/// Sent to another process, it arrives as its text, in [`BrokenCause::Prepare`]: what caused it stays
/// behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum BrokenCause {
    /// A process could not be made.
    Start(StartError),
    /// No shared memory for its results.
    Create(CreateError),
    /// A thread could not be made.
    Thread(Arc<std::io::Error>),
    /// It ended before it was ready.
    Died(ExitStatus),
    /// Its initializer or its state failed, panicked, or took too long: the text.
    Prepare(String),
}

impl TaskError {
    pub(crate) fn new(kind: TaskErrorKind, index: usize) -> TaskError {
        TaskError {
            inner: Arc::new(Inner {
                kind,
                index,
                attempts: 0,
            }),
        }
    }

    /// The same after so many attempts.
    pub(crate) fn after(self, attempts: u32) -> TaskError {
        let Inner { kind, index, .. } = &*self.inner;
        TaskError {
            inner: Arc::new(Inner {
                kind: kind.clone(),
                index: *index,
                attempts,
            }),
        }
    }

    /// What happened.
    pub fn kind(&self) -> &TaskErrorKind {
        &self.inner.kind
    }

    /// The place of the failed item among the items, from 0; 0 for a lone task.
    pub fn index(&self) -> usize {
        self.inner.index
    }

    /// The same error, of the item at `index`: for whoever hands in a series one by one.
    #[must_use]
    pub fn at_index(self, index: usize) -> TaskError {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        inner.index = index;
        inner.into()
    }

    /// How often the task was begun, as far as is known: 0 if it never was.
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// Whether the function panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Panicked { .. })
    }

    /// Whether the worker died while it ran this task.
    pub fn is_worker_lost(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::WorkerLost { .. })
    }

    /// Whether the result did not come in time.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::TimedOut)
    }

    /// Whether the pool was terminated first.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Cancelled)
    }

    /// Whether the pool was closed when the task was handed in.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Closed)
    }

    /// Whether the argument or the result could not be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Encode(_))
    }

    /// Whether the argument or the result could not be decoded.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Decode(_))
    }

    /// Whether the function cannot be called in another process.
    pub fn is_function(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Function(_))
    }

    /// Whether there was no shared memory left.
    pub fn is_no_space(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::NoSpace { .. })
    }

    /// Whether the pool's workers cannot start.
    pub fn is_broken(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Broken { .. })
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}: ", self.index())?;
        match self.kind() {
            TaskErrorKind::TimedOut if self.attempts() > 0 => {
                f.write_str("it ran longer than its limit and was stopped")
            }
            TaskErrorKind::WorkerLost { .. } if self.attempts() > 1 => {
                write!(f, "begun {} times; {}", self.attempts(), self.kind())
            }
            kind => kind.fmt(f),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError")
            .field("kind", self.kind())
            .field("index", &self.index())
            .field("attempts", &self.attempts())
            .finish()
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind().cause()
    }
}

impl TaskErrorKind {
    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TaskErrorKind::Encode(error) => Some(error),
            TaskErrorKind::Decode(error) => Some(error),
            TaskErrorKind::Function(error) => Some(error),
            TaskErrorKind::Broken { cause } => cause.error(),
            _ => None,
        }
    }
}

impl fmt::Display for TaskErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskErrorKind::Panicked {
                message, location, ..
            } => match location {
                Some(place) => write!(f, "panicked at {place}: {message}"),
                None => write!(f, "panicked: {message}"),
            },
            TaskErrorKind::WorkerLost {
                pid,
                status,
                oom,
                stderr,
                ..
            } => {
                write!(
                    f,
                    "its worker (pid {pid}) was lost while it ran the task: {status}"
                )?;
                if *oom {
                    f.write_str(", as there was no memory left for its control group")?;
                }
                f.write_str("; Retry::idempotent has tasks run again that may run twice")?;
                if !stderr.is_empty() {
                    write!(f, "; its last words: {}", stderr.trim_end())?;
                }
                Ok(())
            }
            TaskErrorKind::TimedOut => {
                f.write_str("no result yet within the timeout; the task goes on, ask again")
            }
            TaskErrorKind::Cancelled => f.write_str(
                "cancelled, or the pool was terminated or dropped first; close() and join() let \
                 the work finish",
            ),
            TaskErrorKind::Closed => {
                f.write_str("refused: the pool is closed; make a new one for new work")
            }
            TaskErrorKind::Encode(error) => write!(f, "{error}"),
            TaskErrorKind::Decode(error) => write!(f, "{error}"),
            TaskErrorKind::Function(error) => write!(f, "{error}"),
            TaskErrorKind::NoSpace { reason } => {
                write!(
                    f,
                    "no shared memory for the argument or the result: {reason}"
                )
            }
            TaskErrorKind::Broken { cause } => write!(
                f,
                "the pool is broken, its workers fail before they can work: {cause}"
            ),
        }
    }
}

impl From<String> for BrokenCause {
    fn from(text: String) -> BrokenCause {
        BrokenCause::Prepare(text)
    }
}

impl From<BrokenCause> for String {
    fn from(cause: BrokenCause) -> String {
        cause.to_string()
    }
}

impl BrokenCause {
    fn error(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BrokenCause::Start(error) => Some(error),
            BrokenCause::Create(error) => Some(error),
            BrokenCause::Thread(error) => Some(&**error),
            BrokenCause::Died(_) | BrokenCause::Prepare(_) => None,
        }
    }
}

impl fmt::Display for BrokenCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrokenCause::Start(error) => write!(f, "{error}"),
            BrokenCause::Create(error) => write!(f, "{error}"),
            BrokenCause::Thread(error) => write!(f, "a thread could not be made: {error}"),
            BrokenCause::Died(status) => write!(f, "one {status} at once"),
            BrokenCause::Prepare(text) => f.write_str(text),
        }
    }
}

/// Why a pool could not be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BuildError {
    /// A worker could not be started.
    Start(StartError),
    /// There was no shared memory for the rings.
    Create(CreateError),
    /// The initializer or the state function cannot be called in another process.
    Function(FunctionError),
    /// Its argument could not be encoded.
    Encode(EncodeError),
    /// Workers were to come by [`StartMethod::Fork`](multiproc_process::StartMethod::Fork).
    Fork,
    /// The supervisor thread could not be started.
    Thread(Arc<std::io::Error>),
    /// More workers than a pool can hold.
    #[non_exhaustive]
    TooMany {
        /// How many were asked for.
        asked: usize,
        /// How many a pool can hold.
        most: usize,
    },
}

impl BuildError {
    /// Whether a worker could not be started.
    pub fn is_start(&self) -> bool {
        matches!(self, BuildError::Start(_))
    }

    /// Whether the initializer or the state function cannot be called in another process.
    pub fn is_function(&self) -> bool {
        matches!(self, BuildError::Function(_))
    }

    /// Whether their argument could not be encoded.
    pub fn is_encode(&self) -> bool {
        matches!(self, BuildError::Encode(_))
    }

    /// Whether there was no shared memory for the rings.
    pub fn is_create(&self) -> bool {
        matches!(self, BuildError::Create(_))
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Start(error) => write!(f, "the pool's worker could not start: {error}"),
            BuildError::Create(error) => write!(f, "no shared memory for the pool: {error}"),
            BuildError::Function(error) => write!(f, "{error}"),
            BuildError::Encode(error) => write!(f, "{error}"),
            BuildError::Thread(error) => {
                write!(f, "the pool's supervisor thread could not start: {error}")
            }
            BuildError::Fork => f.write_str(
                "a pool replaces its workers while other threads run, so they cannot be forks of \
                 this process; use StartMethod::ForkServer or Spawn",
            ),
            BuildError::TooMany { asked, most } => {
                write!(
                    f,
                    "a pool holds at most {most} workers, {asked} were asked for"
                )
            }
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BuildError::Start(error) => Some(error),
            BuildError::Create(error) => Some(error),
            BuildError::Function(error) => Some(error),
            BuildError::Encode(error) => Some(error),
            BuildError::Thread(error) => Some(&**error),
            BuildError::Fork | BuildError::TooMany { .. } => None,
        }
    }
}

impl From<CreateError> for BuildError {
    fn from(error: CreateError) -> BuildError {
        BuildError::Create(error)
    }
}

impl From<StartError> for BuildError {
    fn from(error: StartError) -> BuildError {
        BuildError::Start(error)
    }
}

/// Why [`Pool::join`](crate::PoolHandle::join) did not wait to the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PoolJoinError {
    /// The pool still takes work, so its end would never come.
    Open,
    /// Work was still going on when the time was over.
    TimedOut,
    /// The workers could not be kept alive; open tasks were answered with the cause.
    #[non_exhaustive]
    Broken {
        /// Why the first of them failed.
        cause: BrokenCause,
    },
}

impl PoolJoinError {
    /// Whether the pool was neither closed nor terminated.
    pub fn is_open(&self) -> bool {
        matches!(self, PoolJoinError::Open)
    }

    /// Whether the time was over first.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, PoolJoinError::TimedOut)
    }

    /// Whether the pool's workers could not be kept alive.
    pub fn is_broken(&self) -> bool {
        matches!(self, PoolJoinError::Broken { .. })
    }
}

impl fmt::Display for PoolJoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolJoinError::Open => {
                f.write_str("the pool still takes work; call close() or terminate() before join()")
            }
            PoolJoinError::TimedOut => f.write_str("the pool still works; join() again"),
            PoolJoinError::Broken { cause } => write!(
                f,
                "the pool is broken, its workers fail before they can work: {cause}"
            ),
        }
    }
}

impl Error for PoolJoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PoolJoinError::Broken { cause } => cause.error(),
            _ => None,
        }
    }
}
