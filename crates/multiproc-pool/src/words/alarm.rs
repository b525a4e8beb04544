//! Where one thread sleeps until somebody rings: the collecting thread, and the supervisor.
//!
//! | state | meaning | leaves to |
//! |---|---|---|
//! | 0 | awake, and not rung since it last looked | `ASLEEP` by [`Alarm::arm`], `RUNG` by a ringer |
//! | `ASLEEP` | asleep, or about to | `RUNG` by a ringer, who wakes it; 0 by its own waking up |
//! | `RUNG` | rung since it last looked | 0 by [`Alarm::arm`], which then refuses |
//!
//! Sleeper: look at everything, [`Alarm::arm`], [`Alarm::sleep`]. Ringer: change something, then
//! [`Alarm::ring`]. A ring while the sleeper looks is not lost: arming is refused. A ringer killed
//! between its store and the wake leaves a sleeper whom that death wakes.

use crate::door::{AtomicU32, Ordering, Sleeper, fence, futex};

/// A place where one thread sleeps until rung.
#[derive(Clone, Copy)]
pub(crate) struct Alarm<'a>(pub(crate) &'a AtomicU32);

const ASLEEP: u32 = 1;
pub(crate) const RUNG: u32 = 2;

impl Alarm<'_> {
    /// About to sleep. `false`: it was rung; look again instead.
    #[must_use = "whoever was rung must look again"]
    pub(crate) fn arm(self) -> bool {
        // SYNC POINT bell: whoever rings after this sees `ASLEEP`, whoever rang before left `RUNG`.
        let armed = self
            .0
            .compare_exchange(0, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        if armed.is_err() {
            self.disarm();
            return false;
        }
        // What is looked at from here on need not be consistent by itself.
        fence(Ordering::SeqCst);
        true
    }

    /// Awake, and about to look at everything.
    pub(crate) fn disarm(self) {
        self.0.swap(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Sleeps until rung after [`Alarm::arm`]. Returns early, too: then `false`.
    pub(crate) fn sleep(self, sleeper: &mut Sleeper) -> bool {
        let _ = sleeper.on(self.0, ASLEEP);
        let rung = self.0.swap(0, Ordering::SeqCst) == RUNG;
        fence(Ordering::SeqCst);
        rung
    }

    /// Wakes the sleeper, or has it look again before it sleeps.
    pub(crate) fn ring(self) {
        // SYNC POINT bell
        fence(Ordering::SeqCst);
        self.ring_after_fence();
    }

    /// As [`Alarm::ring`], after a fence of the caller's. Whether there was a sleeper.
    pub(crate) fn ring_after_fence(self) -> bool {
        if self.0.load(Ordering::Relaxed) == RUNG {
            return false;
        }
        let slept = self.0.swap(RUNG, Ordering::SeqCst) == ASLEEP;
        if slept {
            futex::wake(self.0, 1);
        }
        slept
    }
}
