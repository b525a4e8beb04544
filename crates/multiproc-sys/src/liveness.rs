//! Whether a process that is not our child still runs.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::forkmark;
use crate::lift::lift;

/// Whether process `pid` has ended, reaped or not. An id that was given to another process since
/// counts as running; see [`is_over`].
///
/// What cannot be found out (no descriptor free) counts as running: ask again later.
pub fn has_ended(pid: u32) -> bool {
    is_over(pid, 0)
}

/// Whether the process that had the id `pid` and this [`number_of`] has ended, whoever has the id now.
///
/// What cannot be found out counts as running, as for [`has_ended`].
pub fn is_over(pid: u32, number: u32) -> bool {
    match open(pid) {
        Err(Errno::ESRCH) => true,
        Err(_) => false,
        Ok(fd) => {
            let now = number_behind(&fd);
            let another = number != 0 && now != 0 && now != number;
            let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            another || matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
        }
    }
}

/// A number that says which process has the id: the kernel counts them all (from 6.9 on; before, the
/// number is the same for all, and says nothing). 0 if it cannot be found out.
pub fn number_of(pid: u32) -> u32 {
    open(pid).map_or(0, |fd| number_behind(&fd))
}

/// The id of this process. By the general call: each function that a new process runs through may be a
/// page to be met.
pub fn own_pid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as u32 }
}

/// [`number_of`] this process. Asked for once: a spare process asks before anybody waits for it.
pub fn own_number() -> u32 {
    // The number, and the mark of the process whose number it is.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static OF: AtomicU64 = AtomicU64::new(0);
    let me = forkmark::stamp();
    if me != 0 && OF.load(Ordering::Acquire) == me {
        return NUMBER.load(Ordering::Relaxed);
    }
    let number = number_of(own_pid());
    NUMBER.store(number, Ordering::Relaxed);
    OF.store(me, Ordering::Release);
    number
}

fn number_behind(fd: &OwnedFd) -> u32 {
    // SAFETY: the structure is plain numbers, for which all zero is valid.
    let mut about: libc::statx = unsafe { std::mem::zeroed() };
    let no_path = [0_u8];
    // By the general call, as in `own_pid`.
    // SAFETY: the path is an empty C string, which means the descriptor itself; `about` is writable.
    let answer = unsafe {
        let (flags, wanted) = (libc::AT_EMPTY_PATH, libc::STATX_INO);
        let (path, about) = (no_path.as_ptr(), &raw mut about);
        libc::syscall(libc::SYS_statx, fd.as_raw_fd(), path, flags, wanted, about)
    };
    if answer == 0 { about.stx_ino as u32 } else { 0 }
}

fn open(pid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes a number and flags, and touches no memory of ours.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call just gave us this descriptor; nobody else owns it.
    Ok(lift(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
}

/// Whether `tid` is a thread of process `pid`. Without a mounted `/proc` only its first is known.
pub fn has_thread(pid: u32, tid: u32) -> bool {
    pid == tid || std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::{has_ended, has_thread, is_over, number_of};

    #[test]
    fn another_process_with_the_id_does_not_pass_for_the_one_that_had_it() {
        let own = std::process::id();
        let (mine, init) = (number_of(own), number_of(1));
        assert_ne!(mine, 0);
        assert_eq!((mine, mine), (number_of(own), super::own_number()));
        assert_eq!(mine, super::own_number());
        assert!(!is_over(own, mine) && !is_over(own, 0));
        if mine == init {
            return println!("left out: this kernel does not number processes");
        }
        assert!(is_over(own, init));
    }

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
