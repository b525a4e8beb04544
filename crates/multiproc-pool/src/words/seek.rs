//! Which worker is awake and looks for a task: one word.
//!
//! Waking a worker takes longer than a small task. So while one is awake and looks, a task that is
//! pushed wakes nobody else.
//!
//! | value | meaning | set by |
//! |---|---|---|
//! | 0 | nobody: a push rings | the seeker, when it has found something or gives up; whoever buries it |
//! | slot + 1 | the worker of that slot looks at the task ring, and will once more after it has put 0 here | that worker, from 0 |
//!
//! The race: a push finds the seeker, which has just looked for the last time. Parent: push, fence, read
//! this. Seeker: put 0, fence, look at the ring. One sees the other. More than one task may have been
//! pushed meanwhile, so a seeker that finds several rings for the rest.
//!
//! # Killed here: survivors see
//!
//! A seeker that is not there any more. Its death wakes every sleeper, which looks at the ring; pushes ring
//! nobody until it is buried, and then they are rung for. One that is *stopped* holds up what is pushed
//! until a sleeper looks by itself, which it does every two seconds at the latest.

use crate::door::{AtomicU32, Ordering, fence};

/// The word.
#[derive(Clone, Copy)]
pub(crate) struct SeekWord<'a>(pub(crate) &'a AtomicU32);

impl SeekWord<'_> {
    /// To be the one that looks. `false`: another is.
    pub(crate) fn begin(self, slot: usize) -> bool {
        let me = slot as u32 + 1;
        self.0
            .compare_exchange(0, me, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    /// No more, by the one that was. Look at the ring *after* it.
    pub(crate) fn end(self) {
        self.0.swap(0, Ordering::SeqCst);
        // SYNC POINT seek
        fence(Ordering::SeqCst);
    }

    /// The worker of `slot` is gone. `true`: it was the one, so what was pushed must be rung for.
    #[must_use = "nobody was rung for what was pushed meanwhile"]
    pub(crate) fn bury(self, slot: usize) -> bool {
        let gone = slot as u32 + 1;
        let was = self
            .0
            .compare_exchange(gone, 0, Ordering::SeqCst, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        was.is_ok()
    }

    /// After a push: whether somebody is awake, and will find it.
    pub(crate) fn is_there(self) -> bool {
        // SYNC POINT seek
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) != 0
    }
}
