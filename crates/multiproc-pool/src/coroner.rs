//! What can be found out about a worker that was killed: whether it was for lack of memory.

use std::sync::atomic::{AtomicU64, Ordering};

use multiproc_process::ExitStatus;
use multiproc_sys::usage::OomKills;

/// The kernel's way to kill for lack of memory.
const KILL: i32 = 9;

/// Looks into the deaths of one pool's workers.
pub(crate) struct Coroner {
    /// `None`: memory is not limited by groups here.
    kills: Option<OomKills>,
    /// How many the counter has shown so far.
    seen: AtomicU64,
}

impl Coroner {
    /// Before the first worker is started.
    pub(crate) fn new() -> Coroner {
        let kills = OomKills::of_this_process();
        let seen = kills.as_ref().and_then(OomKills::count).unwrap_or(0);
        Coroner {
            kills,
            seen: AtomicU64::new(seen),
        }
    }

    /// Whether a worker that ended so was killed because its control group had used up its memory.
    ///
    /// The counter is the group's: another process of it may be the one that was killed. Each count
    /// is credited to one death.
    pub(crate) fn was_oom(&self, status: ExitStatus) -> bool {
        if status.signal() != Some(KILL) {
            return false;
        }
        let count = self.kills.as_ref().and_then(OomKills::count);
        count.is_some_and(|count| {
            let counted = |seen| (seen < count).then_some(seen + 1);
            self.seen
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted)
                .is_ok()
        })
    }
}
