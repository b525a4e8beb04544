//! A lock that costs next to nothing for a thread that takes it all the time.
//!
//! Taking and releasing a [`RawLock`] are two atomic exchanges. Each waits until the thread's earlier
//! stores have reached memory, and where these go to lines that another core has just read, that is most
//! of what a small message costs. So whoever has taken the lock [`TURNS`] times in a row gets it *to
//! itself*: from then on it only says that it is inside and that it is not, by plain stores. Another
//! that wants the lock takes that away again, and pays for both with a heavy fence
//! (`multiproc_sys::asymmetric`).
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | `lock` | excludes all but the one who has it to itself; its `owner` word: who has taken it last | as every [`RawLock`] |
//! | `alone` | which thread has it to itself, 0 if none | under `lock`: given by that thread to itself, taken away by any other |
//! | `slot`, `ticket` | that thread's slot, and a number that its process has given to nothing else | with `alone`, before it |
//! | `inside` of the thread's slot | the `ticket` of the lock it has to itself and is inside of, else 0 | that thread only |
//! | `turns` | how often the last has taken it in a row | under `lock` |
//! | `left` | a bell for whoever waits for the one inside, under `lock` | rung by the one who leaves and finds that it has the lock to itself no longer |
//!
//! `inside` is the thread's and not the lock's: a thread from which the lock was taken away may still be
//! about to say that it is inside, at any later time, and must not write over what another says.
//!
//! Inside is who holds `lock` after it has found `alone` 0, or has cleared it and then seen that the one
//! named there is not inside; or who has found itself in `alone` after it had said so in its `inside`. Never
//! both: one says `inside` and then reads `alone`, the other clears `alone` and then reads `inside`, with
//! the two fences between.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | to itself, anywhere | `alone` names somebody dead: whoever takes the lock clears it, and is told of a death |
//! | giving it to itself, `alone` not yet set | `lock` says so |
//! | taking it away, before `alone` is cleared | `lock` says so; the next finds `alone` as it was. It is cleared only once nobody is inside by it |
//! | leaving, the bell not yet rung | who waits is woken by the death |

use std::marker::PhantomData;

use crate::arena;
use crate::bell::Bell;
use crate::door::{AtomicU32, AtomicU64, Deadline, Ordering, TURNS, asymmetric};
use crate::lock::{LockError, RawGuard, RawLock, Taken, spin_limit};
use crate::presence::{self, Me};
use crate::sleep::Sleeper;

/// How often to look whether the one inside has left, before a sleep.
const LOOKS: u32 = 100;

/// In `alone`: taken away, but the one it was taken from may still be inside.
const LEAVING: u64 = 1 << 63;

/// See the module text. Zeroed memory is a free lock that nobody has to itself.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct AloneLock {
    lock: RawLock,
    alone: AtomicU64,
    slot: AtomicU32,
    ticket: AtomicU32,
    turns: AtomicU32,
    left: Bell,
}

/// A held [`AloneLock`].
#[derive(Debug)]
pub(crate) struct AloneGuard<'a> {
    held: Held<'a>,
    taken: Taken,
}

#[derive(Debug)]
enum Held<'a> {
    Locked {
        _guard: RawGuard<'a>,
    },
    Alone {
        lock: &'a AloneLock,
        me: Me,
        // Known as a thread.
        _here: PhantomData<*const ()>,
    },
}

