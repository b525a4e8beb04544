//! The three standard streams of a process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::lift::lift;

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

impl Stream {
    fn number(self) -> i32 {
        match self {
            Stream::Input => 0,
            Stream::Output => 1,
            Stream::Error => 2,
        }
    }

    /// Makes the stream another name of `fd`.
    ///
    /// # Errors
    ///
    /// `EBADF` if `fd` is not open.
    pub fn point_to(self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: takes plain numbers. The standard streams belong to nobody: std borrows them by
        // number for each use, so replacing the file behind one breaks no owner.
        let answer = unsafe { libc::dup2(fd.as_raw_fd(), self.number()) };
        Errno::result(answer).map(drop)
    }
}

/// A descriptor that reads as empty and swallows what is written.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`; `ENOENT` without a `/dev`.
pub fn null() -> Result<OwnedFd, Errno> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(lift)
}

/// One of this process's streams, for handing it to a child; `None` if it is closed.
pub fn own(stream: Stream) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD takes any number.
    let open = unsafe { libc::fcntl(stream.number(), libc::F_GETFD) } >= 0;
    // SAFETY: it is open; should the program close it by number meanwhile, the use fails with EBADF
    // or takes what the program has put there, as a write to the stream would.
    open.then(|| unsafe { BorrowedFd::borrow_raw(stream.number()) })
}

/// Lets reads from this end of a pipe return at once (`EAGAIN`) where there is nothing to read. The
/// other end is not affected.
///
/// # Errors
///
/// None for a pipe.
pub fn do_not_wait(reader: BorrowedFd<'_>) -> Result<(), Errno> {
    use nix::fcntl::{FcntlArg, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(reader, FcntlArg::F_GETFL)?);
    fcntl(reader, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Points all three streams to nothing.
///
/// # Errors
///
/// As [`null`].
pub fn silence() -> Result<(), Errno> {
    let null = null()?;
    [Stream::Input, Stream::Output, Stream::Error]
        .into_iter()
        .try_for_each(|stream| stream.point_to(null.as_fd()))
}
