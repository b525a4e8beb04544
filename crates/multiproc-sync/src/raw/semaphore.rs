//! Permits, and who holds them.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | lock | everything below changes under it, for a few instructions at a time | |
//! | limit | how many permits there are | a bare release that finds none taken |
//! | bound | what the limit may grow to | the maker |
//! | free | how many can be had now: a cache of limit - nobody - rows | the lock's holder |
//! | nobody | permits taken by processes that are no members, or found no row | the lock's holder |
//! | bell | rung for each permit that becomes free | see `Bell` |
//! | rows | who holds how many: the truth | see `raw::holders` |
//!
//! Who finds no permit looks through the rows and takes back what dead members hold. Whoever sleeps
//! is woken by any member's death and looks again.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | between row and `free`, either way | the lock's next owner counts again; a dead member's row is taken back |
//! | limit raised, `free` not yet | the lock's next owner counts again: one more |
//! | permit given back, bell not yet rung | waiters are woken by the death |
//! | holding a permit | a row of a dead member: taken back by whoever needs it |
//! | woken, permit not yet taken | other waiters are woken by the death |

use std::time::Duration;

use crate::door::{
    AtomicU64, Bell, CreateError, Deadline, Kind, LockError, MemberId, Object, Ordering, RawGuard,
    RawLock, Sleeper, Woken, family, spin_limit,
};
use crate::raw::holders::Holders;

const LIMIT: usize = 0;
const BOUND: usize = 1;
const FREE: usize = 2;
const NOBODY: usize = 3;
const BELL: usize = 4;
const ROWS: usize = 5;

/// Rows of a small semaphore, whose limit may grow; more than 4,096 members there never are.
const FEWEST_ROWS: u32 = 64;
const MOST_ROWS: u32 = 4_096;

/// How long to wait for the lock when the caller has no patience at all: it is never held for long.
const SHORT: Duration = Duration::from_millis(100);

/// The permits in an object.
#[derive(Clone, Copy)]
pub(crate) struct Permits<'a> {
    object: &'a Object,
}

/// Who took a permit; `None` if nobody can say when it dies.
pub(crate) type Holder = Option<MemberId>;

/// An object with `permits` free permits and no holder.
pub(crate) fn create(tag: u32, permits: u32, bound: u32) -> Result<Object, CreateError> {
    let rows = permits.clamp(FEWEST_ROWS, MOST_ROWS) as usize;
    let len = size_of::<RawLock>() + (ROWS + rows) * 8;
    let object = Object::create(Kind::Locked, tag, len, |_| {})?;
    let words = object.words();
    // The object may be larger than it was asked to be: what is left over are rows as well, and
    // nobody has cleared them.
    for row in &words[ROWS..] {
        row.store(0, Ordering::Relaxed);
    }
    for (index, value) in [(LIMIT, permits), (BOUND, bound), (FREE, permits)] {
        words[index].store(u64::from(value), Ordering::Relaxed);
    }
    Ok(object)
}

impl<'a> Permits<'a> {
    #[inline]
    pub(crate) fn of(object: &'a Object) -> Permits<'a> {
        Permits { object }
    }

    #[inline]
    fn word(self, index: usize) -> &'a AtomicU64 {
        &self.object.words()[index]
    }

    fn get(self, index: usize) -> u64 {
        self.word(index).load(Ordering::Relaxed)
    }

