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
//! process, is the same queue. Items are serde values; locks, values and queues may stand anywhere
//! inside them.
//!
//! # End of life
//!
//! [`Queue::close`] lets getters take what is there and then says `Closed` to everybody. Without it, a
//! queue ends with its last handle, and what was in it is dropped.
//!
//! # If a process dies
//!
//! What a producer had put is there: an item is visible to every process when `put` returns. A
//! consumer takes with it at most the item it was just taking. Nothing is seen twice, and nobody
//! hangs.
//!
//! # Limits
//!
//! `bounded(n)` holds n items of any size; small ones lie in the queue's own ring, larger ones in
//! shared memory of their own. Order: one for the whole queue.
//!
//! # How it works
//!
//! [`protocol`].

#![forbid(unsafe_code)]

mod error;
mod queue;
mod waiting;

pub use error::{GetError, PutError};
pub use multiproc_shm::CreateError;
pub use queue::{Iter, Queue};

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
