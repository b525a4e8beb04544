//! Whether a process that is not our child still runs.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// Whether process `pid` has ended, reaped or not. A number that was given to another process since
/// counts as running.
///
/// What cannot be found out (no descriptor free) counts as running: ask again later.
pub fn has_ended(pid: u32) -> bool {
    // SAFETY: pidfd_open takes a number and flags, and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match Errno::result(fd) {
        Err(Errno::ESRCH) => true,
        Err(_) => false,
        Ok(fd) => {
            // SAFETY: the call just gave us this descriptor; nobody else owns it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
            let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
        }
    }
}

/// Whether `tid` is a thread of process `pid`. Without a mounted `/proc` only its first is known.
pub fn has_thread(pid: u32, tid: u32) -> bool {
    pid == tid || std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::{has_ended, has_thread};

    #[test]
    fn a_thread_belongs_to_its_process() {
        let own = std::process::id();
        let here = std::thread::spawn(move || has_thread(own, crate::robust::tid()));
        assert!(here.join().expect("no panic") && has_thread(own, own));
        assert!(!has_thread(own, u32::MAX));
    }

    #[test]
    fn a_running_process_has_not_ended_and_a_zombie_has() {
        assert!(!has_ended(std::process::id()));
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("true runs");
        let pid = child.id();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !has_ended(pid) {
            assert!(std::time::Instant::now() < until);
            std::thread::yield_now();
        }
        child.wait().expect("our child");
        assert!(has_ended(pid));
    }
}
