//! Copying this process as its own child.

use std::io::{Read, Write};

use nix::errno::Errno;

use super::{PidFd, lifetime, pidfd};
use crate::rest::Rest;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Forked {
    /// The one that was copied: number and descriptor of the copy, its child.
    Parent(u32, PidFd),
    /// The copy.
    Copy,
}

/// Copies this process, with the calling thread only. What the standard library and the C library have
/// buffered for output is written before, so that it is not written twice.
///
/// # Errors
///
/// `EAGAIN` at the limit of processes, `ENOMEM`, `EMFILE`; no copy is left then.
pub fn fork(rest: Rest) -> Result<Forked, Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let (mut wait, mut go) = std::io::pipe().map_err(errno)?;
    flush();
    // SAFETY: `rest` shows that no other thread of this process is inside anything: the copy finds
    // no lock held that nobody will release. Handlers that the program has registered run, as they
    // expect.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            rest.over_in_copy();
            drop(go);
            // Whoever made us holds our descriptor by now, or does without us.
            match wait.read(&mut [0]) {
                Ok(1) => Ok(Forked::Copy),
                _ => lifetime::exit_now(1),
            }
        }
        pid => {
            let pid = pid.unsigned_abs();
            drop((rest, wait));
            // It waits, so the number is still its own.
            let opened = PidFd::open(pid);
            if opened.is_ok() {
                // It can only have been killed meanwhile.
                let _ = go.write_all(&[1]);
            }
            drop(go);
            let child = opened.inspect_err(|_| pidfd::wait_for(pid))?;
            Ok(Forked::Parent(pid, child))
        }
    }
}

/// Writes what standard library and C library have buffered for standard output and error.
pub fn flush() {
    // There is nobody to tell that output is closed.
    let _ = std::io::stdout().flush();
    // SAFETY: null means all open streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}
