//! Start methods, the one that is used unless a builder says otherwise, and a context that has one.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::ProcessBuilder;
use crate::process::{Process, Run};

/// How a process comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// A small copy of this program, made at the first start, copies itself for each process: fast,
    /// whatever the size of this process. One copy is always made ahead and waits. Falls back to
    /// [`StartMethod::Spawn`], with one line on stderr, on kernels that do not allow it.
    #[default]
    ForkServer,
    /// This program is run again for each process.
    Spawn,
    /// This process itself is copied, with all its memory and open files. Only where no other thread
    /// runs than those of this library: a copy has the locks of the other threads, but not the threads
    /// that would release them. See [`Process::fork`] for what a copy makes of shared handles.
    Fork,
}

/// Python's names: `forkserver`, `spawn`, `fork`.
impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StartMethod::ForkServer => "forkserver",
            StartMethod::Spawn => "spawn",
            StartMethod::Fork => "fork",
        })
    }
}

const ALL: [StartMethod; 3] = [
    StartMethod::ForkServer,
    StartMethod::Spawn,
    StartMethod::Fork,
];

/// The start methods this system has, the default first.
pub fn start_methods() -> &'static [StartMethod] {
    &ALL
}

/// The position in [`ALL`].
static DEFAULT: AtomicU8 = AtomicU8::new(0);

/// The start method of processes whose builder does not name one.
///
/// [`StartMethod::ForkServer`], unless [`set_start_method`] was called in this process, or in the one
/// that started it before it did.
pub fn get_start_method() -> StartMethod {
    from_code(DEFAULT.load(Ordering::Relaxed))
}

/// Sets what [`get_start_method`] says, for this process and those it starts from now on.
///
/// # Differences from Python
///
/// It may be called at any time, any number of times.
pub fn set_start_method(method: StartMethod) {
    DEFAULT.store(code(method), Ordering::Relaxed);
}

/// For the way to a child.
pub(crate) fn code(method: StartMethod) -> u8 {
    let position = ALL.iter().position(|&other| other == method);
    position.expect("all are listed") as u8
}

pub(crate) fn from_code(code: u8) -> StartMethod {
    ALL.get(usize::from(code)).copied().unwrap_or_default()
}

/// Makes processes by one start method, whatever the default is.
///
/// ```
/// use multiproc_process::{Context, StartMethod};
///
/// let context = Context::new(StartMethod::Spawn);
/// let process = context.process(|(a, b)| a + b, (2, 3)).start()?;
/// assert_eq!(process.start_method(), StartMethod::Spawn);
/// assert_eq!(process.join()?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    method: StartMethod,
}

impl Context {
    /// One that uses `method`.
    pub fn new(method: StartMethod) -> Context {
        Context { method }
    }

    /// The start method it uses.
    pub fn start_method(&self) -> StartMethod {
        self.method
    }

    /// As [`Process::new`].
    pub fn process<A, R>(&self, f: fn(A) -> R, argument: A) -> ProcessBuilder<A, R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        Process::new(f, argument).start_method(self.method)
    }

    /// As [`Process::call`].
    pub fn call<R>(&self, f: fn() -> R) -> ProcessBuilder<(), R>
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        Process::call(f).start_method(self.method)
    }

    /// As [`Process::from_task`].
    pub fn from_task<T: Run>(&self, task: T) -> ProcessBuilder<T, T::Output> {
        Process::from_task(task).start_method(self.method)
    }
}
