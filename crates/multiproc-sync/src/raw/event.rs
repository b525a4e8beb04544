//! The word of an event. No lock: setting it is one compare-exchange.
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 0 | the event is set | `set` and `clear` |
//! | 1 | somebody sleeps, or did and was killed | set by sleepers; cleared by `set`, once all are awake |
//! | 2.. | how often it was set; it wraps | +1 by the `set` that changes bit 0 |
//!
//! A sleeper leaves when the count has moved, so a `clear` right behind a `set` takes nobody's wake.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | sleeper, anywhere | bit 1 for nobody: one wake in vain |
//! | `set` before its store | nothing happened |
//! | `set` between the store and the wake | it is set, and bit 1 stays: the death wakes the sleepers, and so does the next `set` |
//! | `set` between the wake and the clearing of bit 1 | one wake in vain |

use crate::door::futex::{self, Woken};
use crate::door::{AtomicU32, Deadline, Ordering, Sleeper, spin_limit};

const SET: u32 = 1;
const WAITING: u32 = 2;
const STEP: u32 = 4;

/// A view of such a word. Zeroed memory is an event that is not set.
#[derive(Clone, Copy)]
pub(crate) struct Flag<'a>(&'a AtomicU32);

impl<'a> Flag<'a> {
    #[inline]
    pub(crate) fn new(word: &'a AtomicU32) -> Flag<'a> {
        Flag(word)
    }

    /// The word to sleep on together with others, and the bit that says so.
    pub(crate) fn watched(self) -> (&'a AtomicU32, u32) {
        (self.0, WAITING)
    }

    pub(crate) fn set(self) {
        let word = self.0;
        let next = |now: u32| match now & SET {
            0 => Some(now.wrapping_add(STEP) | SET),
            _ => None,
        };
        // SYNC POINT event: what happened before `set` happens before the return of `wait`.
        let now = match word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(before) => before.wrapping_add(STEP) | SET,
            Err(now) => now,
        };
        if now & WAITING != 0 {
            futex::wake_all(word);
            // If it has changed, somebody else's `set` will do this.
            let _ =
                word.compare_exchange(now, now & !WAITING, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(self) {
        self.0.fetch_and(!SET, Ordering::AcqRel);
    }

    #[inline]
    pub(crate) fn is_set(self) -> bool {
        self.0.load(Ordering::Acquire) & SET != 0
    }

    /// Waits until it is set; true if it was.
    pub(crate) fn wait(self, deadline: Deadline) -> bool {
        let word = self.0;
        // SYNC POINT event
        let first = word.load(Ordering::Acquire);
        let is_over = |now: u32| now & SET != 0 || now / STEP != first / STEP;
        if is_over(first) {
            return true;
        }
        if deadline.has_passed() {
            return false;
        }
        for _ in 0..spin_limit() {
            std::hint::spin_loop();
            if is_over(word.load(Ordering::Acquire)) {
                return true;
            }
        }
        let mut sleeper = Sleeper::new(deadline);
        loop {
            let arm = |now: u32| (!is_over(now)).then_some(now | WAITING);
            let Ok(before) = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, arm) else {
                return true;
            };
            if sleeper.on(word, before | WAITING) == Woken::TimedOut {
                return is_over(word.load(Ordering::Acquire));
            }
        }
    }
}
