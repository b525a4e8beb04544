//! A word to sleep on until somebody says that something changed.
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 0 | somebody sleeps, or did and was killed: a flag, as a count would leak with a killed sleeper | set by sleepers, cleared by a ringer who finds nobody |
//! | 1 | among the sleepers is one that also waits for other things, and may take nothing | set by such sleepers, cleared by the ringer that wakes all |
//! | 2 | whoever rings most often does it without a fence, so that a sleeper needs a heavy one | the thread that has its side of the ring to itself, while it has (`alone.rs`); others never |
//! | 3.. | sequence, so that a sleeper armed before the ring does not sleep | +1 by each ringer |
//!
//! Sleeper: [`Bell::arm`], look at the condition again, [`Bell::sleep`]. Ringer: change the
//! condition, then [`Bell::ring`]. The fence in both makes one of them see the other.
//!
//! Between two cores a fence costs more than all else that a small message needs: it waits until every
//! line that was written has been fetched from the other core. So one ringer may do without
//! ([`Bell::ring_lightly`]) once it has found nobody asleep for a while, and says so by bit 2; then each
//! sleeper that finds the bit pays for both, a fraction of a microsecond. That ringer alone sets and
//! clears the bit: cleared by another, it would be believed by a sleeper while the ringer's change
//! is still on its way.
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
use crate::door::{AtomicU32, Ordering, QUIET, asymmetric, compiler_fence, fence};
use crate::sleep::Sleeper;

const WAITING: u32 = 1;
const WATCHED: u32 = 2;
const LIGHT: u32 = 4;
const STEP: u32 = 8;

/// A bell in shared memory. See the [module text](crate::protocol). Zeroed memory is a bell that nobody waits for.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Bell(AtomicU32);

/// How often one ringer has found nobody asleep. Private to the process; a wrong number costs a fence.
#[derive(Debug, Default)]
pub struct Quiet(std::sync::atomic::AtomicU32);

impl Quiet {
    /// Counts, and says whether it has lasted.
    fn lasts(&self) -> bool {
        let rings = self.0.load(Ordering::Relaxed) + 1;
        self.0.store(rings.min(QUIET), Ordering::Relaxed);
        rings >= QUIET
    }

    fn ends(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

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
        let before = self.0.fetch_or(WAITING, Ordering::SeqCst);
        Bell::armed(before);
        Armed(before | WAITING)
    }

    /// The sleeper's fence, by what the word was before it set its mark.
    #[inline]
    pub(crate) fn armed(before: u32) {
        // SYNC POINT bell: either the ringer sees the flag, or the caller's next look sees the change.
        if before & LIGHT == 0 {
            fence(Ordering::SeqCst);
        } else {
            asymmetric::heavy();
        }
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

    /// As [`Bell::ring`], without a fence where that has been agreed upon.
    ///
    /// Only by the thread that has its side to itself ([`TailGuard::is_alone`](crate::TailGuard::is_alone)), and while it does.
    #[inline]
    pub(crate) fn ring_lightly(&self, quiet: &Quiet) {
        // SYNC POINT bell
        asymmetric::light();
        if self.0.load(Ordering::Relaxed) & (WAITING | LIGHT) != LIGHT {
            self.ring_and_learn(quiet);
        }
    }

    /// With a fence; decides whether the next ring may do without.
    #[cold]
    fn ring_and_learn(&self, quiet: &Quiet) {
        // SYNC POINT bell
        fence(Ordering::SeqCst);
        let seen = self.0.load(Ordering::Relaxed);
        if seen & WAITING != 0 {
            quiet.ends();
            if seen & LIGHT != 0 {
                self.0.fetch_and(!LIGHT, Ordering::SeqCst);
            }
            self.ring_some(1);
        } else if quiet.lasts() && self.0.fetch_or(LIGHT, Ordering::SeqCst) & WAITING != 0 {
            // Lay down without a heavy fence: what was changed before the bit is visible all the same.
            self.ring_some(1);
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
