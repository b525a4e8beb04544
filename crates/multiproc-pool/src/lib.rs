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
//! | one task | [`Pool::apply`](PoolHandle::apply), [`Pool::call`](PoolHandle::call) | | [`Pool::apply_async`](PoolHandle::apply_async) |
//! | many, in order | [`Pool::map`](PoolHandle::map), [`Pool::map_each`](PoolHandle::map_each) | [`Pool::imap`](PoolHandle::imap) | [`Pool::map_async`](PoolHandle::map_async) |
//! | many, as they finish | | [`Pool::imap_unordered`](PoolHandle::imap_unordered) | |
//!
//! Tasks are functions, or closures that capture nothing: they run in other processes, and what
//! they need comes as their argument. Arguments and results are serde values.
//!
//! A worker can keep something between tasks, such as a model or a connection:
//! [`PoolBuilder::state`] makes it, and each verb has a twin that is lent it, such as
//! [`PoolHandle::map_with`]. [`ThreadPool`] has the same verbs on threads.
//!
//! # Tasks that take too long, die, or are no longer wanted
//!
//! [`PoolHandle::task_timeout`] bounds each task of a call, [`PoolHandle::retry`] has those that may run
//! twice begun again after a death, and [`AsyncResult::cancel`] takes one back. The builder sets
//! the first two for all calls.
//!
//! # Looking at it
//!
//! [`PoolHandle::stats`] says what each worker is at, [`PoolHandle::progress`] how far a call is, and
//! [`PoolHandle::trace`] draws a timeline.
//!
//! # End of life
//!
//! Dropping a pool, or [`Pool::terminate`](PoolHandle::terminate), kills its workers. To let the work finish, call
//! [`Pool::close`](PoolHandle::close) and [`Pool::join`](PoolHandle::join).
//!
//! # Errors
//!
//! Each task ends as its value or as a [`TaskError`]: it panicked, its worker was killed, its
//! argument or result cannot travel, or the pool ended first. The others go on.
//!
//! # Limits
//!
//! 2,048 workers in a pool. A pool takes one thread in its process, and shared memory: about 256 KiB,
//! and 128 KiB for each worker. A task that was begun is not begun again by the pool, unless
//! [`Retry::idempotent`] says that it may be.
//!
//! # How it works
//!
//! [`protocol`] has the states, the steps, and what survivors see after a death at each of them.

#![forbid(unsafe_code)]

mod book;
mod builder;
mod callbacks;
mod chunk;
mod collect;
mod coroner;
mod crew;
mod door;
mod error;
mod feed;
mod frame;
mod handle;
mod hub;
mod imap;
mod job;
mod lifecycle;
mod limits;
mod options;
mod outcome;
mod pool;
mod result;
#[cfg(test)]
mod settle_tests;
mod stats;
mod stderr;
mod supervisor;
mod terms;
mod thread;
mod trace;
mod turn;
mod with_state;
mod words;
mod worker;

pub use builder::{PoolBuilder, Processes, Threads};
pub use error::{BrokenCause, BuildError, PoolJoinError, TaskError, TaskErrorKind};
pub use handle::{AnyPool, PoolHandle};
pub use imap::{Imap, ImapUnordered};
pub use lifecycle::Shutdown;
pub use options::{Progress, Retry};
pub use pool::Pool;
pub use result::AsyncResult;
pub use stats::{PoolStats, WorkerState, WorkerStats};
pub use thread::ThreadPool;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
