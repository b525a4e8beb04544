//! Queues between processes: many producers, many consumers, nothing lost to a death.
//!
//! ```
//! use multiproc_queue::Queue;
//!
//! let queue = Queue::bounded(100)?;
//! queue.put(String::from("hello"))?;
//! assert_eq!(queue.get()?, "hello");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # Sharing
//!
//! A [`Queue`] is `Clone + Send + Sync` and a serde value: a clone, and what arrives in another
//! process, is the same queue. Items are serde values; locks, values, queues and open files may stand
//! anywhere inside them.
//!
//! # Kinds
//!
//! - [`Queue::bounded`]: at most so many items; putters wait while it is full.
//! - [`Queue::unbounded`]: as many as there is memory for; putting never waits.
//! - [`JoinableQueue`]: either of these, and it knows when the items are not only taken but done.
//! - [`SimpleQueue`]: an unbounded one with a handful of verbs.
//!
//! Each verb comes in four forms, as `put`, `try_put`, `put_timeout` and `put_deadline`; and for many
//! items at once, [`Queue::put_many`] and [`Queue::get_many`], which cost far less than one by one.
//!
//! # End of life
//!
//! [`Queue::close`] lets getters take what is there and then says `Closed` to everybody. Without it, a
//! queue ends with its last handle, and what was in it is dropped.
//!
//! # If a process dies
//!
//! What a producer had put is there: an item is visible to every process when `put` returns. A
//! consumer takes with it at most the item it was just taking, or the batch. Nothing is seen twice, and
//! nobody hangs; who joins a queue is told how many items died with their takers.
//!
//! # Limits
//!
//! `bounded(n)` holds n items of any size; small ones lie in the queue's own ring, larger ones in
//! shared memory of their own. An unbounded queue holds up to 16 GiB of small items, and any number of
//! large ones. Order: one for the whole queue. No queue has a descriptor; a small bounded one takes
//! 32 KiB, an empty unbounded one 64 KiB, a joinable one 16 KiB more.
//!
//! # How it works
//!
//! [`protocol`].

#![forbid(unsafe_code)]

mod chain;
mod channel;
mod error;
mod hands;
mod item;
mod joinable;
mod queue;
mod simple;

pub use error::{FinishError, GetError, GetManyError, PutError, TaskDoneError};
pub use joinable::JoinableQueue;
pub use multiproc_shm::CreateError;
pub use queue::{Iter, Queue};
pub use simple::SimpleQueue;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
