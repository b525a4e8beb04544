//! What the pool tells its workers of its end: one word, which only grows.
//!
//! | value | meaning | set by |
//! |---|---|---|
//! | 0 | tasks may come for ever | |
//! | `CLOSING` | no new ones will come: who goes idle tells the parent of its results | the parent, when it is closed |
//! | `LEAVING` | every chunk is answered: who is idle leaves | the parent, of a closed pool with nothing left to do |
//! | `OVER` | leave after the item in hand | the parent, when the pool is broken or terminated |
//!
//! Close, the last answer and terminate may come at once, on threads of the parent; so each raises the
//! word and none lowers it.

use crate::door::{AtomicU32, Ordering};

const CLOSING: u32 = 1;
const LEAVING: u32 = 2;
const OVER: u32 = 3;

/// The word.
#[derive(Clone, Copy)]
pub(crate) struct EndWord<'a>(pub(crate) &'a AtomicU32);

/// What it said to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said(u32);

impl Said {
    /// Whether idle workers leave.
    pub(crate) fn leave_when_idle(self) -> bool {
        self.0 >= LEAVING
    }

    /// Whether the parent lets go when it has seen every result.
    pub(crate) fn is_closing(self) -> bool {
        self.0 == CLOSING
    }
}

impl EndWord<'_> {
    /// No new tasks will come.
    pub(crate) fn close(self) {
        let _ = self
            .0
            .compare_exchange(0, CLOSING, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Every chunk is answered. `true`: for the first time, so the idle must be told.
    #[must_use = "sleeping workers must be told"]
    pub(crate) fn let_go(self) -> bool {
        self.0.fetch_max(LEAVING, Ordering::AcqRel) < LEAVING
    }

    /// Leave after the item in hand.
    pub(crate) fn dismiss(self) {
        self.0.fetch_max(OVER, Ordering::AcqRel);
    }

    pub(crate) fn get(self) -> Said {
        Said(self.0.load(Ordering::Acquire))
    }

    /// Whether a worker is to leave in the middle of a chunk.
    pub(crate) fn is_over(self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }
}
