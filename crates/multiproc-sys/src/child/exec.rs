//! Running this program again, in a new process.

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use nix::errno::Errno;

use super::PidFd;

use crate::lift::lift;

/// The program that this process runs, whatever has become of its file.
const PROGRAM: &std::ffi::CStr = c"/proc/self/exe";

/// Enough for a handful of system calls.
const STACK: usize = 64 * 1024;

/// Arguments and environment of a new run of this program.
#[derive(Debug)]
pub struct SelfExec {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Why this program could not be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecError {
    /// The new process could not be made.
    Clone(Errno),
    /// It was made, but could not run the program; it is gone again.
    Exec(Errno),
}

/// What the new process needs between its birth and its exec. It shares our memory that long.
struct Order {
    argv: *const *const c_char,
    envp: *const *const c_char,
    keep: *const RawFd,
    keep_len: usize,
    parent: libc::pid_t,
    /// Written by the new process if its exec fails, read by us after it has gone.
    failure: c_int,
}

impl SelfExec {
    /// Runs with these arguments (the first is the name) and this environment.
    pub fn new(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> SelfExec {
        let pairs = environment.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        SelfExec {
            arguments: strings(arguments),
            environment: strings(pairs),
        }
    }

    /// Makes a process that runs the program, with the descriptors `keep` at the same numbers, the
    /// standard streams as they are, everything else closed, and all signals blocked.
    ///
    /// It is killed when the *thread* that calls this ends, however that comes: call from one that
    /// never does. With `share_directory` the two share one working directory, root directory and
    /// file mode mask for ever.
    ///
    /// # Errors
    ///
    /// [`ExecError::Clone`]: `EAGAIN` at the limit of processes, `ENOMEM`, `EMFILE`.
    /// [`ExecError::Exec`]: `ENOENT` without a mounted `/proc`, `EACCES`, `E2BIG`.
    pub fn start(
        &self,
        keep: &[BorrowedFd<'_>],
        share_directory: bool,
    ) -> Result<(u32, PidFd), ExecError> {
        let argv = pointers(&self.arguments);
        let envp = pointers(&self.environment);
        let keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
        let mut order = Order {
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            keep: keep.as_ptr(),
            keep_len: keep.len(),
            // The process id always fits.
            parent: std::process::id() as libc::pid_t,
            failure: 0,
        };
        let share = if share_directory { libc::CLONE_FS } else { 0 };
        // With our handlers the new process would change our memory, so no signal may reach it
        // before its exec; the program finds all signals blocked and decides.
        let mask = swap_mask(u64::MAX);
        let answer = order.run(share);
        swap_mask(mask);
        let (pid, pidfd) = answer.map_err(ExecError::Clone)?;
        if order.failure == 0 {
            return Ok((pid, pidfd));
        }
        // It has ended already: the clone returned because it did.
        let _ = pidfd.reap();
        Err(ExecError::Exec(Errno::from_raw(order.failure)))
    }
}

impl Order {
    fn run(&mut self, share: c_int) -> Result<(u32, PidFd), Errno> {
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let top = stack.as_mut_ptr_range().end;
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | share | libc::SIGCHLD;
        // SAFETY: `top` is the 16-byte aligned end of a stack that only the new process uses;
        // CLONE_VFORK suspends this thread until the process has run another program or ended, so
        // stack, order and everything it points to outlive the use. All signals are blocked, so
        // `enter` is the only code that runs there. With CLONE_PIDFD the fifth argument is where
        // the descriptor is stored.
        let pid = unsafe {
            libc::clone(
                enter,
                top.cast(),
                flags,
                ptr::from_mut(self).cast(),
                &raw mut pidfd,
            )
        };
        let pid = Errno::result(pid)?;
        // SAFETY: the kernel has just made this descriptor for us alone.
        let pidfd = lift(unsafe { OwnedFd::from_raw_fd(pidfd) });
        Ok((pid.unsigned_abs(), PidFd::from(pidfd)))
    }
}

/// Runs in the new process, on its own stack but in our memory: system calls only.
extern "C" fn enter(order: *mut c_void) -> c_int {
    let order: *mut Order = order.cast();
    // SAFETY: `order` is the exclusively borrowed `Order` of `run`, whose thread is suspended.
    let order = unsafe { &mut *order };
    // SAFETY: each call takes plain numbers, except execve, whose two arrays are null-terminated
    // arrays of C strings that outlive the call, and slice::from_raw_parts, which gets pointer and
    // length of one vector that outlives it.
    unsafe {
        // Before the program runs: it must not run as an orphan that takes itself for the parent.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != order.parent {
            libc::_exit(127);
        }
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        for &fd in std::slice::from_raw_parts(order.keep, order.keep_len) {
            libc::fcntl(fd, libc::F_SETFD, 0);
        }
        libc::execve(PROGRAM.as_ptr(), order.argv, order.envp);
    }
    order.failure = Errno::last_raw();
    127
}

/// The descriptor `number`, if it is open and came to this process through an exec: what the process
/// has opened itself is marked to be closed on exec by everybody who takes care.
pub fn inherited(number: RawFd) -> Option<BorrowedFd<'static>> {
    if number < 0 {
        return None;
    }
    // SAFETY: F_GETFD takes any number.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // SAFETY: the number is open. Nothing of ours owns it (ours are all marked), so it stays open
    // unless the program closes a number it does not own.
    (flags == 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Takes an [`inherited`] descriptor that has proved to be ours, and keeps it from further programs.
///
/// # Safety
///
/// Nobody else in this process owns it.
pub unsafe fn take_inherited(fd: BorrowedFd<'static>) -> OwnedFd {
    // SAFETY: F_SETFD takes plain numbers; the descriptor is open.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: it is open, and the caller vouches that it has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }
}

fn strings(from: impl IntoIterator<Item = OsString>) -> Vec<CString> {
    // What came from the operating system has no inner zero; what has one cannot be handed on.
    from.into_iter()
        .filter_map(|text| CString::new(text.into_vec()).ok())
        .collect()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let ends = std::iter::once(ptr::null());
    strings.iter().map(|s| s.as_ptr()).chain(ends).collect()
}

/// Sets this thread's mask of blocked signals and returns the old one.
///
/// By system call: the C library's function keeps two signals of its own out of the set.
pub(super) fn swap_mask(mask: u64) -> u64 {
    let mut old = 0_u64;
    // SAFETY: both pointers are to 8-byte masks, which is the size announced; blocking signals
    // changes no memory.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            size_of::<u64>(),
        );
    }
    old
}
