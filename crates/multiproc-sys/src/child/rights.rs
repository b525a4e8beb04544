//! What a process may do, as far as it cannot be given to a copy of another one later.
//!
//! A copy made by [`sibling`](super::sibling) has the rights of the process it is a copy of, which
//! were those of our own process when that one began. [`Rights`] of then and of now tell whether they
//! are still the same.
//!
//! Compared: user and group ids, further groups, all five capability sets, `no_new_privs`, seccomp
//! mode and number of filters, session, control group, network namespace. Not compared, as too dear
//! for each start (2 us each): the other namespaces, and labels of security modules. Working
//! directory, root directory and file mode mask need no comparison where they are shared, which
//! [`shares_directory`] tells; a thread that enters another mount namespace stops sharing them.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::stat::stat;

use super::PidFd;

/// The lines of `/proc/thread-self/status` that are rights.
const LINES: [&[u8]; 12] = [
    b"Uid:",
    b"Gid:",
    b"Groups:",
    b"NSsid:",
    b"CapInh:",
    b"CapPrm:",
    b"CapEff:",
    b"CapBnd:",
    b"CapAmb:",
    b"NoNewPrivs:",
    b"Seccomp:",
    b"Seccomp_filters:",
];

/// The rights of one thread at one moment. Equal means: nothing compared has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    status: Vec<u8>,
    session: i32,
    group: Group,
    network: (u64, u64),
}

/// Which control group: its number where the kernel tells it (6.13), else what `/proc` says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    Number(u64),
    Text(Vec<u8>),
}

impl Rights {
    /// Those of the calling thread; new threads and processes inherit them from it.
    ///
    /// # Errors
    ///
    /// `ENOENT` without a mounted `/proc`, `EMFILE`, `ENFILE`.
    pub fn of_this_thread() -> Result<Rights, Errno> {
        let mut buffer = [0; 4096];
        let status = read("/proc/thread-self/status", &mut buffer)?;
        let wanted = |line: &&[u8]| LINES.iter().any(|name| line.starts_with(name));
        let lines = status.split(|&byte| byte == b'\n').filter(wanted);
        Ok(Rights {
            status: lines.collect::<Vec<_>>().join(&b'\n'),
            // SAFETY: takes a plain number; 0 is this process.
            session: unsafe { libc::getsid(0) },
            group: control_group()?,
            network: network_namespace(),
        })
    }
}

fn read<'b>(path: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let len = File::open(path)
        .and_then(|mut file| file.read(buffer))
        .map_err(errno)?;
    Ok(&buffer[..len])
}

fn control_group() -> Result<Group, Errno> {
    let me = PidFd::open(std::process::id())?;
    // SAFETY: the structure is plain numbers, for which all zero is valid.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_CGROUPID);
    // SAFETY: the request's number holds the size of the structure it is given, which is writable.
    let answer =
        unsafe { libc::ioctl(me.as_fd().as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    if answer == 0 && info.mask & u64::from(libc::PIDFD_INFO_CGROUPID) != 0 {
        return Ok(Group::Number(info.cgroupid));
    }
    let mut buffer = [0; 4096];
    // A kernel without control groups has no such file.
    let text = read("/proc/self/cgroup", &mut buffer).unwrap_or_default();
    Ok(Group::Text(text.to_vec()))
}

/// Zeros where a kernel or a filter does not show it: then there is nothing to compare.
fn network_namespace() -> (u64, u64) {
    stat("/proc/thread-self/ns/net").map_or((0, 0), |found| (found.st_dev, found.st_ino))
}

/// Whether the calling thread and thread `tid` of this process have one working directory, root
/// directory and file mode mask: if one changes them, so they are for the other. That is so unless a
/// thread has asked for its own (`unshare`). Taken for granted where the kernel cannot compare.
pub fn shares_directory(tid: u32) -> bool {
    /// `KCMP_FS` of `linux/kcmp.h`.
    const FS: i32 = 3;
    // SAFETY: takes plain numbers; the last two are not used for this comparison.
    let answer = unsafe {
        let me = libc::gettid();
        libc::syscall(libc::SYS_kcmp, me, tid, FS, 0, 0)
    };
    answer <= 0
}

/// Gives this process a working directory, root directory and file mode mask of its own: those of
/// this moment.
///
/// # Errors
///
/// `ENOMEM`.
pub fn unshare_directory() -> Result<(), Errno> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_equal_until_one_is_given_up() {
        std::thread::spawn(|| {
            let before = Rights::of_this_thread().expect("rights");
            assert_eq!(before, Rights::of_this_thread().expect("rights"));
            nix::sys::prctl::set_no_new_privs().expect("anyone may give it up");
            assert_ne!(before, Rights::of_this_thread().expect("rights"));
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_thread_with_a_directory_of_its_own_is_noticed() {
        let me = crate::robust::tid();
        assert!(shares_directory(me));
        let mine = std::thread::spawn(move || {
            assert!(shares_directory(me));
            unshare_directory().expect("anyone may");
            shares_directory(me)
        });
        assert!(!mine.join().expect("no panic"));
    }

    #[test]
    fn a_new_thread_inherits_them() {
        let here = Rights::of_this_thread().expect("rights");
        let there = std::thread::spawn(Rights::of_this_thread).join();
        assert_eq!(Ok(here), there.expect("no panic"));
    }
}
