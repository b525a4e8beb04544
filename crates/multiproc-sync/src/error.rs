//! What can go wrong with a lock.

use std::fmt;

use crate::door::{DeadlockLink, LockError, take_cycle};

/// Why a lock was not acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// The process that held it died, so what it guards may be half changed. Look at it, then
    /// call `recover()`.
    OwnerDied {
        /// The owner's process id, or 0 if it was killed before it could say.
        pid: u32,
        /// The owner's name.
        name: String,
    },
    /// Somebody holds it now.
    WouldBlock,
    /// Somebody held it until the deadline.
    TimedOut,
    /// Waiting would never end: its holder waits, perhaps by way of others, for a lock that this
    /// thread holds. All of them wait without a deadline. Release something, and try again. Those that
    /// come to wait at the same moment may all be told.
    Deadlock {
        /// Who waits for which lock; each holds the lock of the one before, and this thread is first.
        cycle: Vec<DeadlockLink>,
    },
    /// This thread cannot hold another lock: the kernel would not release more at its death.
    TooMany,
    /// What lies in shared memory cannot be true.
    Corrupt,
}

impl AcquireError {
    /// Whether the owner died.
    pub fn is_owner_died(&self) -> bool {
        matches!(self, AcquireError::OwnerDied { .. })
    }

    /// Whether somebody held it all the time one was willing to wait.
    pub fn is_busy(&self) -> bool {
        matches!(self, AcquireError::WouldBlock | AcquireError::TimedOut)
    }

    /// Whether a deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, AcquireError::TimedOut)
    }

    /// Whether somebody held it, and one was not willing to wait.
    pub fn is_would_block(&self) -> bool {
        matches!(self, AcquireError::WouldBlock)
    }

    /// Whether waiting would never have ended.
    pub fn is_deadlock(&self) -> bool {
        matches!(self, AcquireError::Deadlock { .. })
    }

    /// Whether this thread holds as many locks as it may.
    pub fn is_too_many(&self) -> bool {
        matches!(self, AcquireError::TooMany)
    }

    /// Whether the lock's memory holds what cannot be true.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, AcquireError::Corrupt)
    }

    /// Of what has no owner to name, as it matters to nobody who died.
    #[cold]
    pub(crate) fn without_owner(error: LockError) -> AcquireError {
        AcquireError::from_lock(error, || (0, String::from("unknown")))
    }

    /// The same for a call that was not willing to wait.
    pub(crate) fn at_once(self) -> AcquireError {
        match self {
            AcquireError::TimedOut => AcquireError::WouldBlock,
            error => error,
        }
    }

    pub(crate) fn from_lock(
        error: LockError,
        owner: impl FnOnce() -> (u32, String),
    ) -> AcquireError {
        match error {
            LockError::TimedOut => AcquireError::TimedOut,
            LockError::Refused(_) => AcquireError::TooMany,
            LockError::Deadlock => AcquireError::Deadlock {
                cycle: take_cycle(),
            },
            LockError::OwnerDied => {
                let (pid, name) = owner();
                AcquireError::OwnerDied { pid, name }
            }
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::OwnerDied { pid: 0, .. } => f.write_str(
                "a process died while it held the lock; check what it guards, then call recover()",
            ),
            AcquireError::OwnerDied { pid, name } => write!(
                f,
                "process '{name}' (pid {pid}) died while it held the lock; \
                 check what it guards, then call recover()"
            ),
            AcquireError::WouldBlock => f.write_str("the lock is held"),
            AcquireError::TimedOut => f.write_str("the lock was held until the deadline"),
            AcquireError::Deadlock { cycle } => deadlock_text(cycle, f),
            AcquireError::TooMany => f.write_str(
                "this thread holds 2000 locks already, the most the kernel releases if it dies; \
                 release some",
            ),
            AcquireError::Corrupt => f.write_str("the lock's memory holds what cannot be true"),
        }
    }
}

impl std::error::Error for AcquireError {}

fn deadlock_text(cycle: &[DeadlockLink], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("waiting for the lock would never end: ")?;
    for (index, link) in cycle.iter().enumerate() {
        let holder = &cycle[(index + 1) % cycle.len()];
        let and = if index == 0 { "" } else { ", and " };
        write!(
            f,
            "{and}thread {} of process '{}' (pid {}) waits for lock {:#x}, which thread {} of '{}' \
             (pid {}) holds",
            link.thread, link.name, link.pid, link.lock, holder.thread, holder.name, holder.pid
        )?;
    }
    Ok(())
}

/// Why a lock was not released. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Nobody holds it.
    NotHeld,
    /// Another thread or process holds it.
    NotOwner,
    /// There are as many permits as there may be, and all are free.
    AboveBound,
}

impl ReleaseError {
    /// Whether nobody holds it.
    pub fn is_not_held(&self) -> bool {
        matches!(self, ReleaseError::NotHeld)
    }

    /// Whether another thread or process holds it.
    pub fn is_not_owner(&self) -> bool {
        matches!(self, ReleaseError::NotOwner)
    }

    /// Whether all permits are free already.
    pub fn is_above_bound(&self) -> bool {
        matches!(self, ReleaseError::AboveBound)
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReleaseError::NotHeld => "the lock is not held",
            ReleaseError::NotOwner => {
                "another thread holds the lock; only the thread that acquired it can release it"
            }
            ReleaseError::AboveBound => {
                "all permits are free, and there may be no more of them; one was released twice"
            }
        })
    }
}

impl std::error::Error for ReleaseError {}

/// Why [`Barrier::wait`](crate::Barrier::wait) did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarrierError {
    /// The barrier is broken, or broke while this thread waited.
    Broken {
        /// What broke it.
        why: BrokenWhy,
    },
    /// Not all came in time. The barrier is broken for all now.
    TimedOut,
}

/// What broke a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum BrokenWhy {
    /// Somebody else's time was over.
    TimedOut = 1,
    /// Somebody called `abort`.
    Aborted = 2,
    /// Somebody called `reset`.
    Reset = 3,
    /// A process that waited, or ran the action, died.
    Died = 4,
    /// The action panicked, or could not be called.
    ActionFailed = 5,
}

impl BrokenWhy {
    pub(crate) fn code(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_code(code: u64) -> Option<BrokenWhy> {
        use BrokenWhy::{Aborted, ActionFailed, Died, Reset, TimedOut};
        let all = [TimedOut, Aborted, Reset, Died, ActionFailed];
        all.into_iter().find(|why| why.code() == code)
    }
}

impl BarrierError {
    /// Whether it was broken by somebody else.
    pub fn is_broken(&self) -> bool {
        matches!(self, BarrierError::Broken { .. })
    }

    /// Whether this thread's time was over.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, BarrierError::TimedOut)
    }
}

impl fmt::Display for BrokenWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BrokenWhy::TimedOut => "another waiter's time was over",
            BrokenWhy::Aborted => "somebody aborted it",
            BrokenWhy::Reset => "somebody reset it while this thread waited",
            BrokenWhy::Died => "a process that waited there died",
            BrokenWhy::ActionFailed => "its action failed",
        })
    }
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BarrierError::TimedOut => {
                f.write_str("not all came to the barrier before the deadline")
            }
            BarrierError::Broken { why } => write!(f, "the barrier is broken: {why}"),
        }
    }
}

impl std::error::Error for BarrierError {}
