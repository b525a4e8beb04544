//! Fences of which one side costs nothing.
//!
//! Of two threads that each write one word and then read the other's, one must see what the other has
//! written; for that each needs a full fence between its two steps. Where one of them does so millions of
//! times and the other seldom, the fence can be moved: the frequent one makes a [`light`] one, which is no
//! instruction, and the other a [`heavy`] one, which asks the kernel to interrupt every processor on which
//! a registered process runs. After it, whatever a registered process did before its light fence is
//! visible, or it has not yet read and will see what the caller had written before.

use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::time::Duration;

use crate::forkmark;

// `linux/membarrier.h`; the `libc` crate has no names for them.
const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// How long a store can lie in a processor's own buffer, and very much longer.
const LONG_ENOUGH: Duration = Duration::from_millis(1);

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Whether light fences of this process count. The first call of each process asks the kernel: half a
/// microsecond, or up to 20 ms if the process has other threads.
#[inline]
pub fn ready() -> bool {
    /// The mark of the process that was registered, of which the lowest bit says whether that worked.
    static READY: AtomicU64 = AtomicU64::new(0);
    let seen = READY.load(Ordering::Relaxed);
    let stamp = forkmark::stamp();
    if stamp != 0 && seen | 1 == stamp {
        return seen & 1 != 0;
    }
    let worked = membarrier(REGISTER_GLOBAL_EXPEDITED);
    let stamp = match stamp {
        0 => forkmark::renew(),
        stamp => stamp,
    };
    // Marks are odd.
    let known = if worked { stamp } else { stamp & !1 };
    READY.store(known, Ordering::Relaxed);
    worked
}

/// The free side: keeps the compiler's order. Only where [`ready`] has said so.
#[inline]
pub fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The other side: a fifth of a microsecond, or two fifths while the other process runs.
///
/// Where the call is forbidden to this process alone, it waits until every store of the others must have
/// left its processor.
pub fn heavy() {
    std::sync::atomic::fence(Ordering::SeqCst);
    if !membarrier(GLOBAL_EXPEDITED) {
        std::thread::sleep(LONG_ENOUGH);
    }
    std::sync::atomic::fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn one_of_two_sees_the_other() {
        if !ready() {
            println!("skipped: this kernel, or its filter, has no membarrier");
            return;
        }
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        let meet = std::sync::Barrier::new(2);
        for round in 1..2_000 {
            let seen = std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    meet.wait();
                    words[0].store(round, Ordering::Relaxed);
                    light();
                    words[1].load(Ordering::Relaxed)
                });
                meet.wait();
                words[1].store(round, Ordering::Relaxed);
                heavy();
                [
                    words[0].load(Ordering::Relaxed),
                    other.join().expect("no panic"),
                ]
            });
            assert!(
                seen.contains(&round),
                "both had read before the other wrote"
            );
        }
    }
}
