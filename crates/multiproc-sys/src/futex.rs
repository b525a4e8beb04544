//! Sleeping on a word that several processes see.
//!
//! Spurious returns are allowed: callers re-check their word in a loop.

use std::sync::atomic::AtomicU32;

use nix::errno::Errno;

use crate::clock::Deadline;

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a sleep may end without the event it waited for"]
pub enum Woken {
    /// Somebody woke the word, or the kernel says so without reason.
    Woken,
    /// The word did not hold the expected value; nobody slept.
    Changed,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, until woken or until `deadline`.
///
/// Not woken by the death of a process: whoever sleeps here is published (see the family's sleepers)
/// or bounds the deadline.
pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Woken {
    let timeout = match deadline.remaining() {
        None => None,
        Some(left) if left.is_zero() => return Woken::TimedOut,
        Some(left) => Some(libc::timespec {
            tv_sec: left.as_secs().min(i64::MAX as u64) as libc::time_t,
            tv_nsec: left.subsec_nanos() as libc::c_long,
        }),
    };
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word is valid and aligned for the whole call (a reference); the timeout is null or
    // points to a timespec on this stack frame. FUTEX_WAIT without PRIVATE works across processes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            timeout,
        )
    };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::EINTR) => Woken::Woken,
        Err(Errno::EAGAIN) => Woken::Changed,
        Err(Errno::ETIMEDOUT) => Woken::TimedOut,
        Err(errno) => unreachable!("futex wait on a valid word: {errno}"),
    }
}

/// Wakes at most `count` sleepers of `word`, and says how many it woke.
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    // SAFETY: the kernel only uses the address, which a reference keeps valid; a wake reads and
    // writes no memory of ours.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u32::try_from(woken).unwrap_or(0)
}

/// Wakes every sleeper of `word`.
pub fn wake_all(word: &AtomicU32) -> u32 {
    wake(word, u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[test]
    fn a_changed_word_does_not_sleep() {
        let word = AtomicU32::new(1);
        assert_eq!(wait(&word, 0, Deadline::NEVER), Woken::Changed);
    }

    #[test]
    fn a_passed_deadline_does_not_sleep() {
        let word = AtomicU32::new(0);
        assert_eq!(wait(&word, 0, Deadline::NOW), Woken::TimedOut);
        let soon = Deadline::after(Duration::from_millis(1));
        while wait(&word, 0, soon) != Woken::TimedOut {}
        assert!(soon.has_passed());
    }

    #[test]
    fn a_wake_reaches_a_sleeper() {
        let word = Arc::new(AtomicU32::new(0));
        let other = Arc::clone(&word);
        let sleeper = std::thread::spawn(move || {
            while other.load(Ordering::Acquire) == 0 {
                let _ = wait(&other, 0, Deadline::NEVER);
            }
        });
        word.store(1, Ordering::Release);
        wake_all(&word);
        sleeper.join().expect("the sleeper does not panic");
    }
}
