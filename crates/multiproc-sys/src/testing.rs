//! A raw fork for the tests of the crates above, which must not depend on the process crate; and
//! [`steps`], which brings a forked child to any instruction.

pub mod steps;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as send};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Forks. Returns 0 in the child, the child's process id in the parent.
///
/// The child of a process with threads must keep to what needs none of their locks.
///
/// # Errors
///
/// Whatever the kernel says.
pub fn fork() -> Result<u32, Errno> {
    // SAFETY: tests keep the child to shared memory, `_exit` and the allocator, which the C library
    // makes usable after a fork.
    let answer = unsafe { libc::fork() };
    Errno::result(answer).map(|pid| pid as u32)
}

/// Ends this process without any clean-up.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for a child; true if it ended with code 0.
///
/// # Errors
///
/// `ECHILD` if it is not ours or has been reaped.
pub fn wait(pid: u32) -> Result<bool, Errno> {
    let status = waitpid(Pid::from_raw(pid as i32), None)?;
    Ok(matches!(status, WaitStatus::Exited(_, 0)))
}

/// Kills a child that has not been reaped.
///
/// # Errors
///
/// `ESRCH` if there is none.
pub fn kill(pid: u32) -> Result<(), Errno> {
    send(Pid::from_raw(pid as i32), Signal::SIGKILL)
}

/// Stops a child as Ctrl-Z would, or lets it go on.
///
/// # Errors
///
/// `ESRCH` if there is none.
pub fn stop(pid: u32, stopped: bool) -> Result<(), Errno> {
    let signal = if stopped {
        Signal::SIGSTOP
    } else {
        Signal::SIGCONT
    };
    send(Pid::from_raw(pid as i32), signal)
}

/// Closes every descriptor of this process, whoever owns it. Nothing may use one afterwards, and
/// nothing may be dropped that owns one.
pub fn close_everything() {
    // SAFETY: takes plain numbers. Tests call it where the process only computes from here on.
    unsafe { libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0) };
}

/// Makes this process, with all its threads, one of user and group `id`, with no further rights.
///
/// # Errors
///
/// `EPERM` without the right to.
pub fn become_user(id: u32) -> Result<(), Errno> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

/// Ignores `SIGCHLD`, as a daemon may: then nobody gets the exit status of a child.
pub fn ignore_ended_children() {
    // SAFETY: no handler is replaced by one that could run; ignoring is valid for this signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// How many signals have come: see [`rain_signals`].
static FALLEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    FALLEN.fetch_add(1, Ordering::Relaxed);
}

/// Signals that come to this process until it ends.
#[derive(Debug)]
pub struct Rain(());

impl Rain {
    /// How many have come.
    pub fn fallen(&self) -> u64 {
        FALLEN.load(Ordering::Relaxed)
    }
}

/// Sends this process a signal each `period`. Its handler only counts, and system calls it comes upon
/// are interrupted.
///
/// # Errors
///
/// Whatever the kernel says.
pub fn rain_signals(period: Duration) -> Result<Rain, Errno> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    let handler = SigHandler::Handler(count_signal);
    // Without SA_RESTART.
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler adds to an atomic and does nothing else, which any signal may interrupt.
    unsafe { sigaction(Signal::SIGALRM, &action) }?;
    let every = libc::timeval {
        tv_sec: period.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(period.subsec_micros()),
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: `timer` is complete and outlives the call, and the old value is not wanted.
    let answer =
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    Errno::result(answer).map(|_| Rain(()))
}

/// Lets `SIGINT` end this process and what it starts, as a shell's background jobs do not.
pub fn heed_interrupts() {
    // SAFETY: no handler is replaced by one that could run; the default is valid for this signal.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}
