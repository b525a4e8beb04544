//! One child, named by a descriptor: its number cannot come to mean another process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use crate::lift::lift;

/// A descriptor of a process. It is readable once the process has ended.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended itself with this code, 0 to 255.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
}

/// What can be asked of a process from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGINT`, as from Ctrl-C.
    Interrupt,
    /// `SIGTERM`: please end.
    Terminate,
    /// `SIGKILL`: cannot be refused.
    Kill,
}

impl PidFd {
    /// Of the process with this number. Only sure to be the one meant if it is a child of ours that
    /// nobody has reaped, or ourselves.
    ///
    /// # Errors
    ///
    /// `ESRCH` without such a process, `EMFILE`, `ENFILE`.
    pub fn open(pid: u32) -> Result<PidFd, Errno> {
        // SAFETY: takes plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel has just made this descriptor for us alone; it fits, as all do.
        Ok(PidFd(lift(unsafe { OwnedFd::from_raw_fd(fd as i32) })))
    }

    /// Sends a signal. To one that has ended, that does nothing.
    ///
    /// # Errors
    ///
    /// `EPERM` if it runs as somebody else by now.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        let info = ptr::null::<libc::siginfo_t>();
        // SAFETY: takes numbers, and a null pointer for "the usual details".
        let answer = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                number,
                info,
                0,
            )
        };
        match Errno::result(answer) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Takes the exit status if the process, a child of ours, has ended: once, then it is gone.
    ///
    /// # Errors
    ///
    /// `ECHILD` if somebody else has taken it, or nobody could (`SIGCHLD` ignored): see
    /// [`PidFd::exit_of_reaped`].
    pub fn reap(&self) -> Result<Option<Exit>, Errno> {
        let fd = self.0.as_raw_fd().unsigned_abs();
        let found = wait(libc::P_PIDFD, fd, libc::WNOHANG)?;
        Ok(found.map(|(_, exit)| exit))
    }

    /// How a process ended whose status somebody else has taken. `None` where the kernel does not
    /// keep it (before 6.15).
    pub fn exit_of_reaped(&self) -> Option<Exit> {
        // SAFETY: the structure is plain numbers, for which all zero is valid.
        let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
        info.mask = u64::from(libc::PIDFD_INFO_EXIT);
        // SAFETY: the request's number holds the size of the structure it is given, which is
        // writable.
        let answer =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
        let known = answer == 0 && info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
        known.then(|| decode(info.exit_code))
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> PidFd {
        PidFd(fd)
    }
}

/// A status word as `waitpid` gives it.
fn decode(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal {
            number: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        }
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

fn wait(by: libc::idtype_t, id: u32, flags: i32) -> Result<Option<(u32, Exit)>, Errno> {
    // SAFETY: the structure is plain numbers and unions of them, for which all zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is writable for the call, which keeps no pointer.
        let answer =
            unsafe { libc::waitid(by, id, &raw mut info, libc::WEXITED | libc::__WALL | flags) };
        match Errno::result(answer) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: waitid has filled the part of the union that belongs to child states, or left all zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED {
        Exit::Code(status)
    } else {
        Exit::Signal {
            number: status,
            core: info.si_code == libc::CLD_DUMPED,
        }
    };
    Ok(Some((pid.unsigned_abs(), exit)))
}

/// Waits for the end of a child that nobody else knows of.
pub(super) fn wait_for(pid: u32) {
    let _ = wait(libc::P_PID, pid, 0);
}

/// Reaps ended children *of the calling thread* that `known` does not claim.
///
/// For a thread all of whose children are known by their descriptors: what is left is a child whose
/// birth nobody was told of.
pub fn reap_strays(known: impl Fn(u32) -> bool) {
    let peek = libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD;
    // The kernel always shows the same one first, so the first known one ends the search; the next
    // search comes when that one has been reaped.
    while let Ok(Some((pid, _))) = wait(libc::P_ALL, 0, peek) {
        if known(pid) || !matches!(wait(libc::P_PID, pid, libc::WNOHANG), Ok(Some(_))) {
            return;
        }
    }
}
