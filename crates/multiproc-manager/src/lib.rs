//! Objects that live in a server process, for any number of clients.
//!
//! ```
//! use multiproc_manager::{DictProxy, ListProxy, Manager};
//! use multiproc_process::Process;
//!
//! fn work((dict, list): (DictProxy<u32, String>, ListProxy<u32>)) {
//!     let pid = std::process::id();
//!     dict.insert(pid, "was here".into()).unwrap();
//!     list.push(pid).unwrap();
//! }
//!
//! let manager = Manager::start()?;
//! let (dict, list) = (manager.dict()?, manager.list()?);
//! let process = Process::new(work, (dict.clone(), list.clone())).start()?;
//! process.join()?;
//! assert_eq!(list.to_vec()?, [process.pid()]);
//! assert_eq!(dict.get(&process.pid())?.as_deref(), Some("was here"));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # When to use it
//!
//! For collections of any size and type that several processes change, for objects of your own, and
//! for programs that are no family or run other builds. Between the processes of one family, the
//! locks, values and queues in shared memory do the same without a server, in a hundredth of the time.
//!
//! # Kinds
//!
//! | collections | [`DictProxy`], [`ListProxy`], [`SetProxy`], [`NamespaceProxy`] |
//! |---|---|
//! | values | [`ValueProxy`], [`ArrayProxy`] |
//! | queues | [`QueueProxy`], [`JoinableQueueProxy`] |
//! | for taking turns | [`LockProxy`], [`RLockProxy`], [`SemaphoreProxy`], [`BoundedSemaphoreProxy`], [`ConditionProxy`], [`EventProxy`], [`BarrierProxy`] |
//! | workers | [`PoolProxy`] |
//! | your own types | [`Remote`] |
//!
//! # Functions travel
//!
//! Reading a value, changing it and writing it back loses what others write between. So the change
//! travels to the value: `dict.update(key, |n, by| *n += by, 1)` is one round trip, and nobody comes
//! between. Such a function is a plain one, or a closure that captures nothing.
//!
//! # Sharing
//!
//! A proxy is a serde value. It can be an argument of a process or a task, an item of a queue, a value
//! in another proxy's dict; what arrives is the same object, which lives as long as anybody has it.
//! Another program connects with [`Manager::connect`], by the address and the key, and finds what was
//! given a name in [`Manager::names`].
//!
//! # Many calls at once
//!
//! `get_many`, `insert_many` and `extend` need one round trip for many items, and the `_async` verbs
//! give a [`Pending`] answer, so that hundreds of calls can be under way.
//!
//! # End of life
//!
//! The server ends when the [`Manager`] that started it, with its clones, is dropped, when somebody
//! calls [`Manager::shutdown`], and when the process that started it ends, however that happens.
//! [`ManagerBuilder::detach`] lets it live on. Ctrl-C, which reaches all processes of a terminal,
//! passes it by.
//!
//! # Errors
//!
//! [`CallError`]: the call has no result. [`ProxyError`]: the same, or the very error that the
//! object's version for processes has for the verb.
//!
//! # If a process dies
//!
//! A client's locks, permits and references go back at once. The server's end is
//! [`CallError::ServerGone`] for every call under way, at once, and no call is ever sent twice. See
//! [`protocol`] for each step at which it may happen.
//!
//! # Who may connect
//!
//! By default the server listens on a Unix socket in a directory that only this user can enter, and
//! clients must know a random key. TCP does not leave this machine, unless both sides have certificates
//! (`Tls`, feature `tls`). Functions are accepted from
//! programs of the same build and user only: see [`Remote`].
//!
//! # Limits
//!
//! A message has at most 64 MiB, unless [`ManagerBuilder::max_frame`] says otherwise. Objects in shared
//! memory do not travel to the server. A process that was forked by other means than this library has
//! no connection. Two objects that hold proxies of each other live as long as the server.
#![forbid(unsafe_code)]

mod attention;
mod client;
mod conn;
mod context;
mod core;
mod desk;
mod error;
mod handle;
mod host;
mod item;
mod lane;
mod later;
mod link;
mod manager;
mod message;
mod numbers;
mod predicates;
mod serve;
mod store;
#[doc(hidden)]
pub mod testing;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
#[doc(hidden)]
pub mod types;

pub use error::{CallError, ManagerError, ProxyError};
pub use manager::{Manager, ManagerBuilder};
pub use multiproc_pipe::{Address, ConnectError, Key};
pub use types::*;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
