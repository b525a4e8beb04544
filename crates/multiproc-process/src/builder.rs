//! Saying how a process is to start, and starting it.

use std::borrow::Borrow;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use multiproc_shm::{Outbox, parcel};
use multiproc_wire::codec;
use multiproc_wire::task::TaskRef;
use multiproc_wire::{EncodeError, FunctionError, RunError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::context::{self, StartMethod};
use crate::error::StartError;
use crate::process::Process;
use crate::request::MOST_NAME;
use crate::start::{self, Order};
use crate::stdio::{self, Stdio};
use crate::wishes::{Edit, Wishes};
use crate::{current, exit, hook};

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

/// A process about to be started: made by [`Process::new`] and its like.
///
/// ```
/// use multiproc_process::Process;
///
/// let process = Process::call(|| std::env::var("GREETING").ok())
///     .name("polite")
///     .env("GREETING", "hello")
///     .current_dir("/")
///     .memory_limit(1 << 30)
///     .start()?;
/// assert_eq!(process.join()?.as_deref(), Some("hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens before `start`"]
pub struct ProcessBuilder<A, R> {
    work: Work<A, R>,
    name: Option<String>,
    lifetime: Lifetime,
    method: Option<StartMethod>,
    wishes: Wishes,
}

/// What the process is for.
enum Work<A, R> {
    Task(Result<TaskRef, FunctionError>, A),
    Closure(Box<dyn FnOnce() -> R + Send>),
}

impl<A, R> ProcessBuilder<A, R>
where
    A: Serialize + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    pub(crate) fn new(task: Result<TaskRef, FunctionError>, argument: A) -> ProcessBuilder<A, R> {
        ProcessBuilder::of(Work::Task(task, argument))
    }

    pub(crate) fn of_closure(closure: Box<dyn FnOnce() -> R + Send>) -> ProcessBuilder<A, R> {
        ProcessBuilder {
            method: Some(StartMethod::Fork),
            ..ProcessBuilder::of(Work::Closure(closure))
        }
    }

    fn of(work: Work<A, R>) -> ProcessBuilder<A, R> {
        ProcessBuilder {
            work,
            name: None,
            lifetime: Lifetime::Joined,
            method: None,
            wishes: Wishes::default(),
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

    /// How it comes about; otherwise as [`get_start_method`](crate::get_start_method) says.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Sets a variable of its environment, which is otherwise this process's of the moment of the
    /// start. A start looks at that in place, as C code does; `std::env::set_var` tells what this asks
    /// of whoever changes it while other threads run.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let edit = Edit::Set(name.as_ref().to_owned(), value.as_ref().to_owned());
        self.wishes.environment.push(edit);
        self
    }

    /// Sets several variables of its environment.
    pub fn envs<N, V>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        for (name, value) in pairs {
            self = self.env(name, value);
        }
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        let edit = Edit::Remove(name.as_ref().to_owned());
        self.wishes.environment.push(edit);
        self
    }

    /// Empties its environment, but for what is set after this.
    pub fn env_clear(mut self) -> Self {
        self.wishes.environment.push(Edit::Clear);
        self
    }

    /// Its working directory; otherwise this process's at the start. A relative path begins there.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.wishes.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Where it reads its standard input from; otherwise there is none ([`Stdio::null`]).
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Self {
        self.wishes.streams[0] = Some(input.into());
        self
    }

    /// Where its standard output goes; otherwise where this process's goes ([`Stdio::inherit`]).
    pub fn stdout(mut self, output: impl Into<Stdio>) -> Self {
        self.wishes.streams[1] = Some(output.into());
        self
    }

    /// Where its standard error goes; otherwise where this process's goes ([`Stdio::inherit`]).
    pub fn stderr(mut self, error: impl Into<Stdio>) -> Self {
        self.wishes.streams[2] = Some(error.into());
        self
    }

    /// Lets it have at most so many bytes of private writable memory (`RLIMIT_DATA`), what it begins
    /// with (about 1 MiB, more by [`StartMethod::Fork`]) included. A Rust program that gets no
    /// memory aborts: the join says [`Signaled`](crate::JoinError::Signaled) with `SIGABRT`.
    ///
    /// Memory shared by way of this library does not count.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.wishes.memory = Some(bytes);
        self
    }

    /// Lets it have at most so much processor time (`RLIMIT_CPU`), in whole seconds, rounded up. Then
    /// it is killed by `SIGXCPU`, one second later by `SIGKILL`.
    pub fn cpu_limit(mut self, time: Duration) -> Self {
        self.wishes.processor_time = Some(time);
        self
    }

    /// Its niceness, from -20 (first) to 19 (last); less than this process's takes rights. Where they
    /// are missing, the join says so.
    pub fn nice(mut self, nice: i32) -> Self {
        self.wishes.nice = Some(nice);
        self
    }

    /// The processors it may run on, by number. Where none of them is one it may have, the join says
    /// so.
    pub fn affinity<P: Borrow<usize>>(mut self, processors: impl IntoIterator<Item = P>) -> Self {
        let numbers = processors.into_iter().map(|processor| *processor.borrow());
        self.wishes.affinity = Some(numbers.collect());
        self
    }

    /// Starts it. Returns when the process is there and has been told what to do, not when it has begun.
    ///
    /// What the builder does not say is as it is in the calling thread now: working directory, file
    /// mode mask, environment, resource limits, blocked signals, niceness, processors, standard
    /// output and error. Standard input is empty.
    ///
    /// # Errors
    ///
    /// [`StartError`]; there is no process then.
    pub fn start(self) -> Result<Process<R>, StartError> {
        if !hook::has_run() {
            return Err(StartError::HookMissing);
        }
        self.wishes.check()?;
        let name = fitting(self.name.unwrap_or_else(current::next_name))?;
        let argument;
        let work = match self.work {
            Work::Task(task, given) => {
                let task = task?;
                argument = parcel::store(&codec::encode_owned(given)?)?;
                start::Work::Task(task, &argument)
            }
            Work::Closure(closure) => start::Work::Closure(Box::new(|reply| {
                codec::encode_into(&closure(), reply).map_err(RunError::Encode)
            })),
        };
        let outbox = Outbox::create()?;
        exit::watch_own_end()
            .map_err(|errno| StartError::from_errno("cannot watch for the end", errno))?;
        let mut wishes = self.wishes;
        let (theirs, ours) = stdio::open(std::mem::take(&mut wishes.streams))?;
        let order = Order {
            outbox: &outbox,
            name: &name,
            lifetime: self.lifetime,
            directory: wishes.open_directory()?,
            wishes: &wishes,
            streams: &theirs,
            our_ends: Cell::new(ours),
        };
        let method = self.method.unwrap_or_else(context::get_start_method);
        let born = start::start(&order, work, method)?;
        let ours = order.our_ends.take();
        drop(order);
        drop(theirs);
        let child = Child::adopt(born, name, self.lifetime, outbox, ours)?;
        Ok(Process::new_handle(child))
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
            .field("wishes", &self.wishes)
            .finish_non_exhaustive()
    }
}
