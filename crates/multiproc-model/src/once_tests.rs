//! Done once, or begun by one who died and done by the next.

use loom::thread;

use crate::door::{AtomicU64, Deadline, Object, Ordering};
use crate::mortal::{check, for_ever, live};
use crate::raw::once;

struct Shared {
    once: Object,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Shared {
    fn call(&self) {
        let answer = once::call(&self.once, || self.run(), Deadline::NEVER);
        assert!(answer.is_ok(), "no deadline");
        assert!(once::is_done(&self.once));
        assert!(self.ended.load(Ordering::Relaxed) > 0, "not seen");
    }

    /// Only one at a time, so that plain loads and stores count right.
    fn run(&self) {
        let begun = self.begun.load(Ordering::Relaxed);
        self.begun.store(begun + 1, Ordering::Relaxed);
        self.ended.store(begun + 1, Ordering::Relaxed);
    }
}

#[test]
fn it_is_done_once_or_once_more_after_a_death() {
    check("once", |last| {
        let shared = Shared {
            once: Object::with_words(1),
            begun: AtomicU64::default(),
            ended: AtomicU64::default(),
        };
        for_ever(shared, |shared| {
            let mortal = thread::spawn(move || live(1, last, || shared.call()));
            let other = thread::spawn(move || live(2, None, || shared.call()));
            live(3, None, || shared.call());
            let lived = mortal.join().expect("no panic");
            other.join().expect("no panic");
            live(3, None, || {
                let begun = shared.begun.load(Ordering::Relaxed);
                assert!(begun == 1 || !lived && begun == 2, "{begun}");
            });
            lived
        })
    });
}
