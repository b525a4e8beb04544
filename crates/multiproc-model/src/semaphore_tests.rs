//! The semaphore: never more inside than permits, and a dead holder's permit comes back.

use loom::thread;

use crate::door::{AtomicU64, Deadline, Object, Ordering};
use crate::mortal::{check, for_ever, live};
use crate::raw::semaphore::{self, Permits};

struct Shared {
    semaphore: Object,
    inside: AtomicU64,
}

impl Shared {
    fn permits(&self) -> Permits<'_> {
        Permits::of(&self.semaphore)
    }

    fn pass(&self, me: u64) {
        let holder = self
            .permits()
            .acquire(Deadline::NEVER)
            .expect("no deadline");
        self.inside.store(me, Ordering::Relaxed);
        assert_eq!(self.inside.load(Ordering::Relaxed), me, "two are inside");
        self.permits().release(holder).expect("no deadline");
    }
}

#[test]
fn one_permit_lets_one_in_and_outlives_its_holder() {
    check("semaphore", |last| {
        let shared = Shared {
            semaphore: semaphore::create(0, 1, 1).expect("an object"),
            inside: AtomicU64::default(),
        };
        for_ever(shared, |shared| {
            let mortal = thread::spawn(move || live(1, last, || shared.pass(1)));
            live(2, None, || shared.pass(2));
            let lived = mortal.join().expect("no panic");
            live(2, None, || {
                assert_eq!(shared.permits().free(), 1);
                assert!(!shared.permits().release_any().expect("no deadline"));
                shared.pass(2);
            });
            lived
        })
    });
}
