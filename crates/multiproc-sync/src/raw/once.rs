//! Something that is done once: a lock, and whether it has been done.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | lock | somebody is doing it | whoever does |
//! | done | 0 not yet, 1 done | the holder, after its function returned |
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | before `done` | a lock that is taken over, and not done: the next caller runs its function |
//! | after | done |

use crate::door::{AtomicU64, Deadline, LockError, Object, Ordering};

#[inline]
fn done(object: &Object) -> &AtomicU64 {
    &object.words()[0]
}

#[inline]
pub(crate) fn is_done(object: &Object) -> bool {
    // SYNC POINT once
    done(object).load(Ordering::Acquire) != 0
}

/// Runs `f` unless one has been run; true if it was this one.
#[cold]
pub(crate) fn call(
    object: &Object,
    f: impl FnOnce(),
    deadline: Deadline,
) -> Result<bool, LockError> {
    // A dead runner has not finished: its lock is taken over in silence.
    let held = object.lock().lock(deadline)?;
    let first = !is_done(object);
    if first {
        f();
        // A copy that `f` forked comes by here, too, and does not speak for the runner.
        if held.is_mine() {
            // SYNC POINT once: whoever finds it done sees what was done.
            done(object).store(1, Ordering::Release);
        }
    }
    Ok(first)
}
