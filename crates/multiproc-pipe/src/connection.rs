//! One end of a connection in both directions: a sender and a receiver, and the verbs of both.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Sources, Waitable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{RecvError, SendError};
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::stranger::socket::Socket;
use crate::transport::{In, Out};

/// One end of a connection: sends `S`, receives `R`.
///
/// From [`pipe`](crate::pipe), between processes of one family, or from a [`Listener`](crate::Listener)
/// and a [`Client`](crate::Client), between strangers; the verbs are the same.
///
/// # If a process dies
///
/// The other end receives what had been sent, then [`RecvError::Disconnected`]. Of a message that was
/// still being sent nothing is received.
#[derive(Debug)]
pub struct Connection<S, R> {
    sender: Sender<S>,
    receiver: Receiver<R>,
}

impl<S, R> Connection<S, R> {
    pub(crate) fn of(sender: Sender<S>, receiver: Receiver<R>) -> Connection<S, R> {
        Connection { sender, receiver }
    }

    /// Over a socket whose other end has been through the gate.
    pub(crate) fn of_stranger(fd: OwnedFd, limit: u64) -> Connection<S, R> {
        let socket = Arc::new(Socket::new(fd, limit));
        let sender = Sender::of(Out::of_socket(socket.clone()));
        Connection::of(sender, Receiver::of(In::of_socket(socket)))
    }

    /// The sending half, for its rarer verbs.
    pub fn sender(&self) -> &Sender<S> {
        &self.sender
    }

    /// The receiving half, for its rarer verbs.
    pub fn receiver(&self) -> &Receiver<R> {
        &self.receiver
    }

    /// The two halves, each of which may go its own way.
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        (self.sender, self.receiver)
    }

    /// Whether a receive would have an answer at once: a message, or the end. Waits for one for at most
    /// `timeout`: a [`Duration`], which may be zero, or `None` for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if this handle has been closed here.
    pub fn poll(&self, timeout: impl Into<Option<Duration>>) -> Result<bool, RecvError> {
        self.receiver.poll(timeout)
    }

    /// A descriptor for event loops, readable when there may be something to receive: take it with
    /// [`Connection::try_recv`] until that says `Empty`. In the family it is made at the first call.
    ///
    /// # Errors
    ///
    /// [`CreateError::Limit`] without a free descriptor.
    pub fn as_fd(&self) -> Result<BorrowedFd<'_>, CreateError> {
        self.receiver.as_fd()
    }

    /// Sends `bytes` as one message. The other end may receive them as bytes, or as the value they are
    /// the encoding of.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.sender.send_bytes(bytes)
    }

    /// Sends `len` bytes of `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    ///
    /// # Panics
    ///
    /// If the buffer has no such bytes.
    pub fn send_bytes_range(
        &self,
        buffer: &[u8],
        offset: usize,
        len: usize,
    ) -> Result<(), SendError> {
        self.sender.send_bytes_range(buffer, offset, len)
    }

    /// Receives one message as its bytes, of which there may be `most`.
    ///
    /// # Errors
    ///
    /// [`RecvError::TooLarge`] for a longer one, which makes this end unusable; and others.
    pub fn recv_bytes(&self, most: usize) -> Result<Vec<u8>, RecvError> {
        self.receiver.recv_bytes(most)
    }

    /// Receives one message into the front of `buffer`, and says how many bytes it has. For another
    /// place give a part: `recv_bytes_into(&mut buffer[offset..])`.
    ///
    /// # Errors
    ///
    /// [`RecvError::BufferTooShort`] with the whole message; and others.
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.receiver.recv_bytes_into(buffer)
    }

    /// Closes this end, in both directions; see [`Sender::close`] and [`Receiver::close`].
    pub fn close(&self) {
        self.sender.close();
        self.receiver.close();
    }

    /// Whether this end has been closed, or an error has made a direction of it unusable.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.receiver.is_closed()
    }
}

impl<S: Serialize + DeserializeOwned + 'static, R> Connection<S, R> {
    /// Sends `value`, waiting while there is no room.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    #[inline]
    pub fn send(&self, value: &S) -> Result<(), SendError> {
        self.sender.send(value)
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and others.
    pub fn try_send(&self, value: &S) -> Result<(), SendError> {
        self.sender.try_send(value)
    }

    /// As [`Connection::send`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_timeout(&self, value: &S, timeout: Duration) -> Result<(), SendError> {
        self.sender.send_timeout(value, timeout)
    }

    /// As [`Connection::send`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_deadline(&self, value: &S, deadline: Instant) -> Result<(), SendError> {
        self.sender.send_deadline(value, deadline)
    }
}

impl<S, R: Serialize + DeserializeOwned + 'static> Connection<S, R> {
    /// Waits for the next value.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline]
    pub fn recv(&self) -> Result<R, RecvError> {
        self.receiver.recv()
    }

    /// The next value, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] and others.
    pub fn try_recv(&self) -> Result<R, RecvError> {
        self.receiver.try_recv()
    }

    /// As [`Connection::recv`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R, RecvError> {
        self.receiver.recv_timeout(timeout)
    }

    /// As [`Connection::recv`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<R, RecvError> {
        self.receiver.recv_deadline(deadline)
    }
}

impl<S, R> Clone for Connection<S, R> {
    fn clone(&self) -> Connection<S, R> {
        Connection::of(self.sender.clone(), self.receiver.clone())
    }
}

/// As its receiving half.
impl<S, R> Waitable for Connection<S, R> {
    fn is_ready(&self) -> bool {
        self.receiver.is_ready()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        self.receiver.sources(sources);
    }
}

// No bounds on `S` and `R`, so that a struct with such a field can derive its own.
impl<S, R> Serialize for Connection<S, R> {
    fn serialize<X: Serializer>(&self, serializer: X) -> Result<X::Ok, X::Error> {
        (&self.sender, &self.receiver).serialize(serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Connection<S, R>, D::Error> {
        let (sender, receiver) = Deserialize::deserialize(deserializer)?;
        Ok(Connection::of(sender, receiver))
    }
}
