//! A robust lock that knows who holds it.
//!
//! The owner word and its states are `multiproc_sys::robust`, how a thread waits for it is
//! `multiproc_shm::RawLock`. This file owns the word beside it that says *who*: the owner as a
//! member, 0 = not said. The owner writes it after it took the lock, and 0 before it gives it back.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | lock taken, not yet signed | `OwnerDied` by an unknown process: better than a wrong name |
//! | signed | `OwnerDied` with name and pid |
//! | signed off, lock not yet given back | `OwnerDied` by an unknown process; what the lock guards is whole |

use std::fmt::DebugStruct;

use crate::door::{Deadline, LockError, MemberId, Ordering, RawGuard, RawLock, family};
use crate::error::AcquireError;

/// A process and thread that holds or held a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
}

/// Takes the lock and says who has it.
#[inline]
pub(crate) fn take(lock: &RawLock, deadline: Deadline) -> Result<RawGuard<'_>, LockError> {
    let guard = lock.lock_if_sound(deadline)?;
    sign(lock);
    Ok(guard)
}

/// Takes the lock though its owner died, which is over with this.
pub(crate) fn take_over(lock: &RawLock, deadline: Deadline) -> Result<RawGuard<'_>, LockError> {
    let guard = lock.lock(deadline)?;
    sign(lock);
    Ok(guard)
}

#[inline]
pub(crate) fn sign(lock: &RawLock) {
    let me = family::me().map_or(0, MemberId::bits);
    lock.owner().store(me, Ordering::Relaxed);
}

/// Before the lock is given back: from now on it was not this owner who died with it. Nothing where
/// another holds it: the lock may have been released by hand, or the guard be a copy in a fork.
#[inline]
pub(crate) fn sign_off(lock: &RawLock) {
    if lock.is_mine() {
        lock.owner().store(0, Ordering::Relaxed);
    }
}

/// Who holds the lock, or held it when it died; `None` if it has not said.
pub(crate) fn owner(lock: &RawLock) -> Option<Owner> {
    let member = MemberId::from_bits(lock.owner().load(Ordering::Relaxed))?;
    Some(Owner {
        name: family::name_of(member).unwrap_or_else(|| String::from("a process that has ended")),
        pid: family::pid_of(member).unwrap_or(0),
        tid: lock.holder(),
    })
}

/// What to tell a user whom the lock was refused.
#[cold]
pub(crate) fn refused(lock: &RawLock, error: LockError) -> AcquireError {
    AcquireError::from_lock(error, || match owner(lock) {
        Some(owner) => (owner.pid, owner.name),
        None => (0, String::from("unknown")),
    })
}

/// Who holds the lock, for `Debug` texts.
pub(crate) fn describe(lock: &RawLock, text: &mut DebugStruct<'_, '_>) {
    if !lock.is_held() && !lock.is_suspect() {
        text.field("held", &false);
        return;
    }
    let Some(owner) = owner(lock) else {
        text.field("held", &true);
        return;
    };
    let how = if lock.is_suspect() {
        "died_with"
    } else {
        "held_by"
    };
    text.field(how, &owner.name)
        .field("pid", &owner.pid)
        .field("thread", &owner.tid);
}
