//! Copying this process as a sibling: a child of its own parent.

use std::ffi::{c_int, c_long};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::PidFd;
use crate::forkmark;
use crate::lift::lift;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Side {
    /// The one that asked. `pid` and `pidfd` are of the copy, which is not its child.
    Original {
        /// The copy's process id.
        pid: u32,
        /// A descriptor of the copy.
        pidfd: PidFd,
    },
    /// The copy: a child of the original's parent.
    Copy,
}

/// What the C library has told the kernel of this thread, and a copy made behind its back loses.
#[derive(Clone, Copy)]
struct ThreadFacts {
    tid_address: *mut c_int,
    robust_head: *const libc::c_void,
    robust_len: usize,
}

/// Size of the kernel's `robust_list_head`.
const ROBUST_HEAD: usize = 24;

fn facts() -> Result<ThreadFacts, Errno> {
    let mut facts = ThreadFacts {
        tid_address: ptr::null_mut(),
        robust_head: ptr::null(),
        robust_len: 0,
    };
    // SAFETY: the option stores one pointer at the given place.
    let answer = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut facts.tid_address) };
    Errno::result(answer)?;
    // SAFETY: pid 0 is the calling thread; both results are writable places of the expected sizes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            0,
            &raw mut facts.robust_head,
            &raw mut facts.robust_len,
        )
    };
    Errno::result(answer)?;
    if facts.tid_address.is_null() || facts.robust_len != ROBUST_HEAD {
        return Err(Errno::ENOTSUP);
    }
    Ok(facts)
}

/// Whether [`sibling`] can repair what it makes. It cannot on a kernel built without
/// `CONFIG_CHECKPOINT_RESTORE`, nor under a filter that hides it.
///
/// # Errors
///
/// What the kernel said.
pub fn can_clone() -> Result<(), Errno> {
    facts().map(drop)
}

/// Copies this process. The copy is a child of *this process's parent*, which can wait for it as for
/// any other; it has this thread only, and a descriptor table and memory of its own. Working directory,
/// root directory and file mode mask it shares, as this process may share them with others, until it
/// calls [`unshare_directory`](super::unshare_directory).
///
/// # Errors
///
/// `EAGAIN` at the limit of processes, `ENOMEM`, `EMFILE`; as [`can_clone`].
///
/// # Safety
///
/// This process has one thread, and no lock of the process is held: the copy has nobody else who
/// could release one. Handlers for `fork` do not run.
pub unsafe fn sibling() -> Result<Side, Errno> {
    let facts = facts()?;
    let mut pidfd: c_int = -1;
    // The C library reads its thread id from where the kernel stores it for us; the exit signal is
    // that of this process, which CLONE_PARENT insists on.
    let flags = libc::CLONE_PARENT
        | libc::CLONE_FS
        | libc::CLONE_PIDFD
        | libc::CLONE_CHILD_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    // SAFETY: without CLONE_VM the copy has its own memory, so a stack of null means the same stack
    // in both, as after fork. `pidfd` is writable; the thread id's address is where the C library
    // keeps it, in both. The caller vouches for the single thread.
    let answer = unsafe { clone(flags, &raw mut pidfd, facts.tid_address) };
    match Errno::result(answer)? {
        0 => {
            // Else a robust lock held at its death would be lost for ever.
            // SAFETY: the head is the one the C library registered for this thread, at the same
            // address in the copy, and lives as long as the thread.
            unsafe {
                libc::syscall(
                    libc::SYS_set_robust_list,
                    facts.robust_head,
                    facts.robust_len,
                )
            };
            forkmark::renew();
            Ok(Side::Copy)
        }
        pid => {
            // SAFETY: the kernel has just made this descriptor for us alone.
            let pidfd = lift(unsafe { OwnedFd::from_raw_fd(pidfd) });
            Ok(Side::Original {
                pid: u32::try_from(pid).unwrap_or(0),
                pidfd: PidFd::from(pidfd),
            })
        }
    }
}

/// The raw call: containers often refuse `clone3`. The order of arguments is the architecture's.
unsafe fn clone(flags: c_int, pidfd: *mut c_int, tid: *mut c_int) -> c_long {
    let stack = ptr::null_mut::<libc::c_void>();
    let tls = 0_usize;
    // SAFETY: passed on.
    #[cfg(target_arch = "x86_64")]
    return unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags), stack, pidfd, tid, tls) };
    // SAFETY: passed on.
    #[cfg(not(target_arch = "x86_64"))]
    return unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags), stack, pidfd, tls, tid) };
}
