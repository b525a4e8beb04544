//! The shared memory of a family of processes: one arena of objects that survive any death.
//!
//! A *family* is a root process and every process started from it. They all map one sparse memory
//! file, the *arena*; locks, queues and values are [`Object`]s in it. An object lives while any
//! member holds a reference or a message carries one, and whatever a killed member held is given
//! back by the others.
//!
//! Users meet three types of this crate by name: [`SharedMemory`], bytes for the family or, with a name,
//! for any program of the same user; [`ShareableList`], values in such memory; [`SharedMemoryManager`],
//! which takes the names away that it gave. All else they meet through the types above (`Lock`, `Queue`,
//! ..), and this face is for those crates, in the order they need it:
//!
//! - [`Object`]: a counted reference to shared memory; clone it, send it, drop it.
//! - [`parcel`]: a value with its references, stored in the arena; [`Outbox`] holds one.
//! - [`RawLock`], [`Bell`], [`Sleeper`]: waiting, with a bound, for something another process does.
//! - [`Waitable`]: one of several things to wait for; [`ring_when_changed`], [`Watch`]: beside descriptors.
//! - [`Ring`]: frames in order, from many producers to many consumers; [`End`]: one side of a ring,
//!   which the other hears of when it ends.
//! - [`family`]: who is a member, and what happens when one dies.
//!
//! # If a process dies
//!
//! At any instruction: the survivors replay or ignore its unfinished change, its references and
//! places are given back, nobody waits for it. [`protocol`] says how, step by step.
//!
//! # Limits
//!
//! 4,096 members and 16,384 sleeping threads at once. The arena is the smallest of 64 GiB,
//! `RLIMIT_FSIZE`, a quarter of `RLIMIT_AS` and `MULTIPROC_ARENA_MAX` bytes; only what is used takes
//! memory. Processes of one user can reach each other's memory anyway: the arena is no wall between
//! them.

mod alloc;
mod alone;
mod arena;
mod bell;
mod deadlock;
mod door;
mod doorbell;
mod end;
mod error;
pub mod family;
mod files;
mod layout;
mod ledger;
mod list;
mod lock;
mod log;
mod member;
mod object;
mod own;
pub mod parcel;
mod presence;
mod ring;
mod segment;
mod sleep;
mod sweep;
#[doc(hidden)]
pub mod testing;
pub mod waitable;
mod waiting;
mod watch;

pub use alloc::Usage;
pub use bell::{Bell, Quiet};
pub use deadlock::{DeadlockLink, take_cycle};
pub use doorbell::ring_when_changed;
pub use end::End;
pub use error::{AccessError, CreateError, OpenError};
pub use list::{ListBuilder, ListError, ListItem, ShareableList};
pub use lock::{LockError, RawGuard, RawLock, Taken, spin_limit};
pub use member::MemberId;
pub use object::{Handle, Kind, Object};
pub use parcel::Outbox;
pub use ring::{Found, Frame, HeadGuard, PushError, Ring, TailGuard};
pub use segment::{SharedMemory, SharedMemoryManager};
pub use sleep::Sleeper;
pub use waitable::{Sources, Waitable};
pub use waiting::{Hope, Late, Patience, Waiting};
pub use watch::Watch;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
