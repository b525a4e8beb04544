//! How messages travel: what both halves of a connection know of sockets and rings.
//!
//! The invariant: a handle counts as an open end of its direction until it is closed or dropped, once.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use multiproc_shm::{CreateError, Object, Sources};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Attachment, EncodeError, Parcel};

use crate::error::{RecvError, SendError};
use crate::family::{RingIn, RingOut};
use crate::stranger::socket::Socket;

/// A handle that may send.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    Ring(RingOut),
    Socket(SocketHandle),
}

/// A handle that may receive.
#[derive(Clone, Debug)]
pub(crate) enum In {
    Ring(RingIn),
    Socket(SocketHandle),
}

impl Out {
    pub(crate) fn of_socket(socket: Arc<Socket>) -> Out {
        Out::Socket(SocketHandle::of(socket, false))
    }

    /// Sends one message. A deadline that has passed means: without waiting.
    #[inline]
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        attachments: &[Attachment],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        match self {
            Out::Ring(ring) => ring.send(bytes, attachments, deadline),
            Out::Socket(_) if !attachments.is_empty() => {
                Err(SendError::Encode(EncodeError::new("handle", STRANGER)))
            }
            Out::Socket(handle) => handle
                .open()
                .ok_or(SendError::Closed)?
                .send(bytes, deadline),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Out::Ring(ring) => ring.close(),
            Out::Socket(handle) => handle.close(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Out::Ring(ring) => ring.is_closed(),
            Out::Socket(handle) => handle.is_closed(),
        }
    }

    /// What travels when the handle is sent.
    pub(crate) fn object(&self) -> Result<Object, &'static str> {
        match self {
            Out::Ring(ring) => ring.object().ok_or(CLOSED),
            Out::Socket(_) => Err(STAYS),
        }
    }
}

const CLOSED: &str = "a closed end of a pipe does not travel";
const STAYS: &str =
    "a connection to a stranger stays in the process that made it; send what it receives instead";
const STRANGER: &str = "shared objects (locks, queues, pipes, ..) do not travel to strangers: the \
                        other side is another program, or came by a listener";

impl In {
    pub(crate) fn of_socket(socket: Arc<Socket>) -> In {
        In::Socket(SocketHandle::of(socket, true))
    }

    /// The next message, if it has no more than `most` bytes. A deadline that has passed means: without
    /// waiting.
    #[inline]
    pub(crate) fn recv(&self, most: u64, deadline: Deadline) -> Result<Parcel, RecvError> {
        match self {
            In::Ring(ring) => ring.recv(most, deadline),
            In::Socket(handle) => handle.open().ok_or(RecvError::Closed)?.recv(most, deadline),
        }
    }

    pub(crate) fn poll(&self, deadline: Deadline) -> bool {
        match self {
            In::Ring(ring) => ring.poll(deadline),
            In::Socket(handle) => handle.open().is_none_or(|socket| socket.poll(deadline)),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            In::Ring(ring) => ring.close(),
            In::Socket(handle) => handle.close(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            In::Ring(ring) => ring.is_closed(),
            In::Socket(handle) => handle.is_closed(),
        }
    }

    /// What travels when the handle is sent.
    pub(crate) fn object(&self) -> Result<Object, &'static str> {
        match self {
            In::Ring(ring) => ring.object().ok_or(CLOSED),
            In::Socket(_) => Err(STAYS),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        match self {
            In::Ring(ring) => ring.answers() > 0,
            // What has been read already; the rest is the descriptor's to say.
            In::Socket(handle) => handle
                .open()
                .is_none_or(|socket| socket.poll(Deadline::NOW)),
        }
    }

    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, CreateError> {
        match self {
            In::Ring(ring) => ring.fd(),
            In::Socket(handle) => Ok(handle.as_fd()),
        }
    }

    pub(crate) fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        match self {
            In::Ring(ring) => sources.bell(ring.ring().items()),
            In::Socket(handle) => sources.fd(handle.as_fd()),
        }
    }
}

/// One direction of a socket.
#[derive(Debug)]
pub(crate) struct SocketHandle {
    socket: Arc<Socket>,
    receiving: bool,
    closed: AtomicBool,
}

impl SocketHandle {
    /// Takes over one handle of the direction.
    fn of(socket: Arc<Socket>, receiving: bool) -> SocketHandle {
        SocketHandle {
            socket,
            receiving,
            closed: AtomicBool::new(false),
        }
    }

    fn open(&self) -> Option<&Socket> {
        let closed = self.closed.load(Ordering::Relaxed);
        (!closed).then_some(&*self.socket)
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.socket.remove_handle(self.receiving);
        }
    }

    fn is_closed(&self) -> bool {
        self.open()
            .is_none_or(|socket| socket.is_broken(self.receiving))
    }
}

impl Clone for SocketHandle {
    /// A clone of a closed handle is closed.
    fn clone(&self) -> SocketHandle {
        let clone = SocketHandle::of(self.socket.clone(), self.receiving);
        match self.open() {
            Some(socket) => socket.add_handle(self.receiving),
            None => clone.closed.store(true, Ordering::Relaxed),
        }
        clone
    }
}

impl Drop for SocketHandle {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsFd for SocketHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
