//! Without the feature `tls` there are no certificates: the type has no values, and what would be done with
//! one is never done.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use multiproc_pipe::ConnectError;
use multiproc_sys::Errno;
use multiproc_sys::clock::Deadline;
use multiproc_wire::Bytes;

/// Certificates, of which there are none.
#[derive(Clone, Debug)]
pub(crate) enum Tls {}

/// How it went with the tunnel of a connection.
#[derive(Debug)]
pub(crate) enum Fate {}

impl Fate {
    pub(crate) fn explain(&self, _: ConnectError) -> ConnectError {
        match *self {}
    }
}

impl Tls {
    pub(crate) fn to_bytes(&self) -> Bytes {
        match *self {}
    }

    /// Certificates that somebody with the feature has sent cannot be used here.
    pub(crate) fn from_bytes(_: &[u8]) -> Option<Tls> {
        None
    }

    pub(crate) fn accept(&self, _: OwnedFd) -> Result<OwnedFd, Errno> {
        match *self {}
    }

    pub(crate) fn connect(
        &self,
        _: OwnedFd,
        _: SocketAddr,
        _: Deadline,
    ) -> Result<(OwnedFd, Fate), ConnectError> {
        match *self {}
    }
}

/// Waits until all has been sent.
pub(crate) fn drain(_: Duration) {}
