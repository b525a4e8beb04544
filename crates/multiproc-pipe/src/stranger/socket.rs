//! A stream socket that carries messages, one frame each.
//!
//! The invariant: what one side is in the middle of belongs to the socket, not to the call. A receive
//! that gives up leaves what has come for the next; a send that gives up in the middle of a frame leaves
//! a stream whose next frame cannot be found, and so ends the sending.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use multiproc_sys::clock::Deadline;
use multiproc_sys::{Errno, poll, stream};
use multiproc_wire::Parcel;
use parking_lot::{Mutex, MutexGuard};

use super::frame::{Decoder, Frame, FrameError, Header};
use crate::error::{RecvError, SendError};

/// A frame that is one message.
const MESSAGE: u8 = 1;

/// How much is read at once.
const READ: usize = 64 << 10;

/// One connection, from both of its directions.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    limit: u64,
    sending: Mutex<Sending>,
    receiving: Mutex<Receiving>,
    /// Handles that may still send, and that may still receive.
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

#[derive(Debug, Default)]
struct Sending {
    /// What a send that could not wait has left of its frame: goes before anything else.
    rest: Vec<u8>,
    /// A frame was cut off.
    broken: bool,
}

#[derive(Debug)]
struct Receiving {
    decoder: Decoder,
    /// Read, and not yet fed to the decoder: from `at` on.
    read: Vec<u8>,
    at: usize,
    /// Complete, and not yet asked for.
    ready: Option<Frame>,
    /// Why nothing more will come.
    end: Option<RecvError>,
}

