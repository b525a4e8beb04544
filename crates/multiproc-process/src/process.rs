//! The handle of a process that computes a value.

use std::fmt;
use std::io::{PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_shm::{Sources, Waitable, parcel};
use multiproc_sys::child::Signal;
use multiproc_sys::clock::Deadline;
use multiproc_wire::task::TaskRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::{Lifetime, ProcessBuilder};
use crate::child::Child;
use crate::context::StartMethod;
use crate::error::{CloseError, JoinError, SignalError};
use crate::exit::ExitStatus;
use crate::outcome;

/// A process that runs one function, and its result once that has returned.
///
/// Handles are clones of each other: any thread may join, any number of times. Dropping the last one
/// neither ends the process nor leaves a zombie.
///
/// # Examples
///
/// ```
/// use multiproc_process::Process;
///
/// fn area((width, height): (u32, u32)) -> u32 {
///     width * height
/// }
///
/// let process = Process::new(area, (6, 7)).start()?;
/// assert_eq!(process.join()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # If a process dies
///
/// [`Process::join`] says how, and still gives the result if it was complete. What the process held
/// in shared memory is given back before `join` returns.
///
/// # Differences from Python
///
/// The function's result comes back by `join`. `terminate` and the like are no errors on a process
/// that has ended. A daemon may start processes of its own: they end with it.
pub struct Process<R> {
    child: Arc<Child>,
    result: PhantomData<fn() -> R>,
}

impl<R: Serialize + DeserializeOwned + 'static> Process<R> {
    #[expect(
        clippy::new_ret_no_self,
        reason = "a process has a name, a lifetime and more to say before it starts"
    )]
    /// A process that will run `f` on `argument`: a function, or a closure that captures nothing.
    /// Several arguments travel as a tuple.
    ///
    /// ```
    /// use multiproc_process::Process;
    ///
    /// let process = Process::new(|(a, b)| a + b, (2, 3)).name("adder").start()?;
    /// assert_eq!(process.join()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<A>(f: fn(A) -> R, argument: A) -> ProcessBuilder<A, R>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        ProcessBuilder::new(TaskRef::of(f), argument)
    }

    /// A process that will run `f`, which takes nothing.
    pub fn call(f: fn() -> R) -> ProcessBuilder<(), R> {
        ProcessBuilder::new(TaskRef::of_call(f), ())
    }

    /// A process that will [run](Run) `task`.
    ///
    /// ```
    /// use multiproc_process::{Process, Run};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Area {
    ///     width: u32,
    ///     height: u32,
    /// }
    ///
    /// impl Run for Area {
    ///     type Output = u32;
    ///
    ///     fn run(self) -> u32 {
    ///         self.width * self.height
    ///     }
    /// }
    ///
    /// let process = Process::from_task(Area { width: 6, height: 7 }).start()?;
    /// assert_eq!(process.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_task<T: Run<Output = R>>(task: T) -> ProcessBuilder<T, R> {
        Process::new(T::run, task)
    }

    /// A process that is a copy of this one and will call `closure`, with whatever that has captured:
    /// [`StartMethod::Fork`]. Only its result has to travel.
    ///
    /// The copy has all memory, open files and environment of this process. Handles of shared
    /// objects are its own from then on; what this process's threads hold (a lock, a permit) is not
    /// held by the copy. Handles of processes can be asked and joined there, but for the exit code,
    /// which only the parent is sure to learn. Functions registered with `atexit` do not run at its
    /// end. Unless detached, it ends with the thread that started it.
    ///
    /// Its [`start`](ProcessBuilder::start) is refused with
    /// [`StartError::ThreadsRunning`](crate::StartError::ThreadsRunning) where other threads run than
    /// those of this library, as they do in tests.
    ///
    /// ```no_run
    /// use multiproc_process::Process;
    ///
    /// let words = vec!["not".to_owned(), "sent".to_owned()];
    /// let process = Process::fork(move || words.concat().len()).start()?;
    /// assert_eq!(process.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fork(closure: impl FnOnce() -> R + Send + 'static) -> ProcessBuilder<(), R> {
        ProcessBuilder::of_closure(Box::new(closure))
    }
}

/// Work that knows itself what it needs: see [`Process::from_task`].
pub trait Run: Serialize + DeserializeOwned + 'static {
    /// What it comes to.
    type Output: Serialize + DeserializeOwned + 'static;

    /// Does the work, in the new process.
    fn run(self) -> Self::Output;
}

