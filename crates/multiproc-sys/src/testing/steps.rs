//! Bringing a child to a chosen instruction of an operation, to be killed exactly there.
//!
//! The child calls [`begin`] and [`end`] around the operation, and stops at both. The parent steps
//! one child from one to the other with [`trace`], which writes down where each instruction lies;
//! with [`advance`], further children run to an instruction shortly before the chosen one, by a
//! breakpoint, and are stepped from there. User instructions count; a system call is one of them.
//!
//! All calls of the parent come from the thread that forked the child: to the kernel, that thread is
//! the tracer. The children are forks of one process, so that code lies at the same place in all.

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{exit_now, fork, kill};

/// Longer operations are refused: something has gone round in circles.
const MOST_STEPS: usize = 5_000_000;

/// What a child ends with that is not allowed to be traced.
const REFUSED: i32 = 88;

/// An operation's instructions, in the order one child ran them.
#[derive(Debug)]
pub struct Trace {
    addresses: Vec<u64>,
    /// The steps at which an address comes for the first time: where a breakpoint is not met early.
    firsts: Vec<usize>,
}

impl Trace {
    /// How many instructions the operation took.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether it took none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Inside the operation, before the instruction at this address.
    Inside(u64),
    /// At its end.
    End,
}

/// In the child: the operation begins here.
pub fn begin() {
    if ptrace::traceme().is_err() {
        exit_now(REFUSED);
    }
    stop();
}

/// In the child: the operation is complete.
pub fn end() {
    stop();
}

fn stop() {
    // The bare call, as the C library's has instructions of its own after the stop.
    // SAFETY: sends this thread a signal that only stops it; takes and returns plain numbers.
    unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            libc::getpid(),
            libc::gettid(),
            libc::SIGSTOP,
        )
    };
}

/// Why no child can be stepped here, if so.
pub fn refusal() -> Option<String> {
    if !arch::KNOWN {
        return Some("stepping is written for x86-64 and aarch64 only".into());
    }
    let pid = match fork() {
        Err(errno) => return Some(format!("no process can be made: {errno}")),
        Ok(0) => {
            begin();
            end();
            exit_now(0)
        }
        Ok(pid) => Pid::from_raw(pid as i32),
    };
    let refused = match waitpid(pid, None) {
        Ok(WaitStatus::Stopped(..)) => ptrace::step(pid, None)
            .and_then(|()| waitpid(pid, None))
            .and_then(|_| arch::address(pid))
            .err()
            .map(|errno| format!("ptrace is refused: {errno}")),
        Ok(WaitStatus::Exited(_, REFUSED)) => return Some("ptrace is refused".into()),
        other => Some(format!("a traced child came back as {other:?}")),
    };
    let _gone = kill(pid.as_raw() as u32).and_then(|()| super::wait(pid.as_raw() as u32));
    refused
}

/// Steps a child from [`begin`] to [`end`].
///
/// # Errors
///
/// What the child did instead.
pub fn trace(pid: u32) -> Result<Trace, String> {
    let pid = Pid::from_raw(pid as i32);
    stopped_at_begin(pid)?;
    let mut addresses = Vec::new();
    let mut firsts = Vec::new();
    let mut seen = std::collections::HashSet::new();
    loop {
        let address = arch::address(pid).map_err(|errno| errno.to_string())?;
        if seen.insert(address) {
            firsts.push(addresses.len());
        }
        addresses.push(address);
        if addresses.len() > MOST_STEPS {
            return Err(format!("not complete after {MOST_STEPS} instructions"));
        }
        if step(pid)? == Signal::SIGSTOP {
            return Ok(Trace { addresses, firsts });
        }
    }
}

/// Brings a child from [`begin`] to where `steps` instructions of `trace` are behind it. A child that
/// goes another way stops somewhere near, or at the end.
///
/// # Errors
///
/// What the child did instead.
pub fn advance(pid: u32, trace: &Trace, steps: usize) -> Result<Reached, String> {
    let pid = Pid::from_raw(pid as i32);
    stopped_at_begin(pid)?;
    let known = trace.firsts.partition_point(|&first| first <= steps);
    let mut done = 0;
    for &first in trace.firsts[..known].iter().rev() {
        if first == 0 {
            break;
        }
        match run_to(pid, trace.addresses[first])? {
            Run::There => done = first,
            Run::End => return Ok(Reached::End),
            Run::Impossible => continue,
        }
        break;
    }
    for _ in done..steps {
        if step(pid)? == Signal::SIGSTOP {
            return Ok(Reached::End);
        }
    }
    let address = arch::address(pid).map_err(|errno| errno.to_string())?;
    Ok(Reached::Inside(address))
}

/// Lets a child that [`advance`] has stopped go on, untraced. It must not come to [`end`].
///
/// # Errors
///
/// What the kernel says.
pub fn go_on(pid: u32) -> Result<(), String> {
    ptrace::detach(Pid::from_raw(pid as i32), None).map_err(|errno| errno.to_string())
}

enum Run {
    There,
    End,
    /// No breakpoint can be set at that address.
    Impossible,
}

