//! The barrier: all come through together, or whoever waits with a dead one is told.

use loom::thread;

use crate::door::{Deadline, Object, Ordering, family};
use crate::error::{BarrierError, BrokenWhy};
use crate::mortal::{check, for_ever, live};
use crate::raw::barrier::{Rounds, words_for};
use crate::raw::meeting::Meeting;

const PARTIES: usize = 2;

/// Where the round's number lies, and the places.
const ROUND: usize = 1;
const PLACES: usize = 16;

fn barrier() -> Object {
    let object = Object::with_words(words_for(PARTIES));
    Rounds::new(object.words()).init(PARTIES, [0; 3]);
    object
}

fn wait(barrier: &Object) -> Result<usize, BarrierError> {
    Meeting::of(barrier).wait(Deadline::NEVER, None)
}

/// Whether the mortal is still waited for: neither here nor among those of a round that is over.
fn has_not_come(barrier: &Object, mortal: u64) -> bool {
    let mut places = barrier.words()[PLACES..].iter();
    if places.any(|place| place.load(Ordering::Acquire) == mortal) {
        return false;
    }
    // Whoever cleared the places had moved the round. A change of nothing sees the latest value.
    barrier.words()[ROUND].fetch_or(0, Ordering::AcqRel) == 1
}

#[test]
fn both_come_through_or_the_survivor_is_told() {
    check("barrier", |last| {
        for_ever(barrier(), |barrier| {
            let mortal = thread::spawn(move || {
                let mut id = 0;
                let lived = live(1, last, || {
                    id = family::me().expect("a member").bits();
                    assert!(wait(barrier).is_ok());
                });
                (lived, id)
            });
            let other = thread::spawn(move || {
                let mut end = Ok(0);
                live(2, None, || end = wait(barrier));
                end
            });
            let (lived, id) = mortal.join().expect("no panic");
            live(3, None, || {
                // Another in its place; the other one must learn of it by itself if it had come.
                if !lived && has_not_come(barrier, id) {
                    assert!(wait(barrier).is_ok());
                }
            });
            let end = other.join().expect("no panic");
            let died = BarrierError::Broken {
                why: BrokenWhy::Died,
            };
            assert!(end.is_ok() || !lived && end == Err(died), "{end:?}");
            live(3, None, || {
                let meeting = Meeting::of(barrier);
                assert_eq!(meeting.is_broken(), end.is_err());
                meeting.reset();
                assert!(!meeting.is_broken() && meeting.waiting() == 0);
            });
            lived
        })
    });
}
