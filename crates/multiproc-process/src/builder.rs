//! Saying how a process is to start, and starting it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use multiproc_shm::{Outbox, parcel};
use multiproc_wire::codec;
use multiproc_wire::task::TaskRef;
use multiproc_wire::{EncodeError, FunctionError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::error::StartError;
use crate::process::Process;
use crate::request::MOST_NAME;
use crate::start::{self, Order};
use crate::{current, exit, hook};

/// How a process comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// A small copy of this program, made at the first start, copies itself for each process: fast,
    /// whatever the size of this process. One copy is always made ahead and waits. Falls back to [`StartMethod::Spawn`], with one line on
    /// stderr, on kernels that do not allow it.
    #[default]
    ForkServer,
    /// This program is run again for each process.
    Spawn,
}

/// The start methods this system has, the default first.
pub fn start_methods() -> &'static [StartMethod] {
    &[StartMethod::ForkServer, StartMethod::Spawn]
}

/// What becomes of a process when the one that started it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lifetime {
    /// Awaited at a normal end, killed at another.
    Joined,
    /// Killed at any end.
    Daemon,
    /// Nothing.
    Detached,
}

/// A process about to be started: made by [`Process::new`] or [`Process::call`].
#[must_use = "nothing happens before `start`"]
pub struct ProcessBuilder<A, R> {
    task: Result<TaskRef, FunctionError>,
    argument: A,
    name: Option<String>,
    lifetime: Lifetime,
    method: StartMethod,
    result: PhantomData<fn() -> R>,
}

impl<A, R> ProcessBuilder<A, R>
where
    A: Serialize + 'static,
    R: DeserializeOwned + 'static,
{
    pub(crate) fn new(task: Result<TaskRef, FunctionError>, argument: A) -> ProcessBuilder<A, R> {
        ProcessBuilder {
            task,
            argument,
            name: None,
            lifetime: Lifetime::Joined,
            method: StartMethod::default(),
            result: PhantomData,
        }
    }

    /// Its name in messages and in lists of processes, of which the operating system shows the first
    /// 15 bytes. Otherwise `Process-1`, `Process-2` and so on; in a child `Process-1:1`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A daemon ends together with the process that starts it, however that one ends. A process that
    /// is none is awaited when its parent ends normally, and killed when the parent is killed.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.lifetime = match daemon {
            true => Lifetime::Daemon,
            false => Lifetime::Joined,
        };
        self
    }

    /// Lets it live on when the process that starts it ends.
    pub fn detach(mut self) -> Self {
        self.lifetime = Lifetime::Detached;
        self
    }

    /// How it comes about; otherwise [`StartMethod::ForkServer`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Starts it. Returns when the process is there and has been told what to do, not when it has begun.
    ///
    /// Working directory, file mode mask, environment, resource limits, blocked signals, niceness,
    /// processors, standard output and error are those of the calling thread now. Standard input is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`StartError`]; there is no process then.
    pub fn start(self) -> Result<Process<R>, StartError> {
        if !hook::has_run() {
            return Err(StartError::HookMissing);
        }
        let task = self.task?;
        let name = self.name.unwrap_or_else(next_name);
        let name = fitting(name)?;
        let argument = parcel::store(&codec::encode(&self.argument)?)?;
        drop(self.argument);
        let outbox = Outbox::create()?;
        exit::watch_own_end()
            .map_err(|errno| StartError::from_errno("cannot watch for the end", errno))?;
        let order = Order {
            task,
            argument: &argument,
            outbox: &outbox,
            name: &name,
            lifetime: self.lifetime,
        };
        let born = start::start(&order, self.method)?;
        let child = Child::adopt(born, name, self.lifetime, outbox)?;
        Ok(Process::new_handle(child))
    }
}

fn next_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    match current::family_name() {
        None => format!("Process-{number}"),
        Some(parent) => format!("{parent}:{number}"),
    }
}

/// A name is for people; what no packet would hold is an error rather than a silent cut.
fn fitting(name: String) -> Result<String, StartError> {
    if name.len() <= MOST_NAME {
        return Ok(name);
    }
    let reason = format!("a name of {} bytes; {MOST_NAME} at most", name.len());
    Err(StartError::Encode(EncodeError::new("name", reason)))
}

impl<A, R> fmt::Debug for ProcessBuilder<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessBuilder")
            .field("name", &self.name)
            .field("lifetime", &self.lifetime)
            .field("start_method", &self.method)
            .finish_non_exhaustive()
    }
}
