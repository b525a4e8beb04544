//! What the tests of this crate share: a child that holds something, and one that is killed in it.

use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use multiproc_shm::testing::{self, Chance, Counters, kills};

/// Passes a few microseconds, so that a kill finds somebody holding something.
pub(crate) fn hold() {
    for _ in 0..100 {
        std::hint::spin_loop();
    }
}

/// A child that has done `first` when this returns, and does not end before the parent does.
pub(crate) fn child_that(first: impl FnOnce()) -> testing::Forked {
    let (stage, parent) = (Counters::new(1), std::process::id());
    let child = testing::fork(|| {
        first();
        stage.set(0, 1);
        // Where the test fails, nobody kills it.
        while parent_id() == parent {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    });
    stage.reached(0, 1);
    child
}

/// Starts children that repeat `work`, and kills each at some moment, with `meanwhile` run beside
/// it and after its death.
pub(crate) fn killed_at_any_moment(work: &dyn Fn(), meanwhile: &mut dyn FnMut()) {
    let mut chance = Chance::new();
    let (kills, failed) = (kills(150), Counters::new(1));
    for _ in 0..kills {
        let child = testing::fork(|| {
            let repeat = AssertUnwindSafe(|| {
                loop {
                    work();
                }
            });
            let _ = catch_unwind(repeat);
            failed.set(0, 1);
        });
        chance.moment(Duration::from_micros(300));
        meanwhile();
        chance.moment(Duration::from_micros(300));
        child.kill();
        assert_eq!(failed.get(0), 0, "the child was not content");
        meanwhile();
    }
    println!("{kills} kills");
}
