//! The table of holders: what the dead hold is taken back once, and nobody else's.

use loom::thread;

use crate::door::{AtomicU64, family};
use crate::mortal::{check, for_ever, live};
use crate::raw::holders::Holders;

type Rows = [AtomicU64; 2];

fn holders(rows: &Rows) -> Holders<'_> {
    Holders::new(rows, 1)
}

fn me() -> family::MemberId {
    family::me().expect("all are members here")
}

#[test]
fn what_the_dead_held_is_taken_back_and_nobody_elses() {
    check("holders", |last| {
        for_ever(Rows::default(), |rows| {
            // Members 1 and 3 begin with the same row.
            let mortal = thread::spawn(move || {
                live(1, last, || {
                    assert!(holders(rows).enter(me()));
                    holders(rows).leave(me());
                })
            });
            let other = thread::spawn(move || {
                live(3, None, || {
                    assert!(holders(rows).enter(me()) && holders(rows).enter(me()));
                    assert!(holders(rows).leave(me()) && holders(rows).leave(me()));
                })
            });
            let mut taken = 0;
            live(2, None, || taken += holders(rows).take_back());
            let lived = mortal.join().expect("no panic");
            other.join().expect("no panic");
            live(2, None, || {
                taken += holders(rows).take_back();
                assert!(taken == 0 || !lived && taken == 1, "{taken}");
                assert_eq!(holders(rows).total(), 0);
            });
            lived
        })
    });
}
