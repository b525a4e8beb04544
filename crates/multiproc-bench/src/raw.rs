//! What the rivals need of the kernel, without a library above it.

use std::io;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

pub(crate) const PAGE: usize = 4096;

/// Forks a child that ends at once.
pub(crate) fn fork_one() -> io::Result<libc::pid_t> {
    // SAFETY: fork asks only that the child of a process with threads keeps to async-signal-safe
    // functions; the child calls `_exit` and nothing else.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: `_exit` may be called anywhere; nothing of this process is used after it.
        0 => unsafe { libc::_exit(0) },
        pid => Ok(pid),
    }
}

/// Forks a child that writes to so many pages of its own, and waits for it; how many pages it met for
/// the first time, all in all.
pub(crate) fn fork_and_touch(pages: &mut [u8]) -> io::Result<u64> {
    // SAFETY: as in `fork_one`; a write to memory that is there is async-signal-safe.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            for byte in pages.iter_mut().step_by(PAGE) {
                // SAFETY: the reference is valid for a write.
                unsafe { (&raw mut *byte).write_volatile(1) };
            }
            // SAFETY: `_exit` may be called anywhere; nothing of this process is used after it.
            unsafe { libc::_exit(0) }
        }
        _ => {}
    }
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    // SAFETY: both are valid places for what the call writes, during the call.
    match unsafe { libc::wait4(pid, &mut status, 0, &mut usage) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(usage.ru_minflt as u64),
    }
}

/// How many pages this process has met for the first time.
pub(crate) fn page_faults() -> u64 {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place for what the call writes.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    usage.ru_minflt as u64
}

/// Waits for a child.
pub(crate) fn wait(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for an int during the call.
    match unsafe { libc::waitpid(pid, &mut status, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Kills a process.
pub(crate) fn kill(pid: u32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    match unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Runs `child` in a fork of this process, which has one thread, and ends it there. It ends with this
/// process in any case.
pub(crate) fn fork(child: impl FnOnce()) -> io::Result<()> {
    // SAFETY: this process has one thread, so the copy may do what the original may.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: takes plain numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: takes a plain number and does not return.
            unsafe { libc::_exit(if ran.is_ok() { 0 } else { 101 }) }
        }
        _ => {}
    }
    Ok(())
}

/// Private memory, touched page by page, that stays until the process ends: what a parent with data
/// looks like. In ordinary pages, or in huge ones.
pub(crate) fn ballast(mib: usize, huge: bool) -> io::Result<()> {
    if mib == 0 {
        return Ok(());
    }
    let length = mib << 20;
    let memory = map(length, libc::MAP_PRIVATE)?;
    let advice = match huge {
        true => libc::MADV_HUGEPAGE,
        false => libc::MADV_NOHUGEPAGE,
    };
    // SAFETY: the range is the mapping just made; the advice changes page sizes, not content.
    unsafe { libc::madvise(memory.cast(), length, advice) };
    for offset in (0..length).step_by(PAGE) {
        // SAFETY: `offset` is below the length of a mapping that is writable and never unmapped.
        unsafe { memory.add(offset).write_volatile(1) };
    }
    Ok(())
}

/// New memory, all zero, readable and writable.
fn map(length: usize, flags: libc::c_int) -> io::Result<*mut u8> {
    let (anywhere, protection) = (std::ptr::null_mut(), libc::PROT_READ | libc::PROT_WRITE);
    let flags = flags | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing of ours.
    let memory = unsafe { libc::mmap(anywhere, length, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(memory.cast())
}

/// The CPUs that this process may use.
pub(crate) fn cpus() -> Vec<usize> {
    // SAFETY: all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is written during the call, in the size that is given.
    unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    // SAFETY: `CPU_ISSET` reads inside the set for every number below its size.
    let is_in = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_in).collect()
}

/// Keeps the calling thread on one CPU; `None` leaves it to the kernel.
pub(crate) fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    // SAFETY: all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `CPU_SET` writes inside the set and ignores a number beyond its end.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is read during the call, in the size that is given.
    let refused = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    assert_eq!(refused, 0, "no CPU {cpu}: {}", io::Error::last_os_error());
}

/// Sleeps while `word` holds `expected`.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    let no_timeout = std::ptr::null::<libc::timespec>();
    let address = word.as_ptr();
    // SAFETY: the word is valid for the whole call (a reference), and there is no timeout to read.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            address,
            libc::FUTEX_WAIT,
            expected,
            no_timeout,
        )
    };
}

/// Wakes one who sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel uses the address only, which a reference keeps valid.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Words, all zero, that forked processes share.
pub(crate) fn shared_words(count: usize) -> io::Result<&'static [AtomicU32]> {
    let memory = map(count * size_of::<AtomicU32>(), libc::MAP_SHARED)?;
    // SAFETY: just mapped, page-aligned, that long, and never unmapped; all processes that have it
    // use it as atomics, which are valid for any bits.
    Ok(unsafe { std::slice::from_raw_parts(memory.cast(), count) })
}

/// The same, of 8 bytes each.
pub(crate) fn shared_long_words(count: usize) -> io::Result<&'static [AtomicU64]> {
    let memory = map(count * size_of::<AtomicU64>(), libc::MAP_SHARED)?;
    // SAFETY: as in `shared_words`.
    Ok(unsafe { std::slice::from_raw_parts(memory.cast(), count) })
}

/// Makes a memory file of a page, maps it, writes to it, and gives all of it back.
pub(crate) fn memory_file() -> io::Result<()> {
    // SAFETY: the name is a C string, which the kernel copies.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call gave us this descriptor, and nobody else has it.
    let file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.set_len(PAGE as u64)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just mapped, writable, and as long as the file.
    unsafe { memory.cast::<u8>().write_volatile(1) };
    // SAFETY: the mapping made above, of which no reference is left.
    unsafe { libc::munmap(memory, PAGE) };
    Ok(())
}
