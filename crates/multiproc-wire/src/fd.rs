//! Open files and sockets inside values.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;

/// An open file, socket or pipe that travels inside a value, in every channel of this library: the
/// receiver gets a descriptor of its own for the same open file.
///
/// `T` is whatever owns a descriptor: [`std::fs::File`], [`std::net::TcpStream`],
/// [`std::os::unix::net::UnixListener`], [`OwnedFd`] ..
///
/// Sender and receiver share what belongs to the open file and not to its number: the position in a
/// file, a socket's options, whether it blocks. The file is closed when the last of them closes it; a
/// message on its way counts among them.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use multiproc_wire::{Fd, codec};
///
/// let (mut reader, writer) = std::io::pipe()?;
/// let parcel = codec::encode(&("log", Fd(writer)))?;
/// let (name, mut writer): (String, Fd<std::io::PipeWriter>) =
///     codec::decode(&parcel.bytes, &parcel.attachments)?;
/// writer.write_all(name.as_bytes())?;
/// drop((writer, parcel));
/// assert_eq!(std::io::read_to_string(&mut reader)?, "log");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Serialising takes a copy of the descriptor, deserialising another (two, for a moment, where the
/// message can be read again, such as the result of a process). Where a process has no number
/// free for it (`RLIMIT_NOFILE`), the one is an error of the sender, the other of the receiver.
///
/// # Differences from Python
///
/// There, a socket or connection that is pickled is fetched from a thread of its sender, which must
/// still be alive then. Here the sender may be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fd<T>(pub T);

impl<T> Fd<T> {
    /// What owns the descriptor.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Fd<T> {
    fn from(owner: T) -> Fd<T> {
        Fd(owner)
    }
}

impl<T> Deref for Fd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Fd<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: AsFd> AsFd for Fd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd> Serialize for Fd<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let copy = copy(self.as_fd()).map_err(S::Error::custom)?;
        let index = codec::attach(Arc::new(OpenFile::new(copy))).map_err(S::Error::custom)?;
        index.serialize(serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Fd<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fd<T>, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let attachment = codec::attached(index).map_err(D::Error::custom)?;
        let file = attachment.downcast::<OpenFile>().map_err(|_| {
            D::Error::custom("the message carries something else than an open file here")
        })?;
        // Of a message that is read once there is no other holder.
        let own = match Arc::try_unwrap(file) {
            Ok(OpenFile(own)) => own,
            Err(shared) => copy(shared.as_fd()).map_err(D::Error::custom)?,
        };
        Ok(Fd(T::from(own)))
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd, String> {
    fd.try_clone_to_owned().map_err(|error: io::Error| {
        format!("no descriptor for an open file: {error}; raise RLIMIT_NOFILE (ulimit -n)")
    })
}

/// The attachment that an [`Fd`] becomes: carriers find it among a parcel's attachments.
#[derive(Debug)]
pub struct OpenFile(OwnedFd);

impl OpenFile {
    /// From the descriptor, which is closed with the last holder of the attachment.
    pub fn new(fd: OwnedFd) -> OpenFile {
        OpenFile(fd)
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
