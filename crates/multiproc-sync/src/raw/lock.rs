//! A robust lock that knows who holds it.
//!
//! The owner word and its states are `multiproc_sys::robust`, how a thread waits for it is
//! `multiproc_shm::RawLock`. This file owns the two words beside it that say *who*:
//!
//! | word | meaning | who writes, when |
//! |---|---|---|
//! | 0 | the owner as a member, 0 = not said | the owner, after it took the lock; 0 before it gives it back |
//! | 1 | its process id (upper half) and thread id | the owner, before word 0 |
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | lock taken, word 0 not yet written | `OwnerDied` by an unknown process: better than a wrong name |
//! | word 0 written | `OwnerDied` with name and pid |
//! | word 0 cleared, lock not yet given back | `OwnerDied` by an unknown process; what the lock guards is whole |

use std::sync::atomic::Ordering;

use multiproc_shm::{LockError, MemberId, RawGuard, RawLock, family};
use multiproc_sys::clock::Deadline;
use multiproc_sys::robust;

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
fn sign(lock: &RawLock) {
    let [member, ids] = lock.owner();
    let me = family::me().map_or(0, MemberId::bits);
    ids.store(
        u64::from(std::process::id()) << 32 | u64::from(robust::tid()),
        Ordering::Relaxed,
    );
    member.store(me, Ordering::Relaxed);
}

/// Before the lock is given back: from now on it was not this owner who died with it.
#[inline]
pub(crate) fn sign_off(lock: &RawLock) {
    lock.owner()[0].store(0, Ordering::Relaxed);
}

/// Who holds the lock, or held it when it died; `None` if it has not said.
pub(crate) fn owner(lock: &RawLock) -> Option<Owner> {
    let [member, ids] = lock.owner().map(|word| word.load(Ordering::Relaxed));
    let member = MemberId::from_bits(member)?;
    let name = family::name_of(member).unwrap_or_else(|| String::from("a process that has ended"));
    Some(Owner {
        name,
        pid: (ids >> 32) as u32,
        tid: ids as u32,
    })
}
