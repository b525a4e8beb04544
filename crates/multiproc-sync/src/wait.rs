//! Waiting for the first of many: the verb, and the choice of how to sleep.
//!
//! | things | sleep |
//! |---|---|
//! | descriptors only | `poll` |
//! | words, and descriptors that a death makes readable | on the words, in this thread; a death moves one of them |
//! | words and other descriptors, or more words than one sleep takes | `poll`, beside a bell that the doorbell's thread rings when a word has changed |

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Sleeper, Sources, Waitable, ring_when_changed, spin_limit};
use multiproc_sys::Errno;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::{MOST_WORDS, Woken};
use multiproc_sys::poll;

/// More things than this are not looked at in a spin.
const FEW: usize = 4;

/// Waits until at least one of `things` is ready, and says which are: their indices, in order. With a
/// timeout, at most so long; then the answer is empty.
///
/// Anything of this library that becomes ready can be waited for, and any open file or socket as
/// [`Fd`](crate::Fd). Nothing is taken: what is ready stays so until somebody takes it, and if that is
/// somebody else, the verb that takes it may wait; use its `try_` form where others take, too.
///
/// Without things the answer is empty, and given at once.
///
/// ```
/// use std::time::Duration;
///
/// use multiproc_sync::{Event, Fd, Semaphore, wait};
///
/// let (stop, seats) = (Event::new()?, Semaphore::new(0)?);
/// let listener = Fd(std::net::TcpListener::bind("127.0.0.1:0")?);
/// assert!(wait(&[&stop, &seats, &listener], Duration::from_millis(1))?.is_empty());
///
/// seats.release()?;
/// assert_eq!(wait(&[&stop, &seats, &listener], None)?, [1]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # Errors
///
/// [`WaitError`], never because of a deadline.
///
/// # If a process dies
///
/// A [`Waitable`] that its death makes ready is: a process, a semaphore whose permit comes back. A
/// process that dies while it waits has taken nothing.
///
/// # Differences from Python
///
/// The indices come back, and in the order of the list. It waits for queues, events and semaphores,
/// too.
///
/// # Platform notes
///
/// Before Linux 5.16 a thread cannot sleep on several words of memory: it looks every 5 ms instead.
pub fn wait(
    things: &[&dyn Waitable],
    timeout: impl Into<Option<Duration>>,
) -> Result<Vec<usize>, WaitError> {
    let deadline = timeout.into().map_or(Deadline::NEVER, Deadline::after);
    wait_until(things, deadline)
}

/// Which of `things` are ready now.
///
/// # Errors
///
/// As [`wait`].
pub fn try_wait(things: &[&dyn Waitable]) -> Result<Vec<usize>, WaitError> {
    wait_until(things, Deadline::NOW)
}

/// As [`wait`], until `deadline`.
///
/// # Errors
///
/// As [`wait`].
pub fn wait_deadline(things: &[&dyn Waitable], deadline: Instant) -> Result<Vec<usize>, WaitError> {
    wait_until(things, Deadline::at(deadline))
}

fn wait_until(things: &[&dyn Waitable], deadline: Deadline) -> Result<Vec<usize>, WaitError> {
    let waiting = Waiting {
        things,
        sources: Sources::of(things),
        deadline,
    };
    let ready = waiting.ready()?;
    if !ready.is_empty() || things.is_empty() || deadline.has_passed() {
        return Ok(ready);
    }
    match waiting.sources.words() {
        0 => waiting.on_descriptors(),
        1..MOST_WORDS if !waiting.sources.must_poll() => waiting.on_words(),
        _ => waiting.on_both(),
    }
}

struct Waiting<'a> {
    things: &'a [&'a dyn Waitable],
    sources: Sources<'a>,
    deadline: Deadline,
}

impl Waiting<'_> {
    fn ready(&self) -> Result<Vec<usize>, WaitError> {
        self.sources.ready(self.things).map_err(WaitError::of_poll)
    }

    fn on_words(&self) -> Result<Vec<usize>, WaitError> {
        let mut spins = if self.things.len() > FEW {
            0
        } else {
            spin_limit()
        };
        while spins > 0 && !self.things.iter().any(|thing| thing.is_ready()) {
            spins -= 1;
            std::hint::spin_loop();
        }
        let mut sleeper = Sleeper::new(self.deadline);
        loop {
            let armed = self.sources.arm();
            // SYNC POINT bell, event: a change this look does not see ends the sleep.
            let ready = self.ready()?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            if sleeper.on_any(&armed) == Woken::TimedOut {
                return self.ready();
            }
        }
    }

    fn on_descriptors(&self) -> Result<Vec<usize>, WaitError> {
        let fds: Vec<_> = self.sources.fds().collect();
        loop {
            poll::any_readable(&fds, self.deadline).map_err(WaitError::of_poll)?;
            let ready = self.ready()?;
            if !ready.is_empty() || self.deadline.has_passed() {
                return Ok(ready);
            }
        }
    }

    fn on_both(&self) -> Result<Vec<usize>, WaitError> {
        let bell = Arc::new(poll::Bell::new().map_err(WaitError::of_poll)?);
        let fds: Vec<_> = self.sources.fds().chain([bell.as_fd()]).collect();
        let mut sleeper = Sleeper::new(self.deadline);
        loop {
            let armed = self.sources.arm();
            // SYNC POINT bell, event: a change this look does not see rings the bell.
            let ready = self.ready()?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            let ready =
                ring_when_changed(&armed, &bell, || self.until_rung(&bell, &fds, &mut sleeper))??;
            if let Some(ready) = ready {
                return Ok(ready);
            }
        }
    }

    /// What is ready, or nothing at the deadline; `None` once the bell has been rung.
    fn until_rung(
        &self,
        bell: &poll::Bell,
        fds: &[BorrowedFd<'_>],
        sleeper: &mut Sleeper,
    ) -> Result<Option<Vec<usize>>, WaitError> {
        while !bell.silence() {
            let woken = sleeper.until_readable(fds).map_err(WaitError::of_poll)?;
            let ready = self.ready()?;
            if !ready.is_empty() || woken == Woken::TimedOut {
                return Ok(Some(ready));
            }
        }
        Ok(None)
    }
}

/// Why waiting for several things was not possible. What it waited for is untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// A limit of the operating system is too low; the text names it.
    Limit(String),
    /// The operating system refused.
    Os {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        errno: Errno,
    },
}

impl WaitError {
    /// Whether a limit was too low.
    pub fn is_limit(&self) -> bool {
        matches!(self, WaitError::Limit(_))
    }

    fn of_poll(errno: Errno) -> WaitError {
        match errno {
            // So many descriptors, or no one more.
            Errno::EINVAL | Errno::EMFILE | Errno::ENFILE => WaitError::Limit(format!(
                "waiting for these needs more file descriptors than the process may have ({errno}); \
                 raise RLIMIT_NOFILE (ulimit -n)"
            )),
            errno => WaitError::Os {
                doing: "waiting for descriptors",
                errno,
            },
        }
    }
}

impl From<CreateError> for WaitError {
    fn from(error: CreateError) -> WaitError {
        match error {
            CreateError::Os { doing, errno } => WaitError::Os { doing, errno },
            error => WaitError::Limit(error.to_string()),
        }
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Limit(text) => f.write_str(text),
            WaitError::Os { doing, errno } => write!(f, "{doing}: {errno}"),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WaitError::Limit(_) => None,
            WaitError::Os { errno, .. } => Some(errno),
        }
    }
}
