//! Locks between processes that survive the death of their owner.
//!
//! ```
//! use multiproc_sync::Lock;
//!
//! let lock = Lock::new()?;
//! {
//!     let _guard = lock.acquire()?;
//!     // Nobody else is here: no thread, and no process of the family.
//! }
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # Kinds
//!
//! | | |
//! |---|---|
//! | [`Lock`] | one thread of one process at a time |
//! | [`RLock`] | as [`Lock`], and again for the thread that holds it |
//! | [`Mutex`] | as [`Lock`], around the plain value it guards |
//! | [`RwLock`] | a plain value that many may read or one may write |
//! | [`Semaphore`], [`BoundedSemaphore`] | so many at a time |
//! | [`Barrier`] | a number of them wait until all have come |
//! | [`Condition`] | holders of a lock wait for a change another holder makes |
//! | [`Event`] | a flag to wait for |
//! | [`Once`] | something done once, by whoever comes first |
//! | [`Value`] | a plain value behind a lock, never half changed |
//! | [`Array`] | the same, many of them |
//! | [`RawValue`], [`RawArray`] | small plain values without a lock |
//!
//! [`wait`] waits for the first of several things, whatever they are: events, semaphores, queues,
//! connections, processes, and any open file or socket as [`Fd`].
//!
//! # Sharing
//!
//! All of them are `Clone + Send + Sync`, and serde values: a clone, and what arrives in another
//! process, is the same lock. They travel in the channels of this library (process arguments, tasks,
//! queues) and nowhere else; serialising one elsewhere is an error that says so.
//!
//! # If a process dies
//!
//! A [`Lock`], [`RLock`], [`Mutex`] or [`RwLock`] whose owner was killed, or whose owning *thread* ended, is free but suspect: every acquire
//! says [`AcquireError::OwnerDied`] with the owner's name and pid, until somebody has looked at what
//! it guards and calls `recover()`. The kernel does the marking, so nobody polls, and the next
//! waiter knows within about a tenth of a millisecond.
//!
//! What guards no data is not suspect: a dead reader is forgotten, permits return, and what was to
//! be done once is done by the next.
//!
//! A thread that would wait for itself, because others wait in a circle, is told at once:
//! [`AcquireError::Deadlock`] names the processes and the locks. Waits with a deadline are left out.
//!
//! # How it works
//!
//! A lock is one word in the family's shared memory; see `multiproc_sys::robust` for its states and
//! [`protocol`] for what is built on it.

#![forbid(unsafe_code)]

mod array;
mod barrier;
mod condition;
mod door;
mod error;
mod event;
mod lock;
mod mutex;
mod once;
mod plain;
mod raw;
mod raw_value;
mod rlock;
mod rwlock;
mod semaphore;
mod value;
mod wait;

pub use array::{Array, ArrayGuard};
pub use barrier::{Barrier, BarrierWaitResult};
pub use bytemuck::{self, CheckedBitPattern, NoUninit};
pub use condition::{Condition, ConditionGuard};
pub use error::{AcquireError, BarrierError, BrokenWhy, ReleaseError};
pub use event::Event;
pub use lock::{Guard, Lock, OwnedGuard};
pub use multiproc_shm::{CreateError, DeadlockLink, OpenError, Waitable};
pub use multiproc_wire::Fd;
pub use mutex::{Mutex, MutexGuard};
pub use once::Once;
pub use plain::Plain;
#[doc(hidden)]
pub use raw::holders::Holders;
pub use raw_value::{RawArray, RawValue};
pub use rlock::{OwnedRLockGuard, RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, OwnedPermit, Permit, Semaphore};
pub use value::{Value, ValueGuard};
pub use wait::{WaitError, try_wait, wait, wait_deadline};

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
