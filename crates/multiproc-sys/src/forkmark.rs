//! Noticing by one load that this process is a fork.
//!
//! The kernel wipes one page of ours in every child made by fork or clone (`MADV_WIPEONFORK`).
//! The page holds a stamp, so what was cached about *the process* or *the thread* together with
//! the stamp is known to be stale when the stamp no longer matches.
//!
//! | stamp | meaning | who changes it |
//! |---|---|---|
//! | 0 | nobody has asked yet, or this process is a fork that has not renewed | the kernel, at fork |
//! | another number, random | this process has renewed | [`renew`] |

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random;

const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Page {
    stamp: AtomicU64,
    _rest: [u8; PAGE - 8],
}

// Alone on its page: the wipe takes a whole page with it. Its size and alignment are one page, so
// the linker can put nothing beside it, and all-zero content puts it into anonymous memory (.bss).
static MARK: Page = Page {
    stamp: AtomicU64::new(0),
    _rest: [0; PAGE - 8],
};

/// The mark of this process, or 0 where [`renew`] has not run since the process was made.
#[inline]
pub fn stamp() -> u64 {
    MARK.stamp.load(Ordering::Relaxed)
}

/// Marks this process, arms the wipe for its children, and returns the mark.
pub fn renew() -> u64 {
    static ARMED: Once = Once::new();
    ARMED.call_once(arm);
    // Not the pid, which a later fork may be given again.
    let stamp = random::u64() | 1;
    // Two threads may renew at once: the first number stays.
    let renewed = MARK
        .stamp
        .compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed);
    renewed.map_or_else(|first| first, |_| stamp)
}

fn arm() {
    // SAFETY: sysconf takes a number and reads no memory of ours.
    let whole_page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } == PAGE as libc::c_long;
    let wipes = whole_page && {
        let mark = (&raw const MARK).cast_mut().cast();
        // SAFETY: the range is exactly the page `MARK`, which is as long as a page of this machine,
        // aligned to it, ours, and holds nothing but the stamp; being wiped in a child is what the
        // stamp is for. The memory is writable through the atomic's interior.
        unsafe { libc::madvise(mark, PAGE, libc::MADV_WIPEONFORK) == 0 }
    };
    if !wipes {
        // Larger pages, or an exotic link that has put the page into the file-backed part of the
        // data. Then fork() of the C library still tells; only a raw clone goes unnoticed.
        // SAFETY: `wipe` is a plain function that stores to an atomic, which is allowed in a child
        // of a threaded process; it stays valid for the life of the program.
        unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
    }
}

unsafe extern "C" fn wipe() {
    MARK.stamp.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_noticed() {
        let stamp = renew();
        assert_eq!(stamp, super::stamp());
        // SAFETY: the child does nothing but one load and `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(super::stamp() != 0);
            // SAFETY: `_exit` takes any code and does not return.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` is writable for the call; `child` is our own child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "the stamp survived the fork");
    }
}
