//! The one door to atomics and to the kernel for the files that a model checker runs, too.
//!
//! `multiproc-model` compiles `lock.rs`, `alone.rs`, `bell.rs` and `log.rs` as they are beside a door of its own,
//! behind which a schedule, a futex and a death are chosen by the checker. So these files take such
//! things from here only.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

pub(crate) use multiproc_sys::clock::Deadline;
pub(crate) use multiproc_sys::{asymmetric, futex, robust};

/// Whoever takes a side so often in a row gets it to itself.
pub(crate) const TURNS: u32 = 64;

/// After so many rings in a row with nobody asleep, a ringer does without a fence.
pub(crate) const QUIET: u32 = 64;

/// How many processors this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
