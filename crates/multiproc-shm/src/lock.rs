//! The lock of internal protocols: bounded waiting, and the word's next owner is told of a death.
//!
//! The word itself, its states and its kill table are `multiproc_sys::robust`. This file is only
//! the order in which a waiter spins, announces itself and sleeps. There is no user policy here: a
//! lock whose owner died is simply taken, and the caller repairs what it guards.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::Woken;
use multiproc_sys::robust::{Attempt, Refusal, Word};

use crate::arena;
use crate::sleep::Sleeper;

/// A lock that lies in the arena, for protocols inside this library.
///
/// References to one come only from arena objects, which stay mapped as long as the process lives:
/// that is what the robust word asks of its place. Zeroed memory is a free lock.
#[derive(Debug)]
#[repr(transparent)]
pub struct RawLock(Word);

/// How a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after a death, the protocol behind the lock needs repair"]
pub enum Taken {
    /// It was free.
    Clean,
    /// Its owner had died. It is ours and sound now; what it guards may be half changed.
    AfterDeath,
}

impl Taken {
    /// Whether repair is needed.
    pub fn is_after_death(self) -> bool {
        self == Taken::AfterDeath
    }
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// The deadline passed; somebody held it all the time.
    TimedOut,
    /// This thread cannot hold another lock.
    Refused(Refusal),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::TimedOut => f.write_str("another process held the lock until the deadline"),
            LockError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

/// A held [`RawLock`].
#[derive(Debug)]
pub struct RawGuard<'a> {
    lock: &'a RawLock,
    taken: Taken,
    // The kernel knows the owner as a thread.
    _here: PhantomData<*const ()>,
}

impl RawLock {
    /// Takes the lock, waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    ///
    /// # If a process dies
    ///
    /// Its lock is free at once, and the next owner is told by [`Taken::AfterDeath`]; what the dead
    /// had committed to the arena has been finished by then.
    #[inline]
    pub fn lock(&self, deadline: Deadline) -> Result<RawGuard<'_>, LockError> {
        let taken = take(&self.0, deadline)?;
        if taken.is_after_death()
            && let Some(arena) = arena::existing()
        {
            arena.settle();
        }
        Ok(RawGuard {
            lock: self,
            taken,
            _here: PhantomData,
        })
    }

    /// Whether some thread holds it now.
    pub fn is_held(&self) -> bool {
        self.0.is_held()
    }
}

impl RawGuard<'_> {
    /// Whether the owner before died.
    pub fn taken(&self) -> Taken {
        self.taken
    }
}

impl Drop for RawGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard exists only where `take` succeeded on this thread, and it is not `Send`.
        unsafe { self.lock.0.release() };
    }
}

/// Takes a word that lies in the arena.
#[inline]
pub(crate) fn take(word: &Word, deadline: Deadline) -> Result<Taken, LockError> {
    // SAFETY: words in the arena are mapped for the life of the process.
    match unsafe { word.try_acquire(false) } {
        Attempt::Acquired => Ok(Taken::Clean),
        seen => take_slowly(word, deadline, seen),
    }
}

#[cold]
fn take_slowly(word: &Word, deadline: Deadline, first: Attempt) -> Result<Taken, LockError> {
    let mut sleeper = Sleeper::new(deadline);
    let mut spins = spin_limit();
    // Whoever has slept here once must assume that others sleep still.
    let mut contended = false;
    let mut attempt = first;
    loop {
        match attempt {
            Attempt::Acquired => return Ok(Taken::Clean),
            Attempt::Refused(refusal) => return Err(LockError::Refused(refusal)),
            Attempt::Suspect(seen) => {
                // SAFETY: as in `take`.
                if unsafe { word.take_over(seen) } == Attempt::Acquired {
                    return Ok(Taken::AfterDeath);
                }
            }
            Attempt::Busy(_) if spins > 0 => {
                spins -= 1;
                std::hint::spin_loop();
            }
            Attempt::Busy(seen) => {
                if deadline.has_passed() {
                    return Err(LockError::TimedOut);
                }
                if let Some(value) = word.announce_waiter(seen) {
                    contended = true;
                    if sleeper.on(word.futex(), value) == Woken::TimedOut {
                        return Err(LockError::TimedOut);
                    }
                }
            }
        }
        attempt = match word.look() {
            // SAFETY: as in `take`.
            Attempt::Acquired => unsafe { word.try_acquire(contended) },
            seen => seen,
        };
    }
}

/// How often to look again before a sleep: about a microsecond, and only where somebody else can
/// run meanwhile.
pub(crate) fn spin_limit() -> u32 {
    static LIMIT: OnceLock<u32> = OnceLock::new();
    *LIMIT.get_or_init(|| match std::thread::available_parallelism() {
        Ok(cpus) if cpus.get() > 1 => 20,
        _ => 0,
    })
}
