//! The lock of internal protocols: bounded waiting, and the word's next owner is told of a death.
//!
//! The word itself, its states and its kill table are `multiproc_sys::robust`. This file is only
//! the order in which a waiter spins, announces itself and sleeps, and the two things it may do when
//! the owner has died: take the lock and repair, as protocols do, or say so, as users' locks do.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::arena;
use crate::deadlock::Edge;
use crate::door::futex;
use crate::door::robust::{Attempt, MOST_HELD, Refusal, Word};
use crate::door::{self, AtomicU64, Deadline};
use crate::sleep::Sleeper;

/// A lock that lies in the arena, for protocols inside this library.
///
/// References to one come only from arena objects, which stay mapped as long as the process lives:
/// that is what the robust word asks of its place. Zeroed memory is a free lock.
#[derive(Debug, Default)]
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
    #[inline]
    pub fn is_after_death(self) -> bool {
        self == Taken::AfterDeath
    }
}

/// What to do with a lock whose owner died.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfSuspect {
    TakeOver,
    Report,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// Its owner died, and nobody has taken responsibility for what it guards.
    OwnerDied,
    /// The deadline passed; somebody held it all the time.
    TimedOut,
    /// Its owner waits, perhaps by way of others, for this thread; see [`take_cycle`](crate::take_cycle).
    Deadlock,
    /// This thread cannot hold another lock.
    Refused(Refusal),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied => f.write_str("the process that held the lock died"),
            LockError::TimedOut => f.write_str("another process held the lock until the deadline"),
            LockError::Deadlock => f.write_str("the lock's owner waits for this thread"),
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
        let taken = take(&self.0, deadline, MOST_HELD)?;
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

    /// Takes the lock, waiting until `deadline`, unless its owner died: then everybody who asks is
    /// told, until somebody takes it with [`RawLock::lock`]. Without a deadline, and for an owner
    /// that signs itself in [`RawLock::owner`], a cycle of waits is [`LockError::Deadlock`].
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn lock_if_sound(&self, deadline: Deadline) -> Result<RawGuard<'_>, LockError> {
        // SAFETY: as in `take`.
        if unsafe { self.0.try_acquire(false, MOST_HELD) } != Attempt::Acquired {
            let _clean = take_slowly(&self.0, deadline, MOST_HELD, IfSuspect::Report)?;
        }
        Ok(RawGuard {
            lock: self,
            taken: Taken::Clean,
            _here: PhantomData,
        })
    }

    /// Gives back a lock whose guard was forgotten. False if this thread does not hold it.
    pub fn unlock_forgotten(&self) -> bool {
        self.0.release()
    }

    /// A word for whoever defines what the lock's owner is; written by the owner, kept at its death.
    #[inline]
    pub fn owner(&self) -> &AtomicU64 {
        self.0.owner()
    }

    /// The thread that holds it, 0 if none does.
    pub fn holder(&self) -> u32 {
        self.0.holder()
    }

    /// Whether a thread of this process holds it.
    pub(crate) fn is_held_here(&self) -> bool {
        self.0.is_held_here()
    }

    /// Whether its owner died and nobody has taken it since.
    pub fn is_suspect(&self) -> bool {
        self.0.is_suspect()
    }

    /// Whether this thread holds it.
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.0.is_mine()
    }

    /// Whether some thread holds it now.
    pub fn is_held(&self) -> bool {
        self.0.is_held()
    }
}

impl RawGuard<'_> {
    /// Whether the owner before died.
    #[inline]
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// Whether this thread holds the lock: not where it was released by hand since, nor in a copy of
    /// the guard that a fork made. Such a guard must leave alone what the lock guards.
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.lock.is_mine()
    }
}

impl Drop for RawGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // False where it was released by hand, or where a fork brought the guard along.
        self.lock.0.release();
    }
}

/// Takes a word that lies in the arena, if the thread holds fewer than `most`.
#[inline]
pub(crate) fn take(word: &Word, deadline: Deadline, most: u32) -> Result<Taken, LockError> {
    // SAFETY: words in the arena are mapped for the life of the process, and the object that a held
    // one lies in is not given back (see `object::Reference`).
    match unsafe { word.try_acquire(false, most) } {
        Attempt::Acquired => Ok(Taken::Clean),
        _ => take_slowly(word, deadline, most, IfSuspect::TakeOver),
    }
}

