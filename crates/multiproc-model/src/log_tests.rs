//! The redo log: what a transaction changes is seen wholly or not at all, whoever dies, replayers too.

use loom::thread;

use crate::arena::Arena;
use crate::door::{Deadline, Ordering};
use crate::mortal::{check, for_ever, live};

/// The steps of [`Arena::count`] with the log half written, committed, half applied, applied.
const DURING_COMMIT: std::ops::Range<u32> = 8..21;

impl Arena {
    /// All three words one up, in one transaction.
    fn count(&'static self) {
        let locked = self.lock(Deadline::NEVER).expect("no deadline");
        let mut change = locked.begin();
        for offset in [0, 8, 16] {
            change.update(offset, |word| word + 1);
        }
        change.commit();
    }

    fn whole(&'static self) -> u64 {
        let _locked = self.lock(Deadline::NEVER).expect("no deadline");
        let [first, second, third] =
            [0, 8, 16].map(|offset| self.word(offset).load(Ordering::Relaxed));
        assert!(
            first == second && second == third,
            "{first} {second} {third}"
        );
        first
    }
}

#[test]
fn a_transaction_of_the_dead_happened_wholly_or_not_at_all() {
    check("log", |last| {
        for_ever(Arena::default(), |arena| {
            let mortal = thread::spawn(move || live(1, last, || arena.count()));
            live(2, None, || arena.count());
            let lived = mortal.join().expect("no panic");
            live(2, None, || {
                let count = arena.whole();
                assert!(count == 2 || !lived && count == 1, "{count}");
            });
            lived
        })
    });
}

#[test]
fn a_replay_that_dies_is_replayed_again() {
    // The first dies somewhere between its commit and its end; the second replays, and may die, too.
    for first in DURING_COMMIT {
        check("log, replay", move |last| {
            for_ever(Arena::default(), |arena| {
                let committed = thread::spawn(move || live(1, Some(first), || arena.count()));
                assert!(
                    !committed.join().expect("no panic"),
                    "it dies before its end"
                );
                let mortal = thread::spawn(move || live(2, last, || arena.count()));
                let lived = mortal.join().expect("no panic");
                live(3, None, || {
                    let count = arena.whole();
                    assert!(count <= 2, "{count}");
                });
                lived
            })
        });
    }
}
