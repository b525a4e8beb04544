//! The receiving half of a connection: what a user calls. How a message gets here is `In`'s.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Object, Sources, Waitable};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Parcel, codec};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::RecvError;
use crate::family::RingIn;
use crate::transport::In;

/// Receives values of `T`, one way: from [`channel`](crate::channel) or [`Connection::split`](crate::Connection::split).
///
/// Each message goes to one of the clones. Senders are refused when the last is dropped or closed, or
/// has died with its process.
pub struct Receiver<T> {
    pub(crate) in_: In,
    _values: PhantomData<fn() -> T>,
}

impl<T> Receiver<T> {
    pub(crate) fn of(in_: In) -> Receiver<T> {
        Receiver {
            in_,
            _values: PhantomData,
        }
    }

    /// Whether a receive would have an answer at once: a message, or the end. Waits for one for at most
    /// `timeout`: a [`Duration`], which may be zero, or `None` for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if this handle has been closed here.
    pub fn poll(&self, timeout: impl Into<Option<Duration>>) -> Result<bool, RecvError> {
        let deadline = timeout.into().map_or(Deadline::NEVER, Deadline::after);
        let answer = self.in_.poll(deadline);
        if self.is_closed() {
            return Err(RecvError::Closed);
        }
        Ok(answer)
    }

    /// A descriptor for event loops, readable when there may be something to receive: take it with
    /// [`Receiver::try_recv`] until that says `Empty`. In the family it is made at the first call.
    ///
    /// # Errors
    ///
    /// [`CreateError::Limit`] without a free descriptor.
    pub fn as_fd(&self) -> Result<BorrowedFd<'_>, CreateError> {
        self.in_.fd()
    }

    /// Receives one message as its bytes, of which there may be `most`.
    ///
    /// # Errors
    ///
    /// [`RecvError::TooLarge`] for a longer one, which makes this end unusable; and others.
    pub fn recv_bytes(&self, most: usize) -> Result<Vec<u8>, RecvError> {
        self.bytes_until(most, Deadline::NEVER)
    }

    /// As [`Receiver::recv_bytes`], if a message is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] and others.
    pub fn try_recv_bytes(&self, most: usize) -> Result<Vec<u8>, RecvError> {
        at_once(self.bytes_until(most, Deadline::NOW))
    }

    /// As [`Receiver::recv_bytes`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_bytes_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<u8>, RecvError> {
        self.bytes_until(most, Deadline::after(timeout))
    }

    /// As [`Receiver::recv_bytes`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_bytes_deadline(
        &self,
        most: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, RecvError> {
        self.bytes_until(most, Deadline::at(deadline))
    }

    /// Receives one message into the front of `buffer`, and says how many bytes it has. For another
    /// place give a part: `recv_bytes_into(&mut buffer[offset..])`.
    ///
    /// # Errors
    ///
    /// [`RecvError::BufferTooShort`] with the whole message; and others.
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.fill_until(buffer, Deadline::NEVER)
    }

    /// As [`Receiver::recv_bytes_into`], if a message is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] and others.
    pub fn try_recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        at_once(self.fill_until(buffer, Deadline::NOW))
    }

    /// As [`Receiver::recv_bytes_into`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, RecvError> {
        self.fill_until(buffer, Deadline::after(timeout))
    }

    /// As [`Receiver::recv_bytes_into`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_bytes_into_deadline(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<usize, RecvError> {
        self.fill_until(buffer, Deadline::at(deadline))
    }

    fn fill_until(&self, buffer: &mut [u8], deadline: Deadline) -> Result<usize, RecvError> {
        let bytes = self.bytes_until(usize::MAX, deadline)?;
        match buffer.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            None => Err(RecvError::BufferTooShort(bytes)),
        }
    }

    fn bytes_until(&self, most: usize, deadline: Deadline) -> Result<Vec<u8>, RecvError> {
        Ok(self.in_.recv(most as u64, deadline)?.bytes)
    }

    /// Closes this handle: its receives are refused, and if it was the last, senders are, too. Closing
    /// twice is harmless.
    pub fn close(&self) {
        self.in_.close();
    }

    /// Whether this handle has been closed, or an error has made it unusable.
    pub fn is_closed(&self) -> bool {
        self.in_.is_closed()
    }
}

fn at_once<T>(received: Result<T, RecvError>) -> Result<T, RecvError> {
    received.map_err(|error| match error {
        RecvError::TimedOut => RecvError::Empty,
        error => error,
    })
}

impl<T: Serialize + DeserializeOwned + 'static> Receiver<T> {
    /// Waits for the next value.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(Deadline::NEVER)
    }

    /// The next value, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] and others.
    pub fn try_recv(&self) -> Result<T, RecvError> {
        at_once(self.recv_until(Deadline::NOW))
    }

    /// As [`Receiver::recv`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// As [`Receiver::recv`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        self.recv_until(Deadline::at(deadline))
    }

    fn recv_until(&self, deadline: Deadline) -> Result<T, RecvError> {
        let Parcel { bytes, attachments } = self.in_.recv(u64::MAX, deadline)?;
        match codec::from_raw_bytes(bytes) {
            Ok(value) => Ok(value),
            Err(bytes) => codec::decode(&bytes, &attachments).map_err(RecvError::Decode),
        }
    }

    /// The values as they come, until the end.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }
}

/// Receives values until the end: [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T: Serialize + DeserializeOwned + 'static> Iterator for Iter<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Result<T, RecvError>> {
        match self.receiver.recv() {
            Err(RecvError::Disconnected | RecvError::Closed) => None,
            answer => Some(answer),
        }
    }
}

impl<'a, T: Serialize + DeserializeOwned + 'static> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Ready while there is something to receive, and at the end. Of a long message, its beginning is enough.
impl<T> Waitable for Receiver<T> {
    fn is_ready(&self) -> bool {
        self.in_.is_ready()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        self.in_.sources(sources);
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver::of(self.in_.clone())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// No bounds on `T`, so that a struct with such a field can derive its own.
impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.in_.object().map_err(S::Error::custom)?;
        object.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Receiver<T>, D::Error> {
        let object = Object::deserialize(deserializer)?;
        let ring = RingIn::open(object).map_err(D::Error::custom)?;
        Ok(Receiver::of(In::Ring(ring)))
    }
}
