//! A static that each process has for itself: a child made by a fork finds it new, not as its parent had it.
//!
//! A lock that another thread held at the moment of the fork would stay locked in the child for ever; a
//! thread that the value speaks of is not there. A child cannot meet either, as its first look makes a
//! value of its own. Locks inside are the standard library's: those of `parking_lot` keep who waits in
//! tables of the process, which a fork can leave locked though the lock itself was free.

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use multiproc_sys::forkmark;

/// A value of this process alone. One small leak for each fork of a fork that uses it.
pub(crate) struct Own<T: 'static>(AtomicPtr<Stamped<T>>);

/// The value, and the mark of the process that made it.
pub(crate) struct Stamped<T> {
    stamp: u64,
    value: T,
}

/// The mark of this process.
pub(crate) fn stamp() -> u64 {
    match forkmark::stamp() {
        0 => forkmark::renew(),
        stamp => stamp,
    }
}

impl<T: Default + Send + Sync> Own<T> {
    pub(crate) const fn new() -> Own<T> {
        Own(AtomicPtr::new(ptr::null_mut()))
    }

    /// This process's value, made now if this is the first look.
    pub(crate) fn get(&self) -> &'static Stamped<T> {
        let stamp = stamp();
        loop {
            let seen = self.0.load(Ordering::Acquire);
            // SAFETY: null, or from the leaked box below, complete before it was stored and never freed.
            if let Some(own) = unsafe { seen.as_ref() }.filter(|it| it.stamp == stamp) {
                return own;
            }
            let value = T::default();
            let new = Box::into_raw(Box::new(Stamped { stamp, value }));
            let stored = (self.0).compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire);
            if stored.is_err() {
                // SAFETY: from the box above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

impl<T> Stamped<T> {
    /// The mark of the process whose value it is.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }
}

impl<T> Deref for Stamped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use multiproc_sys::testing;

    use super::*;

    #[test]
    fn a_fork_finds_nothing_locked_that_its_parent_held() {
        static PLACE: Own<Mutex<u32>> = Own::new();
        let mut ours = PLACE.get().lock().expect("no panic");
        *ours = 7;
        let child = testing::fork().expect("a process");
        if child == 0 {
            let theirs = PLACE.get().try_lock();
            testing::exit_now(i32::from(!theirs.is_ok_and(|theirs| *theirs == 0)));
        }
        assert!(testing::wait(child).expect("our child"));
        drop(ours);
        assert_eq!(*PLACE.get().lock().expect("no panic"), 7);
    }
}
