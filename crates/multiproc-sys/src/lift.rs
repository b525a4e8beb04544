//! Descriptors of this library have no number of a standard stream, 0 to 2.
//!
//! A program may close its streams while it runs, as one does that goes into the background. The next
//! descriptor that the kernel makes has the number of one of them then, and what the program prints
//! afterwards is written there. So whatever makes a descriptor hands it through [`lift`] at once.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The highest number of a standard stream.
const STREAMS: i32 = 2;

/// The same file under a higher number if it has one of a standard stream; as it is if there is none.
pub fn lift(fd: OwnedFd) -> OwnedFd {
    if fd.as_raw_fd() > STREAMS {
        return fd;
    }
    above(fd)
}

#[cold]
fn above(fd: OwnedFd) -> OwnedFd {
    // The standard library's clones are never below 3, and closed on exec.
    fd.as_fd().try_clone_to_owned().unwrap_or(fd)
}

/// [`std::io::pipe`], both ends lifted.
///
/// # Errors
///
/// `EMFILE`, `ENFILE` without a free descriptor.
pub fn pipe() -> std::io::Result<(std::io::PipeReader, std::io::PipeWriter)> {
    let (reader, writer) = std::io::pipe()?;
    Ok((lift(reader.into()).into(), lift(writer.into()).into()))
}
