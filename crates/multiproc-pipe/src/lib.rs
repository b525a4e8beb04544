//! Connections: messages between two ends, in one process, in two, or in two programs.
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
//! # Strangers
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
mod listener;
mod receiver;
mod sender;
#[doc(hidden)]
pub mod stranger;
mod transport;

pub use connection::Connection;
pub use error::{AcceptError, BindError, ConnectError, RecvError, SendError};
pub use listener::{Client, Listener};
pub use receiver::{Iter, Receiver};
pub use sender::Sender;
pub use stranger::address::{Address, AddressError, IntoAddress};
pub use stranger::key::Key;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
