//! A gate that lets many readers in, or one writer.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | lock | held by the writer, from before it waits for the readers until it has left | see `raw::lock` |
//! | phase | 0 open, 1 a writer waits for the readers to leave, 2 a writer is inside | the lock's holder |
//! | bell | a reader left while a writer was waiting | see `Bell` |
//! | rows | who is inside reading, a cache line for each member | see `raw::holders` |
//!
//! # Steps
//!
//! A reader counts itself in its row, and is inside if the phase is *open*. If it is not, it counts
//! itself out, waits for the lock as a writer would, and counts itself in under it: so writers keep
//! new readers out, and readers have their turn between writers.
//!
//! A writer takes the lock, says that it *waits*, and waits until no row counts a living member.
//! Either a reader sees the phase, or the writer sees the row: both are sequentially consistent.
//! Then it signs, and is *inside* until it says *open* and gives the lock back.
//!
//! A reader for which there is no row, as more members read than there are rows, keeps the lock
//! instead: it shares with those in rows.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | reader, counted, inside or not | a row of a dead member: the next writer takes it back |
//! | reader, counted out, bell not yet rung | the writer is woken by the death |
//! | reader with the lock | a lock taken over in silence, as the phase is *open* |
//! | writer, waiting | a lock taken over in silence, as nothing has been written |
//! | writer, inside | a free lock and the phase *inside*: `OwnerDied` for all, until somebody recovers |
//! | writer, phase *open*, lock not yet given back | a lock taken over in silence, as all has been written |
//! | in `recover()`, waiting for readers | still *inside*: `OwnerDied` |

use crate::door::{
    self, AtomicU64, Bell, Deadline, LockError, MemberId, Object, Ordering, RawGuard, RawLock,
    Sleeper, Woken, family, fence, spin_limit,
};
use crate::raw::holders::Holders;
use crate::raw::lock;

const PHASE: usize = 0;
const BELL: usize = 1;
/// What the gate guards begins here.
pub(crate) const CONTENT: usize = 2;

const OPEN: u64 = 0;
const WAITING: u64 = 1;
const INSIDE: u64 = 2;

const ROWS: usize = 32;
const LINE: usize = 8;

/// The gate in an object.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    object: &'a Object,
    /// How many words lie between the gate's own and its rows.
    content: usize,
}

/// A reader inside.
#[derive(Debug)]
pub(crate) enum Reading<'a> {
    /// Counted in a row.
    Counted(MemberId),
    /// Inside by the lock itself, which goes back with it.
    Locked(#[expect(dead_code, reason = "held, never looked at")] RawGuard<'a>),
}

/// How many words an object needs after its lock, to guard `content` words.
pub(crate) const fn words_for(content: usize) -> usize {
    CONTENT + content + LINE + ROWS * LINE
}

/// What a writer does with what another left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfDied {
    Report,
    Recover,
}

impl<'a> Gate<'a> {
    #[inline]
    pub(crate) fn of(object: &'a Object, content: usize) -> Gate<'a> {
        Gate { object, content }
    }

    #[inline]
    fn raw(self) -> &'a RawLock {
        self.object.lock()
    }

    #[inline]
    fn phase(self) -> &'a AtomicU64 {
        &self.object.words()[PHASE]
    }

    fn bell(self) -> &'a Bell {
        self.object.bell(2 * BELL)
    }

    /// The rows begin the first cache line after the content.
    #[inline]
    fn rows(self) -> Holders<'a> {
        let rest = &self.object.words()[CONTENT + self.content..];
        let to_line = rest.as_ptr().addr().wrapping_neg() % 64 / 8;
        let rows = ((rest.len() - to_line) / LINE).min(ROWS);
        Holders::new(&rest[to_line..to_line + rows * LINE], LINE)
    }

    /// Lets a reader in.
    #[inline]
    pub(crate) fn read(self, deadline: Deadline) -> Result<Reading<'a>, LockError> {
        if let Some(me) = family::me()
            && self.rows().enter(me)
        {
            // SYNC POINT gate: either this sees the writer, or the writer sees the row.
            door::between_consistent_accesses();
            if self.phase().load(Ordering::SeqCst) == OPEN {
                return Ok(Reading::Counted(me));
            }
            self.leave(me);
        }
        self.read_slowly(deadline)
    }

    #[cold]
    fn read_slowly(self, deadline: Deadline) -> Result<Reading<'a>, LockError> {
        let locked = self.lock(deadline)?;
        if self.phase().load(Ordering::Relaxed) == INSIDE {
            return Err(LockError::OwnerDied);
        }
        // The lock is ours, so whoever waited in it is gone.
        self.phase().store(OPEN, Ordering::SeqCst);
        let me = family::me().filter(|&me| {
            let rows = self.rows();
            rows.enter(me) || (rows.take_back() > 0 && rows.enter(me))
        });
        Ok(match me {
            Some(me) => Reading::Counted(me),
            None => Reading::Locked(locked),
        })
    }

    /// A counted reader leaves.
    #[inline]
    pub(crate) fn leave(self, me: MemberId) {
        self.rows().leave(me);
        // SYNC POINT gate: either this sees that a writer waits, or the writer sees the row.
        door::between_consistent_accesses();
        if self.phase().load(Ordering::SeqCst) != OPEN {
            self.bell().ring();
        }
    }

    /// Takes the lock whoever died with it: the phase says what that means.
    fn lock(self, deadline: Deadline) -> Result<RawGuard<'a>, LockError> {
        self.raw().lock(deadline)
    }

    /// Lets a writer in, once all readers have left.
    pub(crate) fn write(
        self,
        deadline: Deadline,
        if_died: IfDied,
    ) -> Result<RawGuard<'a>, LockError> {
        let locked = self.lock(deadline)?;
        let died = self.phase().load(Ordering::Relaxed) == INSIDE;
        if died && if_died == IfDied::Report {
            return Err(LockError::OwnerDied);
        }
        if !died {
            self.phase().store(WAITING, Ordering::SeqCst);
        }
        // SYNC POINT gate
        fence(Ordering::SeqCst);
        if self.rows().total() > 0
            && let Err(late) = self.wait_for_readers(deadline)
        {
            if !died {
                self.phase().store(OPEN, Ordering::SeqCst);
            }
            return Err(late);
        }
        lock::sign(self.raw());
        self.phase().store(INSIDE, Ordering::SeqCst);
        Ok(locked)
    }

    #[cold]
    fn wait_for_readers(self, deadline: Deadline) -> Result<(), LockError> {
        let mut sleeper = Sleeper::new(deadline);
        let mut spins = spin_limit();
        loop {
            if self.is_empty() {
                return Ok(());
            }
            if deadline.has_passed() {
                return Err(LockError::TimedOut);
            }
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
                continue;
            }
            let armed = self.bell().arm();
            if !self.is_empty() {
                let _: Woken = self.bell().sleep(armed, &mut sleeper);
            }
        }
    }

    /// Whether no living reader is inside.
    fn is_empty(self) -> bool {
        let rows = self.rows();
        rows.total() == 0 || (rows.take_back() > 0 && rows.total() == 0)
    }

    /// The writer is done; the lock goes back next.
    #[inline]
    pub(crate) fn open(self) {
        self.phase().store(OPEN, Ordering::SeqCst);
        lock::sign_off(self.raw());
    }

    /// How many readers are inside.
    pub(crate) fn readers(self) -> u64 {
        self.rows().total()
    }

    /// Whether a writer is inside, or died there.
    pub(crate) fn is_written(self) -> bool {
        self.phase().load(Ordering::Relaxed) == INSIDE
    }
}
