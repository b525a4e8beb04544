//! The three standard streams of a process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

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
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

/// This process's output and error streams, for handing them to a child; `None` if one is closed.
pub fn outputs() -> Option<[BorrowedFd<'static>; 2]> {
    // SAFETY: F_GETFD takes any number.
    let open = |number| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    if !open(1) || !open(2) {
        return None;
    }
    // SAFETY: both are open; should the program close one of them by number meanwhile, the use fails
    // with EBADF or takes what the program has put there, as a write to the stream would.
    Some([1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) }))
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
