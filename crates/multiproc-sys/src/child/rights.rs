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
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::stat::stat;

use super::PidFd;

/// The lines of `/proc/thread-self/status` that are rights. Only there does the kernel tell how many
/// filters there are.
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
    identity: Identity,
    session: i32,
    group: Group,
    network: (u64, u64),
}

/// Who the thread is and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    /// Of a thread without filters: by system calls, at a quarter of the price.
    Unfiltered(Box<Credentials>),
    /// Of one with filters: what `/proc` says.
    Text(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Credentials {
    /// Real, effective, saved, for files.
    users: [u32; 4],
    groups: [u32; 4],
    further: Vec<u32>,
    /// Effective, permitted, inheritable: lower halves, then upper ones.
    capabilities: [[u32; 3]; 2],
    bounding: u64,
    ambient: u64,
    no_new_privileges: i32,
}

/// Which control group: its number where the kernel tells it (6.13) and there is one hierarchy, else what
/// `/proc` says.
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
        Ok(Rights {
            identity: match credentials() {
                Some(credentials) => Identity::Unfiltered(Box::new(credentials)),
                None => Identity::Text(status()?),
            },
            // SAFETY: takes a plain number; 0 is this process.
            session: unsafe { libc::getsid(0) },
            group: control_group()?,
            network: network_namespace(),
        })
    }
}

fn status() -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; 4096];
    let status = read("/proc/thread-self/status", &mut buffer)?;
    let wanted = |line: &&[u8]| LINES.iter().any(|name| line.starts_with(name));
    let lines = status.split(|&byte| byte == b'\n').filter(wanted);
    Ok(lines.collect::<Vec<_>>().join(&b'\n'))
}

/// `None` where the thread has filters, or the kernel does not tell.
fn credentials() -> Option<Credentials> {
    /// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`.
    const VERSION: u32 = 0x2008_0522;
    let ask = |option, first: libc::c_ulong, second: libc::c_ulong| {
        // SAFETY: the options used below take plain numbers and answer with one.
        unsafe { libc::prctl(option, first, second, 0_u64, 0_u64) }
    };
    // A thread in strict mode could not even ask.
    if ask(libc::PR_GET_SECCOMP, 0, 0) != 0 {
        return None;
    }
    let (mut users, mut groups) = ([0_u32; 4], [0_u32; 4]);
    let ([ruid, euid, suid, fsuid], [rgid, egid, sgid, fsgid]) = (&mut users, &mut groups);
    // SAFETY: takes a plain number; one that is nobody's changes nothing and tells the present one.
    [*fsuid, *fsgid] = [libc::SYS_setfsuid, libc::SYS_setfsgid]
        .map(|number| unsafe { libc::syscall(number, u32::MAX) } as u32);
    // SAFETY: all six are places for a number.
    let told = unsafe {
        libc::syscall(libc::SYS_getresuid, ruid, euid, suid) == 0
            && libc::syscall(libc::SYS_getresgid, rgid, egid, sgid) == 0
    };
    let mut header = [VERSION, 0];
    let mut capabilities = [[0_u32; 3]; 2];
    // SAFETY: the header is of this version, which stores two triples; 0 is this thread.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_capget,
            header.as_mut_ptr(),
            capabilities.as_mut_ptr(),
        )
    };
    if !told || answer != 0 {
        return None;
    }
    let set = |has: &dyn Fn(libc::c_ulong) -> i32| {
        let all = (0..64).map(|number| (number, has(number)));
        // The kernel refuses the first number that is no capability.
        all.take_while(|&(_, answer)| answer >= 0)
            .fold(0_u64, |set, (number, answer)| {
                set | u64::from(answer == 1) << number
            })
    };
    let inheritable = capabilities.iter().any(|half| half[2] != 0);
    Some(Credentials {
        users,
        groups,
        further: further_groups()?,
        capabilities,
        bounding: set(&|number| ask(libc::PR_CAPBSET_READ, number, 0)),
        // The ambient ones are among the inheritable.
        ambient: match inheritable {
            true => set(&|number| {
                let is_set = libc::PR_CAP_AMBIENT_IS_SET as libc::c_ulong;
                ask(libc::PR_CAP_AMBIENT, is_set, number)
            }),
            false => 0,
        },
        no_new_privileges: ask(libc::PR_GET_NO_NEW_PRIVS, 0, 0),
    })
}

fn further_groups() -> Option<Vec<u32>> {
    loop {
        // SAFETY: asks for their number only.
        let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
        let mut groups = vec![0; usize::try_from(count).ok()?];
        if count == 0 {
            return Some(groups);
        }
        // SAFETY: writes at most `count` numbers.
        match unsafe { libc::getgroups(count, groups.as_mut_ptr()) } {
            // More by now.
            -1 if Errno::last() == Errno::EINVAL => {}
            -1 => return None,
            now => {
                groups.truncate(now.unsigned_abs() as usize);
                return Some(groups);
            }
        }
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
    static ONE_HIERARCHY: OnceLock<bool> = OnceLock::new();
    let mut buffer = [0; 4096];
    let text = |buffer| {
        // A kernel without control groups has no such file.
        let text = read("/proc/thread-self/cgroup", buffer).unwrap_or_default();
        Ok(Group::Text(text.to_vec()))
    };
    // Where there are hierarchies of the first kind, too, the number says nothing of those.
    if !*ONE_HIERARCHY.get_or_init(|| match read("/proc/self/cgroup", &mut buffer) {
        Ok(text) => text.starts_with(b"0::") && text.iter().filter(|&&b| b == b'\n').count() == 1,
        Err(_) => false,
    }) {
        return text(&mut buffer);
    }
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
    text(&mut buffer)
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
    fn system_calls_tell_what_proc_tells() {
        let Some(found) = credentials() else { return };
        let status = String::from_utf8(status().expect("/proc")).expect("plain text");
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect("the line is there").trim().to_owned()
        };
        let numbers = |name| {
            let line = line(name);
            let numbers = line
                .split_whitespace()
                .map(|n| n.parse().expect("a number"));
            numbers.collect::<Vec<u32>>()
        };
        let set = |name| u64::from_str_radix(&line(name), 16).expect("a set");
        let capabilities = [0, 1, 2].map(|which| {
            let [low, high] = found.capabilities.map(|half| u64::from(half[which]));
            high << 32 | low
        });
        assert_eq!(numbers("Uid:"), found.users);
        assert_eq!(numbers("Gid:"), found.groups);
        assert_eq!(numbers("Groups:"), found.further);
        let expected = [set("CapEff:"), set("CapPrm:"), set("CapInh:")];
        assert_eq!(expected, capabilities);
        assert_eq!(set("CapBnd:"), found.bounding);
        assert_eq!(set("CapAmb:"), found.ambient);
        assert_eq!(numbers("NoNewPrivs:"), [found.no_new_privileges as u32]);
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
