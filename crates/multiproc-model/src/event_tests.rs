//! The event: who waits when it is set leaves, whoever dies, and though it is cleared at once.

use loom::thread;

use crate::door::{AtomicU32, Deadline};
use crate::mortal::{check, for_ever, live};
use crate::raw::event::Flag;

fn wait(word: &AtomicU32) {
    assert!(Flag::new(word).wait(Deadline::NEVER), "no deadline");
}

#[test]
fn waiters_leave_though_one_dies_and_the_event_is_cleared() {
    check("event, a waiter may die", |last| {
        for_ever(AtomicU32::default(), |word| {
            let mortal = thread::spawn(move || live(1, last, || wait(word)));
            let other = thread::spawn(move || live(2, None, || wait(word)));
            live(3, None, || {
                Flag::new(word).set();
                Flag::new(word).clear();
                Flag::new(word).set();
            });
            other.join().expect("no panic");
            let lived = mortal.join().expect("no panic");
            live(3, None, || {
                assert!(Flag::new(word).is_set());
                assert!(Flag::new(word).wait(Deadline::NOW));
                Flag::new(word).clear();
                assert!(!Flag::new(word).wait(Deadline::NOW));
            });
            lived
        })
    });
}

#[test]
fn a_waiter_leaves_though_a_setter_dies() {
    check("event, a setter may die", |last| {
        for_ever(AtomicU32::default(), |word| {
            let mortal = thread::spawn(move || live(1, last, || Flag::new(word).set()));
            let waiter = thread::spawn(move || live(2, None, || wait(word)));
            let lived = mortal.join().expect("no panic");
            live(3, None, || {
                // Set by the dead, it stays set, and its death wakes the waiter.
                if !Flag::new(word).is_set() {
                    Flag::new(word).set();
                }
            });
            waiter.join().expect("no panic");
            lived
        })
    });
}
