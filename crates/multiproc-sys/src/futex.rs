//! Sleeping on a word that several processes see, or on several of them.
//!
//! Spurious returns are allowed: callers re-check their word in a loop.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::clock::Deadline;

/// The most words [`wait_any`] takes.
pub const MOST_WORDS: usize = 128;

/// How often [`wait_any`] lets its caller look where the kernel cannot wait for several words.
const LOOKS_EVERY: Duration = Duration::from_millis(5);

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

/// Sleeps while each word holds its expected value, until one is woken or until `deadline`. Also says
/// which word was woken, the last of them if there were several; without one, the sleep has taken
/// nobody's wake.
///
/// Where the kernel cannot do that (before 5.16, or where a filter forbids it), it returns every few
/// milliseconds as if it had been woken.
///
/// # Panics
///
/// With no word, or more than [`MOST_WORDS`].
pub fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> (Woken, Option<usize>) {
    static MISSING: AtomicBool = AtomicBool::new(false);
    assert!(
        (1..=MOST_WORDS).contains(&words.len()),
        "1 to {MOST_WORDS} words"
    );
    if deadline.remaining().is_some_and(|left| left.is_zero()) {
        return (Woken::TimedOut, None);
    }
    let answer = if MISSING.load(Ordering::Relaxed) {
        Err(Errno::ENOSYS)
    } else {
        waitv(words, deadline)
    };
    let woken = match answer {
        Ok(word) => return (Woken::Woken, Some(word)),
        Err(Errno::EINTR) => Woken::Woken,
        // EFAULT: the memory behind a word that nobody uses any more has been given back.
        Err(Errno::EAGAIN | Errno::EFAULT) => Woken::Changed,
        Err(Errno::ETIMEDOUT) => Woken::TimedOut,
        Err(Errno::ENOMEM) => look_often(words, deadline),
        Err(Errno::ENOSYS | Errno::EPERM) => {
            MISSING.store(true, Ordering::Relaxed);
            look_often(words, deadline)
        }
        Err(errno) => unreachable!("futex wait on valid words: {errno}"),
    };
    (woken, None)
}

/// What the kernel knows of one word.
#[repr(C)]
struct WaitOn {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Whatever the machine's words are, as the call has one layout only.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

fn waitv(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Result<usize, Errno> {
    /// `FUTEX2_SIZE_U32`, and not private: the words may be shared by processes.
    const SIZE_U32: u32 = 2;
    let mut waiters = [const { MaybeUninit::<WaitOn>::uninit() }; MOST_WORDS];
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        waiter.write(WaitOn {
            value: u64::from(*expected),
            address: word.as_ptr().addr() as u64,
            flags: SIZE_U32,
            reserved: 0,
        });
    }
    let until = deadline.remaining().map(from_now);
    let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: as many waiters are written as there are words, at most the array's length (checked by
    // the caller); each names a word that is valid and aligned for the whole call (a reference). The
    // timeout is null or points to this frame, in the layout the call demands.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            words.len(),
            0,
            until,
            libc::CLOCK_MONOTONIC,
        )
    };
    Errno::result(answer).map(|word| word as usize)
}

/// This call's timeouts are moments, not durations.
fn from_now(left: Duration) -> Timespec {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    let until = Duration::from(now).saturating_add(left);
    Timespec {
        seconds: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: i64::from(until.subsec_nanos()),
    }
}

/// Sleeps on the first word alone, and not for long.
#[cold]
fn look_often(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
    let changed = |(word, expected): &(&AtomicU32, u32)| word.load(Ordering::SeqCst) != *expected;
    if words.iter().any(changed) {
        return Woken::Changed;
    }
    let soon = deadline.earlier(Deadline::after(LOOKS_EVERY));
    let (word, expected) = words[0];
    match wait(word, expected, soon) {
        Woken::TimedOut if !deadline.has_passed() => Woken::Woken,
        woken => woken,
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
    fn one_of_many_words_ends_the_sleep() {
        let words: Vec<AtomicU32> = (0..MOST_WORDS).map(|_| AtomicU32::new(7)).collect();
        let all: Vec<_> = words.iter().map(|word| (word, 7)).collect();
        assert_eq!(wait_any(&all, Deadline::NOW), (Woken::TimedOut, None));
        let soon = Deadline::after(Duration::from_millis(1));
        while wait_any(&all, soon) != (Woken::TimedOut, None) {}
        assert!(soon.has_passed());
        let last = MOST_WORDS - 1;
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| wait_any(&all, Deadline::NEVER));
            // Until it sleeps, there is nobody to wake.
            while wake(&words[last], 1) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(sleeper.join().ok(), Some((Woken::Woken, Some(last))));
        });
        words[last].store(8, Ordering::SeqCst);
        assert_eq!(wait_any(&all, Deadline::NEVER), (Woken::Changed, None));
    }

    #[test]
    fn without_the_call_a_change_is_seen_all_the_same() {
        let words = [AtomicU32::new(1), AtomicU32::new(1)];
        let all = [(&words[0], 1), (&words[1], 1)];
        let soon = Deadline::after(Duration::from_millis(20));
        while look_often(&all, soon) != Woken::TimedOut {}
        assert!(soon.has_passed());
        words[1].store(2, Ordering::SeqCst);
        assert_eq!(look_often(&all, Deadline::NEVER), Woken::Changed);
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
