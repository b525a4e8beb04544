//! The sending half of a connection: what a user calls. How a message gets to the other side is `Out`'s.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use multiproc_shm::Object;
use multiproc_sys::clock::Deadline;
use multiproc_wire::codec;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::SendError;
use crate::family::RingOut;
use crate::transport::Out;

/// Sends values of `T`, one way: from [`channel`](crate::channel) or [`Connection::split`](crate::Connection::split).
///
/// It travels in messages of other pipes, not of its own.
///
/// Clones send to the same receivers; messages of several senders never mix. The other side sees the end
/// when the last is dropped or closed, or has died with its process.
pub struct Sender<T> {
    pub(crate) out: Out,
    _values: PhantomData<fn(T)>,
}

impl<T> Sender<T> {
    pub(crate) fn of(out: Out) -> Sender<T> {
        Sender {
            out,
            _values: PhantomData,
        }
    }

    /// Sends `bytes` as one message, waiting while there is no room.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.out.send(bytes, &[], Deadline::NEVER)
    }

    /// As [`Sender::send_bytes`], if there is room now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and others.
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        at_once(self.out.send(bytes, &[], Deadline::NOW))
    }

    /// As [`Sender::send_bytes`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.out.send(bytes, &[], Deadline::after(timeout))
    }

    /// As [`Sender::send_bytes`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_bytes_deadline(&self, bytes: &[u8], deadline: Instant) -> Result<(), SendError> {
        self.out.send(bytes, &[], Deadline::at(deadline))
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
        self.send_bytes(&buffer[offset..][..len])
    }

    /// As [`Sender::send_bytes_range`], if there is room now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and others.
    ///
    /// # Panics
    ///
    /// As [`Sender::send_bytes_range`].
    pub fn try_send_bytes_range(
        &self,
        buffer: &[u8],
        offset: usize,
        len: usize,
    ) -> Result<(), SendError> {
        self.try_send_bytes(&buffer[offset..][..len])
    }

    /// As [`Sender::send_bytes_range`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    ///
    /// # Panics
    ///
    /// As [`Sender::send_bytes_range`].
    pub fn send_bytes_range_timeout(
        &self,
        buffer: &[u8],
        offset: usize,
        len: usize,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.send_bytes_timeout(&buffer[offset..][..len], timeout)
    }

    /// As [`Sender::send_bytes_range`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    ///
    /// # Panics
    ///
    /// As [`Sender::send_bytes_range`].
    pub fn send_bytes_range_deadline(
        &self,
        buffer: &[u8],
        offset: usize,
        len: usize,
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.send_bytes_deadline(&buffer[offset..][..len], deadline)
    }

    /// Closes this handle: its sends are refused, and if it was the last, the other side sees the end.
    /// Closing twice is harmless.
    pub fn close(&self) {
        self.out.close();
    }

    /// Whether this handle has been closed, or an error has made it unusable.
    pub fn is_closed(&self) -> bool {
        self.out.is_closed()
    }
}

fn at_once(sent: Result<(), SendError>) -> Result<(), SendError> {
    sent.map_err(|error| match error {
        SendError::TimedOut => SendError::Full,
        error => error,
    })
}

impl<T: Serialize + DeserializeOwned + 'static> Sender<T> {
    /// Sends `value`, waiting while there is no room.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send(&self, value: &T) -> Result<(), SendError> {
        self.send_until(value, Deadline::NEVER)
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and others.
    pub fn try_send(&self, value: &T) -> Result<(), SendError> {
        at_once(self.send_until(value, Deadline::NOW))
    }

    /// As [`Sender::send`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_timeout(&self, value: &T, timeout: Duration) -> Result<(), SendError> {
        self.send_until(value, Deadline::after(timeout))
    }

    /// As [`Sender::send`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_deadline(&self, value: &T, deadline: Instant) -> Result<(), SendError> {
        self.send_until(value, Deadline::at(deadline))
    }

    #[inline]
    fn send_until(&self, value: &T, deadline: Deadline) -> Result<(), SendError> {
        if let Some(bytes) = codec::raw_bytes(value) {
            return self.out.send(bytes, &[], deadline);
        }
        let parcel = codec::encode_checked(value).map_err(SendError::Encode)?;
        self.out.send(&parcel.bytes, &parcel.attachments, deadline)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender::of(self.out.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// No bounds on `T`, so that a struct with such a field can derive its own.
impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.out.object().map_err(S::Error::custom)?;
        object.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sender<T>, D::Error> {
        let object = Object::deserialize(deserializer)?;
        let ring = RingOut::open(object).map_err(D::Error::custom)?;
        Ok(Sender::of(Out::Ring(ring)))
    }
}