#[cold]
fn take_slowly(
    word: &Word,
    deadline: Deadline,
    most: u32,
    if_suspect: IfSuspect,
) -> Result<Taken, LockError> {
    let mut sleeper = Sleeper::new(deadline);
    let mut awake = Awake::new(deadline, if_suspect);
    let looks_for_cycles = if_suspect == IfSuspect::Report && deadline.is_never();
    let mut edge = None;
    // Whoever has slept here once must assume that others sleep still.
    let mut contended = false;
    loop {
        let attempt = match word.look() {
            // SAFETY: as in `take`.
            Attempt::Acquired => unsafe { word.try_acquire(contended, most) },
            Attempt::Suspect(seen) if if_suspect == IfSuspect::TakeOver => {
                // SAFETY: as in `take`.
                match unsafe { word.take_over(seen, most) } {
                    Attempt::Acquired => return Ok(Taken::AfterDeath),
                    Attempt::Refused(refusal) => return Err(LockError::Refused(refusal)),
                    // Somebody was faster. What was seen then says nothing of now: look again.
                    Attempt::Busy(_) | Attempt::Suspect(_) => continue,
                }
            }
            seen => seen,
        };
        match attempt {
            Attempt::Acquired => return Ok(Taken::Clean),
            Attempt::Refused(refusal) => return Err(LockError::Refused(refusal)),
            Attempt::Suspect(_) if if_suspect == IfSuspect::Report => {
                // The kernel woke one sleeper; each is to be told.
                futex::wake_all(word.futex());
                return Err(LockError::OwnerDied);
            }
            Attempt::Suspect(_) => {}
            Attempt::Busy(_) if awake.pause() => {}
            Attempt::Busy(seen) if deadline.has_passed() => {
                // Who has been woken here and goes away leaves the next wake to the others.
                if !contended || word.announce_waiter(seen).is_some() {
                    return Err(LockError::TimedOut);
                }
            }
            Attempt::Busy(seen) => {
                if looks_for_cycles && edge.is_none() {
                    edge = Edge::publish(word);
                    if edge.as_ref().is_some_and(Edge::closes_a_cycle) {
                        return Err(LockError::Deadlock);
                    }
                }
                if let Some(value) = word.announce_waiter(seen) {
                    contended = true;
                    // However it ends, the word says what to do next.
                    let _ = sleeper.on(word.futex(), value);
                }
                // Woken, or the word has changed hands meanwhile: it is held for short times.
                awake.again();
            }
        }
    }
}

/// How a waiter passes the time before it is worth a sleep.
enum Awake {
    /// Looks in a row, about a microsecond: for protocols, which hold a lock for an instant.
    Shortly { looks: u32 },
    /// For users' locks. Every look takes the word's cache line from its owner, who needs it to
    /// release, so each pause is twice as long as the one before: two processes that both want a lock
    /// all the time get three times as much done as with looks in a row. In all it is about as long as
    /// a sleep and a wake would take.
    Longer { spins: u32 },
}

impl Awake {
    const LONGEST: u32 = 256;

    fn new(deadline: Deadline, if_suspect: IfSuspect) -> Awake {
        let looks = if deadline.has_passed() {
            0
        } else {
            spin_limit()
        };
        if looks > 0 && if_suspect == IfSuspect::Report {
            Awake::Longer { spins: 1 }
        } else {
            Awake::Shortly { looks }
        }
    }

    /// Passes a moment, if it is not yet time to sleep.
    fn pause(&mut self) -> bool {
        match self {
            Awake::Shortly { looks: 0 } => return false,
            Awake::Shortly { looks } => {
                *looks -= 1;
                std::hint::spin_loop();
            }
            Awake::Longer { spins } if *spins > Awake::LONGEST => return false,
            Awake::Longer { spins } => {
                (0..*spins).for_each(|_| std::hint::spin_loop());
                *spins *= 2;
            }
        }
        true
    }

    /// There may be something to gain by staying awake once more.
    fn again(&mut self) {
        if let Awake::Longer { spins } = self {
            *spins = Awake::LONGEST / 4;
        }
    }
}

/// How often to look again before a sleep: about a microsecond, and only where somebody else can
/// run meanwhile.
pub fn spin_limit() -> u32 {
    static LIMIT: OnceLock<u32> = OnceLock::new();
    *LIMIT.get_or_init(|| if door::processors() > 1 { 20 } else { 0 })
}