    fn set(self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Relaxed);
    }

    #[inline]
    fn holders(self) -> Holders<'a> {
        Holders::new(&self.object.words()[ROWS..], 1)
    }

    pub(crate) fn bell(self) -> &'a Bell {
        self.object.bell(2 * BELL)
    }

    #[inline]
    fn lock(self, deadline: Deadline) -> Result<RawGuard<'a>, LockError> {
        let guard = match self.object.lock().lock(Deadline::NOW) {
            Err(LockError::TimedOut) => self.object.lock().lock(patient(deadline))?,
            taken => taken?,
        };
        if guard.taken().is_after_death() {
            self.count_again();
        }
        Ok(guard)
    }

    /// The lock's owner died between two stores.
    #[cold]
    fn count_again(self) {
        let taken = self.get(NOBODY) + self.holders().total();
        self.set(FREE, self.get(LIMIT).saturating_sub(taken));
        self.bell().ring_all();
    }

    /// Takes a permit, waiting for one until `deadline`.
    #[inline]
    pub(crate) fn acquire(self, deadline: Deadline) -> Result<Holder, LockError> {
        match self.take(deadline)? {
            Some(holder) => Ok(holder),
            None => self.acquire_slowly(deadline),
        }
    }

    #[cold]
    fn acquire_slowly(self, deadline: Deadline) -> Result<Holder, LockError> {
        let mut sleeper = Sleeper::new(deadline);
        let mut spins = spin_limit();
        loop {
            if deadline.has_passed() {
                return Err(LockError::TimedOut);
            }
            while spins > 0 && self.get(FREE) == 0 {
                spins -= 1;
                std::hint::spin_loop();
            }
            let armed = self.bell().arm();
            // Looks again whether it was woken, or the deadline has passed: a permit may have come
            // at the last moment, and the wake with it was ours alone.
            if !self.may_be_had() {
                let _: Woken = self.bell().sleep(armed, &mut sleeper);
            }
            if let Some(holder) = self.take(deadline)? {
                return Ok(holder);
            }
        }
    }

    /// Whether somebody who comes now would find a permit.
    pub(crate) fn may_be_had(self) -> bool {
        self.get(FREE) > 0 || self.holders().has_dead()
    }

    /// Takes a permit if there is one.
    #[inline]
    fn take(self, deadline: Deadline) -> Result<Option<Holder>, LockError> {
        let _locked = self.lock(deadline)?;
        if self.get(FREE) == 0 && self.take_back() == 0 {
            return Ok(None);
        }
        let holder = family::me().filter(|&me| self.holders().enter(me));
        if holder.is_none() {
            self.set(NOBODY, self.get(NOBODY) + 1);
        }
        self.set(FREE, self.get(FREE) - 1);
        Ok(Some(holder))
    }

    /// Takes back what the dead hold. Under the lock.
    #[cold]
    fn take_back(self) -> u64 {
        let taken = self.holders().take_back();
        self.set(FREE, self.get(FREE) + taken);
        if taken > 1 {
            // One is for the caller.
            self.bell().ring_all();
        }
        taken
    }

    /// Gives back a permit that `holder` took; nothing happens if that was done already, by somebody
    /// else or after its death.
    #[inline]
    pub(crate) fn release(self, holder: Holder) -> Result<(), LockError> {
        let locked = self.lock(Deadline::NEVER)?;
        let given = match holder {
            Some(member) => self.holders().leave(member),
            None => self.leave_nobody(),
        };
        if given {
            self.set(FREE, self.get(FREE) + 1);
            drop(locked);
            self.bell().ring_after_release();
        }
        Ok(())
    }

    fn leave_nobody(self) -> bool {
        let held = self.get(NOBODY);
        self.set(NOBODY, held.saturating_sub(1));
        held > 0
    }

    /// Gives back a permit of this process, else one of anybody, else makes a new one. False, and
    /// nothing has changed, if there are as many as there may be.
    pub(crate) fn release_any(self) -> Result<bool, LockError> {
        let locked = self.lock(Deadline::NEVER)?;
        let holders = self.holders();
        let given = family::me().is_some_and(|me| holders.leave(me))
            || holders.leave_any()
            || self.leave_nobody();
        if !given {
            let limit = self.get(LIMIT);
            if limit >= self.get(BOUND) {
                return Ok(false);
            }
            self.set(LIMIT, limit + 1);
        }
        self.set(FREE, self.get(FREE) + 1);
        drop(locked);
        self.bell().ring_after_release();
        Ok(true)
    }

    /// How many can be had now.
    pub(crate) fn free(self) -> u64 {
        // Where the lock cannot be had, the cache must do.
        if let Ok(_locked) = self.lock(Deadline::NEVER) {
            self.take_back();
        }
        self.get(FREE)
    }
}

/// As long as the caller likes, and at least a moment.
#[cold]
fn patient(deadline: Deadline) -> Deadline {
    match deadline.remaining() {
        Some(left) if left < SHORT => Deadline::after(SHORT),
        _ => deadline,
    }
}
