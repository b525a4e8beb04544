//! The lock: one at a time, no wake is lost, and a death is told to the next.

use loom::thread;

use crate::door::{AtomicU64, Deadline, Ordering};
use crate::lock::{LockError, RawLock};
use crate::mortal::{check, for_ever, live};

#[derive(Default)]
struct Shared {
    lock: RawLock,
    first: AtomicU64,
    second: AtomicU64,
}

impl Shared {
    /// Adds one to both, where they are found equal or are repaired after a death.
    fn work(&self) {
        let guard = self.lock.lock(Deadline::NEVER).expect("no deadline");
        let first = self.first.load(Ordering::Relaxed);
        if guard.taken().is_after_death() {
            self.second.store(first, Ordering::Relaxed);
        }
        let second = self.second.load(Ordering::Relaxed);
        assert_eq!(first, second, "half changed, and nobody was told");
        self.first.store(first + 1, Ordering::Relaxed);
        self.second.store(first + 1, Ordering::Relaxed);
    }
}

#[test]
fn three_contenders_one_of_whom_may_die_all_get_through() {
    check("lock", |last| {
        for_ever(Shared::default(), |shared| {
            let mortal = thread::spawn(move || live(1, last, || shared.work()));
            let other = thread::spawn(move || live(2, None, || shared.work()));
            live(3, None, || shared.work());
            let lived = mortal.join().expect("no panic");
            other.join().expect("no panic");
            live(3, None, || {
                shared.work();
                let count = shared.first.load(Ordering::Relaxed);
                assert!(count == 4 || !lived && (3..=4).contains(&count), "{count}");
                assert!(!shared.lock.is_held() && !shared.lock.is_suspect());
            });
            lived
        })
    });
}

#[test]
fn whoever_waits_for_a_sound_lock_is_told_of_the_death() {
    check("sound lock", |last| {
        for_ever(Shared::default(), |shared| {
            let ask = move || match shared.lock.lock_if_sound(Deadline::NEVER) {
                Ok(guard) => drop(guard),
                Err(error) => assert_eq!(error, LockError::OwnerDied),
            };
            let mortal = thread::spawn(move || live(1, last, ask));
            let other = thread::spawn(move || live(2, None, ask));
            live(3, None, ask);
            let lived = mortal.join().expect("no panic");
            other.join().expect("no panic");
            live(3, None, || {
                let suspect = shared.lock.is_suspect();
                assert!(!suspect || !lived, "suspect without a death");
                let guard = shared.lock.lock(Deadline::NEVER).expect("free");
                assert_eq!(guard.taken().is_after_death(), suspect);
            });
            lived
        })
    });
}