impl Socket {
    /// From a descriptor that does not block, with one handle for each direction.
    pub(crate) fn new(fd: OwnedFd, limit: u64) -> Socket {
        Socket {
            fd,
            limit,
            sending: Mutex::default(),
            receiving: Mutex::new(Receiving {
                decoder: Decoder::new(limit),
                read: Vec::new(),
                at: 0,
                ready: None,
                end: None,
            }),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    /// The handles that may still send, or receive.
    fn handles(&self, receiving: bool) -> &AtomicUsize {
        if receiving {
            &self.receivers
        } else {
            &self.senders
        }
    }

    pub(crate) fn add_handle(&self, receiving: bool) {
        self.handles(receiving).fetch_add(1, Ordering::Relaxed);
    }

    /// The last handle of a direction ends it: the other side sees that.
    pub(crate) fn remove_handle(&self, receiving: bool) {
        if self.handles(receiving).fetch_sub(1, Ordering::AcqRel) == 1 {
            stream::shut(self.fd.as_fd(), receiving);
        }
    }

    /// Sends one message. A deadline that has passed means: what cannot go now waits for the next call,
    /// if some of it could, else nothing goes.
    pub(crate) fn send(&self, bytes: &[u8], deadline: Deadline) -> Result<(), SendError> {
        let size = bytes.len() as u64;
        if size > self.limit {
            let limit = self.limit;
            return Err(SendError::TooLarge { size, limit });
        }
        let mut sending = lock(&self.sending, deadline).ok_or(SendError::TimedOut)?;
        if sending.broken {
            return Err(SendError::Closed);
        }
        self.flush(&mut sending, deadline)?;
        let header = Header {
            kind: MESSAGE,
            files: 0,
            len: size,
        };
        let header = header.encode();
        let whole = header.len() + bytes.len();
        let mut sent = 0;
        while sent < whole {
            let parts = [
                header.get(sent..).unwrap_or_default(),
                &bytes[sent.saturating_sub(header.len())..],
            ];
            match self.write(&parts, deadline) {
                Ok(len) => sent += len,
                Err(SendError::TimedOut) if sent > 0 && deadline == Deadline::NOW => {
                    sending.rest = parts.concat();
                    return Ok(());
                }
                Err(error) => {
                    sending.broken |= sent > 0;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn flush(&self, sending: &mut Sending, deadline: Deadline) -> Result<(), SendError> {
        while !sending.rest.is_empty() {
            let len = self.write(&[&sending.rest], deadline)?;
            sending.rest.drain(..len);
        }
        Ok(())
    }

    fn write(&self, parts: &[&[u8]], deadline: Deadline) -> Result<usize, SendError> {
        loop {
            match stream::send(self.fd.as_fd(), parts, &[]) {
                Ok(len) => return Ok(len),
                Err(Errno::EAGAIN) => {
                    if !poll::writable(self.fd.as_fd(), deadline).map_err(SendError::Os)? {
                        return Err(SendError::TimedOut);
                    }
                }
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(SendError::Disconnected),
                Err(errno) => return Err(SendError::Os(errno)),
            }
        }
    }

    /// The next message, if it is no longer than `most` bytes.
    pub(crate) fn recv(&self, most: u64, deadline: Deadline) -> Result<Parcel, RecvError> {
        let mut receiving = lock(&self.receiving, deadline).ok_or(RecvError::TimedOut)?;
        self.fill(&mut receiving, most, deadline)?;
        let frame = receiving.ready.take().expect("filled");
        Ok(Parcel {
            bytes: frame.body,
            attachments: Vec::new(),
        })
    }

    /// Whether a receive would have an answer at once, within `deadline`.
    pub(crate) fn poll(&self, deadline: Deadline) -> bool {
        let Some(mut receiving) = lock(&self.receiving, deadline) else {
            return false;
        };
        let filled = self.fill(&mut receiving, u64::MAX, deadline);
        filled != Err(RecvError::TimedOut)
    }

    /// Reads until a message is ready.
    fn fill(
        &self,
        receiving: &mut Receiving,
        most: u64,
        deadline: Deadline,
    ) -> Result<(), RecvError> {
        loop {
            if let Some(frame) = &receiving.ready {
                let len = frame.header.len;
                return receiving.check(len, most);
            }
            if let Some(end) = &receiving.end {
                return Err(end.clone());
            }
            if let Err(error) = receiving.feed() {
                receiving.end = Some(RecvError::Closed);
                return Err(error);
            }
            if let Some(header) = receiving.decoder.begun() {
                receiving.check(header.len, most)?;
            }
            if receiving.ready.is_none() && receiving.at == receiving.read.len() {
                self.read(receiving, deadline)?;
            }
        }
    }

    /// Reads some bytes, or finds out that there will be no more.
    fn read(&self, receiving: &mut Receiving, deadline: Deadline) -> Result<(), RecvError> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(READ, 0);
            match stream::recv(self.fd.as_fd(), buffer) {
                Err(Errno::EAGAIN) => {
                    match poll::readable(self.fd.as_fd(), deadline).map_err(RecvError::Os)? {
                        true => Ok(()),
                        false => Err(RecvError::TimedOut),
                    }
                }
                Ok(received) if received.len > 0 => receiving.take(&buffer[..received.len]),
                Ok(_) | Err(Errno::ECONNRESET) => {
                    receiving.end = Some(RecvError::Disconnected);
                    match receiving.decoder.is_inside() {
                        true => Err(RecvError::Protocol(TORN)),
                        false => Ok(()),
                    }
                }
                Err(errno) => Err(RecvError::Os(errno)),
            }
        })
    }

    /// Whether an error has made a direction unusable.
    pub(crate) fn is_broken(&self, receiving: bool) -> bool {
        if receiving {
            let receiving = self.receiving.try_lock();
            receiving.is_some_and(|it| it.end == Some(RecvError::Closed))
        } else {
            self.sending.try_lock().is_some_and(|it| it.broken)
        }
    }
}

const TORN: &str = "the other side ended in the middle of a message";

impl Receiving {
    /// Feeds the decoder at once what has been read, and keeps what follows the first message.
    fn take(&mut self, mut read: &[u8]) -> Result<(), RecvError> {
        let fed = self.decode(&mut read);
        self.read.clear();
        self.at = 0;
        // Memory for what is kept, and no more: a connection may have nothing for a long time.
        if read.is_empty() {
            self.read = Vec::new();
        } else {
            self.read.extend_from_slice(read);
        }
        fed
    }

    fn feed(&mut self) -> Result<(), RecvError> {
        let read = std::mem::take(&mut self.read);
        let mut rest = &read[self.at..];
        let fed = self.decode(&mut rest);
        self.at = read.len() - rest.len();
        self.read = read;
        fed
    }

    fn decode(&mut self, bytes: &mut &[u8]) -> Result<(), RecvError> {
        let decoded = match self.decoder.feed(bytes) {
            Ok(Some(frame)) if frame.header.kind != MESSAGE || frame.header.files != 0 => {
                Err(RecvError::Protocol("a frame of an unknown kind came"))
            }
            Ok(frame) => {
                self.ready = frame;
                Ok(())
            }
            Err(FrameError::TooLarge { size, limit }) => Err(RecvError::TooLarge { size, limit }),
            Err(_) => Err(RecvError::Protocol("what came is no frame")),
        };
        if decoded.is_err() {
            self.end = Some(RecvError::Closed);
        }
        decoded
    }

    /// A message longer than the caller wants ends the receiving: the rest of it would have to be read
    /// for the next to be found.
    fn check(&mut self, size: u64, limit: u64) -> Result<(), RecvError> {
        if size <= limit {
            return Ok(());
        }
        self.ready = None;
        self.end = Some(RecvError::Closed);
        Err(RecvError::TooLarge { size, limit })
    }
}

fn lock<T>(mutex: &Mutex<T>, deadline: Deadline) -> Option<MutexGuard<'_, T>> {
    match deadline.remaining() {
        None => Some(mutex.lock()),
        Some(left) if left.is_zero() => mutex.try_lock(),
        Some(left) => mutex.try_lock_until(Instant::now() + left),
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
