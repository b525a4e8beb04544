//! A pool of worker processes that loses nothing when one of them dies.
//!
//! ```
//! // Prints "[0, 1, 4, 9]".
//! use multiproc_pool::Pool;
//!
//! let pool = Pool::new(2)?;
//! println!("{:?}", pool.map(|n: u64| n * n, 0..4)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which verb
//!
//! | | waits for all | one by one | later |
//! |---|---|---|---|
//! | one task | [`Pool::apply`], [`Pool::call`] | | [`Pool::apply_async`] |
//! | many, in order | [`Pool::map`], [`Pool::map_each`] | [`Pool::imap`] | [`Pool::map_async`] |
//! | many, as they finish | | [`Pool::imap_unordered`] | |
//!
//! Tasks are functions, or closures that capture nothing: they run in other processes, and what
//! they need comes as their argument. Arguments and results are serde values.
//!
//! # End of life
//!
//! Dropping a pool, or [`Pool::terminate`], kills its workers. To let the work finish, call
//! [`Pool::close`] and [`Pool::join`].
//!
//! # Errors
//!
//! Each task ends as its value or as a [`TaskError`]: it panicked, its worker was killed, its
//! argument or result cannot travel, or the pool ended first. The others go on.
//!
//! # Limits
//!
//! 2,048 workers in a pool. A pool takes one thread in its process, and shared memory: about 256 KiB,
//! and 128 KiB for each worker. A task that was begun is not begun again by the pool: whoever may
//! run it twice hands it in twice.
//!
//! # How it works
//!
//! [`protocol`] has the states, the steps, and what survivors see after a death at each of them.

#![forbid(unsafe_code)]

mod book;
mod builder;
mod chunk;
mod collect;
mod error;
mod feed;
mod frame;
mod hub;
mod imap;
mod job;
mod outcome;
mod pool;
mod result;
#[cfg(test)]
mod settle_tests;
mod supervisor;
mod turn;
mod words;
mod worker;

pub use builder::PoolBuilder;
pub use error::{BrokenCause, BuildError, PoolJoinError, TaskError, TaskErrorKind};
pub use imap::{Imap, ImapUnordered};
pub use pool::Pool;
pub use result::AsyncResult;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