impl AloneLock {
    /// Takes the lock, as one among many.
    ///
    /// Of one lock all takers use either this, or [`AloneLock::lock_often`].
    #[inline]
    pub(crate) fn lock(&self, deadline: Deadline) -> Result<AloneGuard<'_>, LockError> {
        let guard = self.lock.lock(deadline)?;
        Ok(AloneGuard::locked(guard.taken(), guard))
    }

    /// Takes the lock, perhaps to itself.
    #[inline]
    pub(crate) fn lock_often(&self, deadline: Deadline) -> Result<AloneGuard<'_>, LockError> {
        let me = presence::me();
        if let Some(me) = me
            && self.alone.load(Ordering::Relaxed) == me.token
            && let Some(guard) = self.enter(me)
        {
            return Ok(guard);
        }
        self.lock_slowly(me, deadline)
    }

    /// Runs `act` inside, if this thread has the lock to itself. Nothing is handed out that would have to be
    /// kept: see `ring/quick.rs`.
    #[inline]
    pub(crate) fn if_alone<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let me = presence::me()?;
        if self.alone.load(Ordering::Relaxed) != me.token || me.inside.load(Ordering::Relaxed) != 0
        {
            return None;
        }
        let ticket = self.ticket.load(Ordering::Relaxed);
        me.inside.store(u64::from(ticket), Ordering::Relaxed);
        // SYNC POINT alone, as in `enter`
        asymmetric::light();
        let mine = self.alone.load(Ordering::Acquire) == me.token;
        let result = mine.then(act);
        self.leave(me);
        result
    }

    /// Inside, if this thread has the lock to itself.
    #[inline]
    fn enter(&self, me: Me) -> Option<AloneGuard<'_>> {
        if me.inside.load(Ordering::Relaxed) != 0 {
            // Of this lock, and then it waits for itself, as with every lock; or of another, and then it
            // takes this one as anybody would.
            return None;
        }
        let ticket = self.ticket.load(Ordering::Relaxed);
        me.inside.store(u64::from(ticket), Ordering::Relaxed);
        // SYNC POINT alone: either this sees that it was taken away, or who takes it away sees us.
        asymmetric::light();
        let guard = AloneGuard::alone(self, me, Taken::Clean);
        // Dropped where it was taken away.
        (self.alone.load(Ordering::Acquire) == me.token).then_some(guard)
    }

    #[inline]
    fn leave(&self, me: Me) {
        // SYNC POINT alone: what was done inside is seen by whoever sees that we have left.
        me.inside.store(0, Ordering::Release);
        // SYNC POINT alone: either this sees that somebody waits, or that one sees that we have left.
        asymmetric::light();
        if self.alone.load(Ordering::Relaxed) != me.token {
            self.left.ring();
        }
    }

    #[cold]
    fn lock_slowly(&self, me: Option<Me>, deadline: Deadline) -> Result<AloneGuard<'_>, LockError> {
        let guard = self.lock.lock(deadline)?;
        let mut taken = guard.taken();
        let alone = self.alone.load(Ordering::Relaxed);
        if alone != 0 {
            self.turns.store(0, Ordering::Relaxed);
            if self.take_away(alone, deadline)?.is_after_death() {
                taken = Taken::AfterDeath;
            }
        }
        match me {
            Some(me) if self.has_earned_it(me.token) => {
                self.give_to(me);
                drop(guard);
                Ok(AloneGuard::alone(self, me, taken))
            }
            _ => Ok(AloneGuard::locked(taken, guard)),
        }
    }

    /// Under the lock: makes this thread the one that has it to itself, and is inside.
    fn give_to(&self, me: Me) {
        let ticket = presence::new_ticket();
        self.slot.store(me.slot, Ordering::Relaxed);
        self.ticket.store(ticket, Ordering::Relaxed);
        me.inside.store(u64::from(ticket), Ordering::Relaxed);
        self.alone.store(me.token, Ordering::Release);
    }

    /// Counts turns, under the lock.
    fn has_earned_it(&self, token: u64) -> bool {
        let last = self.lock.owner();
        if last.load(Ordering::Relaxed) != token {
            last.store(token, Ordering::Relaxed);
            self.turns.store(0, Ordering::Relaxed);
        }
        let turns = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turns.min(TURNS), Ordering::Relaxed);
        // Inside of another lock, it could not say that it is inside of this one, too.
        turns >= TURNS && presence::is_outside() && asymmetric::ready()
    }

    /// Returns once `alone`, who had the lock to itself, has it no longer and is not inside; whether that
    /// is because of a death.
    fn take_away(&self, alone: u64, deadline: Deadline) -> Result<Taken, LockError> {
        self.alone.store(alone | LEAVING, Ordering::SeqCst);
        // SYNC POINT alone
        asymmetric::heavy();
        let ticket = u64::from(self.ticket.load(Ordering::Relaxed));
        let slot = self.slot.load(Ordering::Relaxed);
        let mut sleeper = Sleeper::new(deadline);
        let mut looks = 0;
        let taken = loop {
            // In this order: a slot changes hands only after its thread has left, or its process has died.
            let is_inside = presence::is_inside(alone & !LEAVING, slot, ticket);
            if !presence::is_alive(alone & !LEAVING) {
                if let Some(arena) = arena::existing() {
                    arena.settle();
                }
                break Taken::AfterDeath;
            }
            if !is_inside {
                break Taken::Clean;
            }
            looks += 1;
            if looks < LOOKS && spin_limit() > 0 {
                std::hint::spin_loop();
                continue;
            }
            if deadline.has_passed() {
                return Err(LockError::TimedOut);
            }
            let armed = self.left.arm();
            if presence::is_inside(alone & !LEAVING, slot, ticket) {
                // However it ends, the words say what to do next.
                let _ = self.left.sleep(armed, &mut sleeper);
            }
        };
        self.alone.store(0, Ordering::Release);
        Ok(taken)
    }

    /// The thread that holds it by the kernel's list; 0 if none does, or one has the lock to itself.
    pub(crate) fn holder(&self) -> u32 {
        self.lock.holder()
    }

    /// Whether a thread of this process holds it by the kernel's list.
    pub(crate) fn is_held_here(&self) -> bool {
        self.lock.is_held_here()
    }
}

impl<'a> AloneGuard<'a> {
    #[inline]
    fn locked(taken: Taken, guard: RawGuard<'a>) -> AloneGuard<'a> {
        let held = Held::Locked { _guard: guard };
        AloneGuard { held, taken }
    }

    #[inline]
    fn alone(lock: &'a AloneLock, me: Me, taken: Taken) -> AloneGuard<'a> {
        let held = Held::Alone {
            lock,
            me,
            _here: PhantomData,
        };
        AloneGuard { held, taken }
    }

    /// Whether the owner before died.
    #[inline]
    pub(crate) fn taken(&self) -> Taken {
        self.taken
    }

    /// Whether the thread has the lock to itself: then leaving it is no fence.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.held, Held::Alone { .. })
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Held::Alone { lock, me, .. } = self {
            lock.leave(*me);
        }
    }
}
