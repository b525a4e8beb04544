//! The shared words of multiproc under a model checker: all schedules of a few threads, one of which
//! may stop for ever at any step.
//!
//! | what | which code runs |
//! |---|---|
//! | how a lock is waited for, and who is told of a death | `multiproc-shm`'s `lock.rs`, as it is |
//! | bell | `multiproc-shm`'s `bell.rs`, as it is |
//! | redo log | `multiproc-shm`'s `log.rs`, as it is |
//! | robust word | a model with the same steps (`door.rs`): the file itself is about the kernel's list, and is covered by the kill at every instruction |
//! | put, get, cursors | a model of `multiproc-queue`'s PROTOCOL.md over the above (`queue_tests.rs`) |
//!
//! The futex, the kernel's walk at a death and time are models, too: see `door.rs`. `ci/model.sh` runs
//! it; the checker explores up to two preemptions, with `CHAOS=n` three.

#[cfg(all(test, multiproc_model))]
mod arena;
#[cfg(all(test, multiproc_model))]
#[path = "../../multiproc-shm/src/bell.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public there, and only in part needed here"
)]
mod bell;
#[cfg(all(test, multiproc_model))]
mod deadlock;
#[cfg(all(test, multiproc_model))]
mod door;
#[cfg(all(test, multiproc_model))]
#[path = "../../multiproc-shm/src/lock.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public there, and only in part needed here"
)]
mod lock;
#[cfg(all(test, multiproc_model))]
#[path = "../../multiproc-shm/src/log.rs"]
mod log;
#[cfg(all(test, multiproc_model))]
mod mortal;
#[cfg(all(test, multiproc_model))]
mod sleep;

#[cfg(all(test, multiproc_model))]
mod lock_tests;
#[cfg(all(test, multiproc_model))]
mod log_tests;
#[cfg(all(test, multiproc_model))]
mod queue_tests;
