//! The shared words of multiproc under a model checker: all schedules of a few threads, one of which
//! may stop for ever at any step.
//!
//! | what | which code runs |
//! |---|---|
//! | how a lock is waited for, and who is told of a death | `multiproc-shm`'s `lock.rs`, as it is |
//! | a lock that one thread has to itself | `multiproc-shm`'s `alone.rs`, as it is |
//! | bell | `multiproc-shm`'s `bell.rs`, as it is |
//! | redo log | `multiproc-shm`'s `log.rs`, as it is |
//! | holders, copies, sequence, event, once, semaphore, gate for readers and writers, barrier | `multiproc-sync`'s `raw/*.rs`, as they are |
//! | what a pool's worker has taken, who is stopped, the pool's end, where its parent sleeps | `multiproc-pool`'s `words/*.rs`, as they are |
//! | robust word | a model with the same steps (`door.rs`): the file itself is about the kernel's list, and is covered by the kill at every instruction |
//! | send, receive | a model of `multiproc-shm`'s `ring/quick.rs` over the above (`pipe_tests.rs`) |
//! | put, get, cursors | a model of `multiproc-queue`'s PROTOCOL.md over the above (`queue_tests.rs`) |
//! | tasks and outcomes | a model of `multiproc-pool`'s PROTOCOL.md over the above (`pool_tests.rs`) |
//!
//! The futex, the kernel's walk at a death, who is alive and time are models, too: see `door.rs` and
//! `family.rs`. `ci/model.sh` runs it; the checker explores up to two preemptions, with `CHAOS=n`
//! three.

#![cfg(all(test, multiproc_model))]

// ---------------------------------------------------------------- the world of the models
mod arena;
mod deadlock;
mod door;
mod family;
mod mortal;
mod object;
mod presence;
mod sleep;

// ---------------------------------------------------------------- the code of the other crates
#[path = "../../multiproc-shm/src/alone.rs"]
#[expect(dead_code, reason = "only in part needed here")]
mod alone;
#[path = "../../multiproc-shm/src/bell.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public there, and only in part needed here"
)]
mod bell;
#[path = "../../multiproc-sync/src/error.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public there, and only in part needed here"
)]
mod error;
#[path = "../../multiproc-shm/src/lock.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public there, and only in part needed here"
)]
mod lock;
#[path = "../../multiproc-shm/src/log.rs"]
mod log;
#[path = "../../multiproc-sync/src/plain.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public there, and only in part needed here"
)]
mod plain;
#[path = "../../multiproc-pool/src/words/alarm.rs"]
mod pool_alarm;
#[path = "../../multiproc-pool/src/words/claim.rs"]
#[expect(dead_code, reason = "only in part needed here")]
mod pool_claim;
#[path = "../../multiproc-pool/src/words/seek.rs"]
mod pool_seek;
#[path = "../../multiproc-pool/src/words/state.rs"]
mod pool_state;
#[path = "../../multiproc-sync/src/raw/mod.rs"]
#[expect(dead_code, reason = "only in part needed here")]
mod raw;

// ---------------------------------------------------------------- the models
mod barrier_tests;
mod event_tests;
mod holders_tests;
mod lock_tests;
mod log_tests;
mod once_tests;
mod pipe_tests;
mod pool_tests;
mod queue_tests;
mod rwlock_tests;
mod semaphore_tests;
mod sequence_tests;
