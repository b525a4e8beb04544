//! A word to sleep on until somebody says that something changed.
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 0 | somebody sleeps, or did and was killed: a flag, as a count would leak with a killed sleeper | set by sleepers, cleared by a ringer who finds nobody |
//! | 1 | among the sleepers is one that also waits for other things, and may take nothing | set by such sleepers, cleared by the ringer that wakes all |
//! | 2.. | sequence, so that a sleeper armed before the ring does not sleep | +1 by each ringer |
//!
//! Sleeper: [`Bell::arm`], look at the condition again, [`Bell::sleep`]. Ringer: change the
//! condition, then [`Bell::ring`]. The fence in both makes one of them see the other.
//!
//! A ring wakes one, as one change is for one taker. A sleeper that waits for several things may
//! leave with something else, so a ring that finds bit 1 wakes all. It decides by the value that its
//! own step replaced: whoever sets the bit after that step sees the change when it looks.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | sleeper armed or asleep | the flag set for nobody: one wake that finds nobody clears it |
//! | sleeper woken, has done nothing | others may sleep on beside a true condition: the death wakes every published sleeper, and each looks again after 100 ms at the latest |
//! | ringer after its change, before the ring | as above |
//! | ringer between the clearing of a flag and the wake behind it | as above |

use crate::door::futex::{self, Woken};
use crate::door::{AtomicU32, Ordering, compiler_fence, fence};
use crate::sleep::Sleeper;

const WAITING: u32 = 1;
const WATCHED: u32 = 2;
const STEP: u32 = 4;

/// A bell in shared memory. See the [module text](crate::protocol). Zeroed memory is a bell that nobody waits for.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Bell(AtomicU32);

/// A bell value to sleep on: from [`Bell::arm`].
#[derive(Clone, Copy, Debug)]
pub struct Armed(u32);

impl Bell {
    /// A half word of shared memory as a bell.
    #[inline]
    pub(crate) fn at(word: &AtomicU32) -> &Bell {
        // SAFETY: a `Bell` is an `AtomicU32` and nothing else (`repr(transparent)`), valid for any
        // bits; the borrow is that of the word.
        unsafe { &*std::ptr::from_ref(word).cast::<Bell>() }
    }

    /// Says that this thread is about to sleep. Look at the condition *after* it.
    #[must_use = "the value is what to sleep on"]
    pub fn arm(&self) -> Armed {
        let armed = self.0.fetch_or(WAITING, Ordering::SeqCst) | WAITING;
        // SYNC POINT bell: either the ringer sees the flag, or the caller's next look sees the change.
        fence(Ordering::SeqCst);
        Armed(armed)
    }

    /// Sleeps unless the bell has rung since `armed`.
    pub fn sleep(&self, armed: Armed, sleeper: &mut Sleeper) -> Woken {
        sleeper.on(&self.0, armed.0)
    }

    /// The word to sleep on together with others, and the bits that say so: what a
    /// [`Waitable`](crate::Waitable) gives away.
    pub(crate) fn watched(&self) -> (&AtomicU32, u32) {
        (&self.0, WAITING | WATCHED)
    }

    /// Wakes one sleeper, if there is any; all, if one of them waits for other things, too. Costs a fence and a load where there is none.
    #[inline]
    pub fn ring(&self) {
        // SYNC POINT bell
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) & WAITING != 0 {
            self.ring_some(1);
        }
    }

    /// As [`Bell::ring`], for `changes` that are each for one taker.
    #[inline]
    pub fn ring_many(&self, changes: usize) {
        // SYNC POINT bell
        fence(Ordering::SeqCst);
        if changes > 0 && self.0.load(Ordering::Relaxed) & WAITING != 0 {
            self.ring_some(u32::try_from(changes).unwrap_or(u32::MAX));
        }
    }

    /// As [`Bell::ring`], for a thread that has released a lock since it changed the condition.
    ///
    /// The release is a read-modify-write, which on x86 orders what comes before and after it as a
    /// fence does; a second fence would cost as much as the rest of a small push.
    #[inline]
    pub fn ring_after_release(&self) {
        if cfg!(target_arch = "x86_64") {
            compiler_fence(Ordering::SeqCst);
            if self.0.load(Ordering::Relaxed) & WAITING != 0 {
                self.ring_some(1);
            }
        } else {
            self.ring();
        }
    }

    #[cold]
    fn ring_some(&self, most: u32) {
        let before = self.0.fetch_add(STEP, Ordering::SeqCst);
        if before & WATCHED != 0 {
            // Cleared first: who sets it from now on is awake, and looks.
            self.0.fetch_and(!WATCHED, Ordering::SeqCst);
            futex::wake_all(&self.0);
            return;
        }
        if futex::wake(&self.0, most) > 0 {
            return;
        }
        let rung = before.wrapping_add(STEP);
        // Nobody slept. Clear the flag, then wake again: somebody may have gone to sleep on `rung`
        // between the wake and the clearing, and no later ringer would see the flag.
        let cleared = rung & !WAITING;
        let answer = self
            .0
            .compare_exchange(rung, cleared, Ordering::SeqCst, Ordering::Relaxed);
        if answer.is_ok() {
            futex::wake_all(&self.0);
        }
    }

    /// Wakes every sleeper: for changes that concern all, such as a close.
    pub fn ring_all(&self) {
        fence(Ordering::SeqCst);
        self.0.fetch_add(STEP, Ordering::SeqCst);
        futex::wake_all(&self.0);
    }

    /// Whether somebody sleeps here, or was killed doing so.
    pub fn is_armed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & WAITING != 0
    }
}
