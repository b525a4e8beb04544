//! The sequence, as a condition uses it: no change is slept through, whoever dies with the wake.

use loom::thread;

use crate::door::{AtomicU32, AtomicU64, Deadline, Ordering};
use crate::lock::RawLock;
use crate::mortal::{check, for_ever, live};
use crate::raw::sequence::Sequence;

#[derive(Default)]
struct Condition {
    lock: RawLock,
    sequence: AtomicU32,
    ready: AtomicU64,
}

impl Condition {
    fn sequence(&self) -> Sequence<'_> {
        Sequence::new(&self.sequence)
    }

    /// As `Condition::wait_while` in a loop: armed under the lock, then let go of it.
    fn wait(&self) {
        let mut guard = self.lock.lock(Deadline::NEVER).expect("no deadline");
        while self.ready.load(Ordering::Relaxed) == 0 {
            let armed = self.sequence().arm();
            drop(guard);
            assert!(self.sequence().wait(armed, Deadline::NEVER), "no deadline");
            guard = self.lock.lock(Deadline::NEVER).expect("no deadline");
        }
        drop(guard);
    }

    fn notify(&self, sleepers: u32) {
        let guard = self.lock.lock(Deadline::NEVER).expect("no deadline");
        self.ready.store(1, Ordering::Relaxed);
        drop(guard);
        self.sequence().announce(sleepers);
    }

    /// The same without the lock: a flag of its own is enough for one change.
    fn wait_bare(&self) {
        loop {
            let armed = self.sequence().arm();
            if self.ready.load(Ordering::Acquire) != 0 {
                return;
            }
            assert!(self.sequence().wait(armed, Deadline::NEVER), "no deadline");
        }
    }
}

#[test]
fn a_waiter_is_notified_though_a_notifier_dies() {
    check("condition, a notifier may die", |last| {
        for_ever(Condition::default(), |condition| {
            let mortal = thread::spawn(move || live(1, last, || condition.notify(1)));
            let waiter = thread::spawn(move || live(2, None, || condition.wait()));
            let lived = mortal.join().expect("no panic");
            if !lived {
                live(3, None, || condition.notify(1));
            }
            waiter.join().expect("no panic");
            lived
        })
    });
}

#[test]
fn a_wake_that_a_dead_waiter_took_reaches_the_other() {
    check("sequence, a waiter may die", |last| {
        for_ever(Condition::default(), |condition| {
            let mortal = thread::spawn(move || live(1, last, || condition.wait_bare()));
            let waiter = thread::spawn(move || live(2, None, || condition.wait_bare()));
            live(3, None, || {
                condition.ready.store(1, Ordering::Release);
                // One each: the first may go to somebody who dies with it.
                condition.sequence().announce(1);
                condition.sequence().announce(1);
            });
            waiter.join().expect("no panic");
            mortal.join().expect("no panic")
        })
    });
}