impl<R: DeserializeOwned + 'static> Process<R> {
    /// Waits for the end of the process and gives its result, decoded anew each time.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if it has no result to give.
    pub fn join(&self) -> Result<R, JoinError> {
        self.join_by(Deadline::NEVER)
    }

    /// As [`Process::join`] if the process has ended.
    ///
    /// # Errors
    ///
    /// [`JoinError::TimedOut`] if it still runs; as [`Process::join`].
    pub fn try_join(&self) -> Result<R, JoinError> {
        self.join_by(Deadline::NOW)
    }

    /// As [`Process::join`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`JoinError::TimedOut`] if it still runs then; as [`Process::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<R, JoinError> {
        self.join_by(Deadline::after(timeout))
    }

    /// As [`Process::join`], until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Process::join_timeout`].
    pub fn join_deadline(&self, deadline: Instant) -> Result<R, JoinError> {
        self.join_by(Deadline::at(deadline))
    }

    fn join_by(&self, deadline: Deadline) -> Result<R, JoinError> {
        let status = self.child.wait(deadline).ok_or(JoinError::TimedOut)?;
        let joined = match self.child.outcome() {
            Some(Ok(Some(content))) => {
                parcel::with_bytes(&content, outcome::read).map_err(JoinError::Open)?
            }
            Some(Ok(None)) => Err(status.into()),
            Some(Err(error)) => Err(JoinError::Open(error)),
            None => Err(JoinError::Closed),
        };
        joined.map_err(|error| match self.child.last_words() {
            Some(words) => error.with_stderr(&words),
            None => error,
        })
    }
}

impl<R> Process<R> {
    pub(crate) fn new_handle(child: Arc<Child>) -> Process<R> {
        Process {
            child,
            result: PhantomData,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Whether it ends together with this process.
    pub fn is_daemon(&self) -> bool {
        self.child.lifetime() == Lifetime::Daemon
    }

    /// How it was started: what was asked for, or what that fell back to.
    pub fn start_method(&self) -> StartMethod {
        self.child.method
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.child.has_ended().is_none()
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.has_ended()
    }

    /// Asks it to end (`SIGTERM`). Does nothing if it has.
    ///
    /// # Errors
    ///
    /// [`SignalError`] if it runs as another user by now.
    pub fn terminate(&self) -> Result<(), SignalError> {
        self.child.signal(Signal::Terminate)
    }

    /// Ends it at once (`SIGKILL`). Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// As [`Process::terminate`].
    pub fn kill(&self) -> Result<(), SignalError> {
        self.child.signal(Signal::Kill)
    }

    /// Interrupts it (`SIGINT`), as Ctrl-C would. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// As [`Process::terminate`].
    pub fn interrupt(&self) -> Result<(), SignalError> {
        self.child.signal(Signal::Interrupt)
    }

    /// A descriptor that is readable once the process has ended, for `poll` and the like.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.child.sentinel()
    }

    /// The pipe that leads to its standard input, if [`Stdio::piped`](crate::Stdio::piped) was asked
    /// for. Once: then it is the caller's. Dropped, the process reads the end of its input.
    pub fn take_stdin(&self) -> Option<PipeWriter> {
        self.child.streams().input.take()
    }

    /// The pipe that leads from its standard output, if [`Stdio::piped`](crate::Stdio::piped) was asked
    /// for. Once: then it is the caller's.
    pub fn take_stdout(&self) -> Option<PipeReader> {
        self.child.streams().output.take()
    }

    /// As [`Process::take_stdout`], of standard error. While nobody has taken it, an error of a join
    /// [has](JoinError::stderr) the last 4 KiB.
    pub fn take_stderr(&self) -> Option<PipeReader> {
        self.child.streams().error.take()
    }

    /// The last 4 KiB of what it has written to its standard output until now, if
    /// [`Stdio::captured`](crate::Stdio::captured) was asked for.
    pub fn captured_stdout(&self) -> Option<Vec<u8>> {
        self.child.captured(0)
    }

    /// As [`Process::captured_stdout`], of standard error. Errors of a join have it, too.
    pub fn captured_stderr(&self) -> Option<Vec<u8>> {
        self.child.captured(1)
    }

    /// Gives back what the process has left: its result in shared memory, pipes that nobody took. Its
    /// descriptor goes with the last handle. A join says [`JoinError::Closed`] from then on.
    ///
    /// # Errors
    ///
    /// [`CloseError`] if it still runs.
    pub fn close(&self) -> Result<(), CloseError> {
        let pid = self.child.pid;
        self.child.close().then_some(()).ok_or(CloseError { pid })
    }

    /// Has `callback` called once with the exit status, by whichever thread reaps the process; at
    /// once if it has been reaped. It must neither block nor start processes: the keeper may run it.
    #[doc(hidden)]
    pub fn on_exit(&self, callback: Box<dyn FnOnce(ExitStatus) + Send>) {
        self.child.on_exit(callback);
    }
}

impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

/// Ready once it has ended.
impl<R> Waitable for Process<R> {
    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.sentinel(self.sentinel());
    }
}

impl<R> Clone for Process<R> {
    fn clone(&self) -> Process<R> {
        Process::new_handle(Arc::clone(&self.child))
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.child.fmt(f)
    }
}
