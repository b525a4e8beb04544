//! Open files in a packet that waits in a socket: put in once, looked at any number of times.
//!
//! One packet carries so many descriptors and no more. Of more files, each group waits in a socket of
//! its own, and those sockets in one more: the first byte of a packet says which it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use multiproc_sys::Errno;
use multiproc_sys::socket::{self, MOST_DESCRIPTORS, Socket};

use crate::error::{CreateError, OpenError, TOO_MANY_FILES};

const FILES: u8 = 1;
const GROUPS: u8 = 2;

/// The most files of one parcel.
const MOST: usize = MOST_DESCRIPTORS * MOST_DESCRIPTORS;

/// The end of a socket in which `files` wait.
pub(super) fn pack(files: &[BorrowedFd<'_>]) -> Result<Socket, CreateError> {
    if files.len() > MOST {
        return Err(CreateError::Invalid(format!(
            "{} open files in one message; the most is {MOST}",
            files.len()
        )));
    }
    let packed = match files.len() <= MOST_DESCRIPTORS {
        true => seal(FILES, files),
        false => in_groups(files),
    };
    packed.map_err(|errno| CreateError::from_errno("packing open files", errno))
}

fn in_groups(files: &[BorrowedFd<'_>]) -> Result<Socket, Errno> {
    let groups = files.chunks(MOST_DESCRIPTORS);
    let groups = groups.map(|group| seal(FILES, group));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    let borrowed: Vec<_> = groups.iter().map(AsFd::as_fd).collect();
    seal(GROUPS, &borrowed)
}

/// Nothing can be added afterwards: the end that sends is closed.
fn seal(what: u8, files: &[BorrowedFd<'_>]) -> Result<Socket, Errno> {
    let (fill, keep) = socket::pair()?;
    fill.send(&[what], files)?;
    Ok(keep)
}

/// Copies of the files that wait behind `packed`.
pub(super) fn unpack(packed: &Socket) -> Result<Vec<OwnedFd>, OpenError> {
    let (what, files) = peek(packed)?;
    match what {
        FILES => Ok(files),
        GROUPS => unpack_groups(files),
        _ => Err(wrong()),
    }
}

fn unpack_groups(groups: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, OpenError> {
    let mut all = Vec::new();
    for group in groups {
        let group = Socket::from_fd(group).map_err(|_| wrong())?;
        match peek(&group)? {
            (FILES, files) => all.extend(files),
            _ => return Err(wrong()),
        }
    }
    Ok(all)
}

fn peek(packed: &Socket) -> Result<(u8, Vec<OwnedFd>), OpenError> {
    let mut what = [0];
    let got = packed.peek(&mut what).map_err(|errno| OpenError::Os {
        doing: "looking at open files",
        errno,
    })?;
    match got {
        // What did arrive is closed, and waits where it was.
        Some(got) if got.truncated => Err(OpenError::TooManyFiles(TOO_MANY_FILES)),
        Some(got) if got.len == 1 => Ok((what[0], got.fds)),
        _ => Err(wrong()),
    }
}

fn wrong() -> OpenError {
    OpenError::Corrupt("what is kept as open files is something else")
}
