//! A word that counts events, to sleep on until the next one.
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 0 | somebody sleeps, or did and was killed: a flag, as a count would leak with a killed sleeper | set by sleepers, cleared by a waker who finds that nobody is left |
//! | 1.. | events so far; it wraps | +1 by whoever announces one |
//!
//! Sleeper: [`arm`](Sequence::arm), look at the condition, [`sleep`](Sequence::sleep); or
//! [`wait`](Sequence::wait) for the event itself. Waker: change the condition, then [`announce`](Sequence::announce).
//! The fence in both makes one of them see the other.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | sleeper armed or asleep | the flag set for nobody: the next event looks for sleepers in vain, and clears it |
//! | sleeper woken, has done nothing | the death wakes the other sleepers; those who slept before the event find it over |
//! | waker after its change, before the count | the old count: the sleepers look at their condition when the death wakes them |
//! | waker between count and wake | the event is over: the sleepers see it when the death wakes them |

use crate::door::futex::{self, Woken};
use crate::door::{AtomicU32, Deadline, Ordering, Sleeper, fence};

const WAITING: u32 = 1;
const STEP: u32 = 2;

/// A view of such a word. Zeroed memory is one that nobody waits for.
#[derive(Clone, Copy)]
pub(crate) struct Sequence<'a>(&'a AtomicU32);

/// The event that a sleeper waits to be over: the next one after [`Sequence::arm`].
#[derive(Clone, Copy)]
pub(crate) struct Armed(u32);

impl Sequence<'_> {
    pub(crate) fn new(word: &AtomicU32) -> Sequence<'_> {
        Sequence(word)
    }

    /// Says that this thread is about to sleep. Look at the condition *after* it.
    #[must_use = "the value is what to sleep on"]
    pub(crate) fn arm(self) -> Armed {
        let armed = self.0.fetch_or(WAITING, Ordering::SeqCst) | WAITING;
        // SYNC POINT sequence: either the waker sees the flag, or the caller's next look sees the change.
        fence(Ordering::SeqCst);
        Armed(armed)
    }

    /// Sleeps unless an event has come since `armed`. Returns early, too.
    pub(crate) fn sleep(self, armed: Armed, sleeper: &mut Sleeper) -> Woken {
        let now = self.0.fetch_or(WAITING, Ordering::SeqCst) | WAITING;
        if now != armed.0 {
            return Woken::Changed;
        }
        sleeper.on(self.0, armed.0)
    }

    /// Sleeps until an event has come since `armed`, or until the deadline; true if one has.
    pub(crate) fn wait(self, armed: Armed, deadline: Deadline) -> bool {
        let mut sleeper = Sleeper::new(deadline);
        while !self.is_over(armed) {
            if self.sleep(armed, &mut sleeper) == Woken::TimedOut {
                return self.is_over(armed);
            }
        }
        true
    }

    /// Whether an event has come since `armed`.
    fn is_over(self, armed: Armed) -> bool {
        self.0.load(Ordering::Acquire) / STEP != armed.0 / STEP
    }

    /// Announces an event and wakes at most `sleepers`. Costs a fence and a load where nobody sleeps.
    #[inline]
    pub(crate) fn announce(self, sleepers: u32) {
        // SYNC POINT sequence
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) & WAITING != 0 {
            self.wake(sleepers);
        }
    }

    #[cold]
    fn wake(self, sleepers: u32) {
        let count = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        if futex::wake(self.0, sleepers) >= sleepers {
            return;
        }
        // All are awake. Clear the flag, then wake again: somebody may have gone to sleep on `count`
        // between the wake and the clearing, and no later waker would see the flag.
        let cleared =
            self.0
                .compare_exchange(count, count & !WAITING, Ordering::SeqCst, Ordering::Relaxed);
        if cleared.is_ok() {
            futex::wake_all(self.0);
        }
    }
}