fn run_to(pid: Pid, address: u64) -> Result<Run, String> {
    let Ok(was) = ptrace::read(pid, address as ptrace::AddressType) else {
        return Ok(Run::Impossible);
    };
    let with_breakpoint = was & !arch::BREAKPOINT_MASK | arch::BREAKPOINT;
    if ptrace::write(pid, address as ptrace::AddressType, with_breakpoint).is_err() {
        return Ok(Run::Impossible);
    }
    let go_on = ptrace::cont(pid, None).map_err(|errno| errno.to_string());
    let signal = go_on.and_then(|()| stopped(pid))?;
    ptrace::write(pid, address as ptrace::AddressType, was).map_err(|errno| errno.to_string())?;
    match signal {
        Signal::SIGSTOP => Ok(Run::End),
        _ => arch::back_to(pid, address)
            .map(|()| Run::There)
            .map_err(|errno| errno.to_string()),
    }
}

fn stopped_at_begin(pid: Pid) -> Result<(), String> {
    match stopped(pid)? {
        Signal::SIGSTOP => Ok(()),
        signal => Err(format!("the child got {signal} before it began")),
    }
}

fn step(pid: Pid) -> Result<Signal, String> {
    ptrace::step(pid, None).map_err(|errno| errno.to_string())?;
    stopped(pid)
}

/// The signal the child has stopped for: SIGTRAP after a step or at a breakpoint, SIGSTOP at its marks.
fn stopped(pid: Pid) -> Result<Signal, String> {
    match waitpid(pid, None) {
        Ok(WaitStatus::Stopped(_, signal @ (Signal::SIGTRAP | Signal::SIGSTOP))) => Ok(signal),
        Ok(other) => Err(format!("the child came back as {other:?}")),
        Err(errno) => Err(format!("waiting for the child: {errno}")),
    }
}

/// The address as `file+offset`, for `addr2line -fie file offset`.
pub fn describe(address: u64) -> String {
    // SAFETY: an all-zero `Dl_info` is valid (null pointers).
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let at = std::ptr::without_provenance(address as usize);
    // SAFETY: takes any address, which it only looks up, and a writable result.
    let found = unsafe { libc::dladdr(at, &mut info) } != 0 && !info.dli_fname.is_null();
    if !found {
        return format!("{address:#x}");
    }
    // SAFETY: the call succeeded, so this is the name of a loaded object, nul-terminated, which lives
    // as long as that is loaded; nothing is unloaded here.
    let file = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) };
    let offset = address - info.dli_fbase.addr() as u64;
    format!("{}+{offset:#x}", file.to_string_lossy())
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use nix::sys::ptrace;
    use nix::{errno::Errno, unistd::Pid};

    pub(super) const KNOWN: bool = true;
    /// `int3`
    pub(super) const BREAKPOINT: i64 = 0xCC;
    pub(super) const BREAKPOINT_MASK: i64 = 0xFF;

    pub(super) fn address(pid: Pid) -> Result<u64, Errno> {
        ptrace::getregs(pid).map(|registers| registers.rip)
    }

    /// The instruction pointer is behind the breakpoint.
    pub(super) fn back_to(pid: Pid, address: u64) -> Result<(), Errno> {
        let mut registers = ptrace::getregs(pid)?;
        registers.rip = address;
        ptrace::setregs(pid, registers)
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use nix::sys::ptrace;
    use nix::{errno::Errno, unistd::Pid};

    pub(super) const KNOWN: bool = true;
    /// `brk #0`
    pub(super) const BREAKPOINT: i64 = 0xD420_0000;
    pub(super) const BREAKPOINT_MASK: i64 = 0xFFFF_FFFF;

    pub(super) fn address(pid: Pid) -> Result<u64, Errno> {
        ptrace::getregs(pid).map(|registers| registers.pc)
    }

    /// The instruction pointer is at the breakpoint already.
    pub(super) fn back_to(_pid: Pid, _address: u64) -> Result<(), Errno> {
        Ok(())
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    use nix::{errno::Errno, unistd::Pid};

    pub(super) const KNOWN: bool = false;
    pub(super) const BREAKPOINT: i64 = 0;
    pub(super) const BREAKPOINT_MASK: i64 = 0;

    pub(super) fn address(_pid: Pid) -> Result<u64, Errno> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn back_to(_pid: Pid, _address: u64) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_stopped_at_any_chosen_instruction() {
        if let Some(why) = refusal() {
            return println!("left out: {why}");
        }
        let start = || match fork().expect("fork") {
            0 => {
                begin();
                let mut sum = 0u64;
                for number in 0..3 {
                    sum += std::hint::black_box(number);
                }
                std::hint::black_box(sum);
                end();
                exit_now(0)
            }
            pid => pid,
        };
        let finish = |pid| {
            kill(pid).expect("our child");
            assert_eq!(crate::testing::wait(pid), Ok(false));
        };
        let pid = start();
        let trace = trace(pid).expect("to the end");
        finish(pid);
        assert!(trace.len() > 20 && !trace.is_empty());
        for (steps, &address) in trace.addresses.iter().enumerate() {
            let pid = start();
            assert_eq!(advance(pid, &trace, steps), Ok(Reached::Inside(address)));
            finish(pid);
        }
        let pid = start();
        assert_eq!(advance(pid, &trace, trace.len()), Ok(Reached::End));
        finish(pid);
    }
}
