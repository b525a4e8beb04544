//! A working directory, held open: the place stays the same whatever becomes of its name.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Opens a directory to go to. A relative path begins at this process's working directory of now.
///
/// # Errors
///
/// `ENOENT`, `ENOTDIR`, `EACCES` for the path; `EMFILE`, `ENFILE`.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

/// Makes it this process's working directory.
///
/// # Errors
///
/// `EACCES` if this process may not search it.
pub fn enter_directory(directory: impl AsFd) -> Result<(), Errno> {
    nix::unistd::fchdir(directory)
}
