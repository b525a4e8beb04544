//! Connections: messages between two ends, in one process, in two, or in two programs.
//!
//! ```
//! let (here, there) = multiproc_pipe::pipe::<String, usize>()?;
//! here.send(&"hello".to_string())?;
//! there.send(&there.recv()?.len())?;
//! assert_eq!(here.recv()?, 5);
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # In the family
//!
//! [`pipe`] makes two ends that both send and receive, [`channel`] a [`Sender`] and a [`Receiver`]. They
//! lie in the memory that the processes of a family share: no descriptor, no system call while both
//! sides are awake. Ends are `Clone + Send + Sync` and serde values; whatever a message carries (locks,
//! queues, other pipes, open files as `Fd`) arrives as the same thing. Messages may be of any length: long
//! ones travel in pieces, and take no shared memory but the pipe's own. A pipe open at both ends takes 64 KiB
//! of memory and no descriptor, so 10,000 of them 640 MiB.
//!
//! # Between strangers
//!
//! ```
//! use multiproc_pipe::{Client, Connection, Listener};
//!
//! let listener = Listener::bind("unix:")?.authkey(b"secret");
//! let address = listener.local_addr().clone();
//! let client = std::thread::spawn(move || {
//!     let connection = Client::connect(address).authkey(b"secret").open()?;
//!     Ok::<Connection<u32, String>, multiproc_pipe::ConnectError>(connection)
//! });
//! let server: Connection<String, u32> = listener.accept()?;
//! let client = client.join().unwrap()?;
//! server.send(&"hello".to_string())?;
//! assert_eq!(client.recv()?, "hello");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! Programs that are no family meet at a [`Listener`]: at a Unix socket's file, or at a TCP port of this
//! machine. Both sides show that they know the [`Key`] before anything is decoded, and on a Unix socket
//! the kernel says that both run as the same user. What the key does not do is hide what follows, so TCP
//! does not leave the machine.
//!
//! # If a process dies
//!
//! What it had sent is received; then the other end is told: [`RecvError::Disconnected`]. A message that
//! was still being sent is not received, in whole or in part.
//!
//! # How it works
//!
//! [`protocol`]. The parts it is made of are in [`stranger`], for other protocols that want the same
//! gate and frames.

#![forbid(unsafe_code)]

mod connection;
mod error;
mod family;
mod listener;
mod pipe;
mod receiver;
mod sender;
#[doc(hidden)]
pub mod stranger;
mod transport;

pub use connection::Connection;
pub use error::{AcceptError, BindError, ConnectError, RecvError, SendError};
pub use listener::{Client, Listener};
pub use multiproc_shm::CreateError;
pub use pipe::{Ends, channel, pipe};
pub use receiver::{Iter, Receiver};
pub use sender::Sender;
pub use stranger::address::{Address, AddressError, IntoAddress};
pub use stranger::key::Key;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
