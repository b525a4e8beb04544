//! The one door to atomics, to the kernel and to shared memory for the files that a model checker
//! runs, too: those in `raw`, with what they need.
//!
//! `multiproc-model` compiles them as they are beside a door of its own, behind which a schedule, a
//! futex and a death are chosen by the checker. So they take such things from here only.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use multiproc_shm::{
    Bell, CreateError, DeadlockLink, Kind, LockError, MemberId, Object, RawGuard, RawLock, Sleeper,
    family, spin_limit, take_cycle,
};
pub(crate) use multiproc_sys::clock::Deadline;
pub(crate) use multiproc_sys::futex::{self, Woken};

/// Between two sequentially consistent accesses of one thread, which need no more. The checker takes
/// such accesses for less than they are, and has a fence here.
#[inline]
pub(crate) fn between_consistent_accesses() {}
