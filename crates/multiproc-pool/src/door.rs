//! What the shared words are made of. The model checker has a door of its own in this one's place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use multiproc_shm::Sleeper;
pub(crate) use multiproc_sys::futex;

/// Nothing: sequentially consistent accesses have one order. The checker knows that of fences only.
#[inline]
pub(crate) fn between_consistent_accesses() {}
