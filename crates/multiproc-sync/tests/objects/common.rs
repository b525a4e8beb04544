//! What the tests of this crate share: stages between processes, and chaos with a seed.

use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_shm::testing;
use multiproc_shm::{Kind, Object};

/// Nothing in these tests takes as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Counters that children inherit, to say how far they have come.
#[derive(Clone)]
pub(crate) struct Shared(Object);

impl Shared {
    pub(crate) fn new(len: usize) -> Shared {
        Shared(Object::create(Kind::Plain, 1, len * 8, |_| {}).expect("an object"))
    }

    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        &self.0.words()[index]
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        self.0.words()[index].load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, index: usize, value: u64) {
        self.0.words()[index].store(value, Ordering::Release);
    }

    /// Adds one, and says what was before.
    pub(crate) fn add(&self, index: usize) -> u64 {
        self.0.words()[index].fetch_add(1, Ordering::AcqRel)
    }

    /// Waits until the counter is at least `value`.
    pub(crate) fn reached(&self, index: usize, value: u64) {
        until(|| self.get(index) >= value, "a stage");
    }
}

/// Waits until `holds`, and panics where it does not within the limit.
pub(crate) fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what} was not reached");
        std::thread::yield_now();
    }
}

/// Passes a few microseconds, so that a kill finds somebody holding something.
pub(crate) fn hold() {
    for _ in 0..100 {
        std::hint::spin_loop();
    }
}

/// A child that has done `first` when this returns, and does not end before the parent does.
pub(crate) fn child_that(first: impl FnOnce()) -> testing::Forked {
    let (stage, parent) = (Shared::new(1), std::process::id());
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
    let mut random = Random::new();
    let (kills, failed) = (kills(150), Shared::new(1));
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
        random.pause(20_000);
        meanwhile();
        random.pause(20_000);
        child.kill();
        assert_eq!(failed.get(0), 0, "the child was not content");
        meanwhile();
    }
    println!("{kills} kills");
}

/// How often to kill: twenty times as often with `CHAOS` set.
pub(crate) fn kills(default: usize) -> usize {
    match std::env::var_os("CHAOS") {
        Some(_) => default * 20,
        None => default,
    }
}

/// A generator that starts at `SEED` or anywhere, and prints where.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Random {
        let seed = std::env::var("SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(multiproc_sys::random::u64) | 1;
        println!("SEED={seed}");
        Random(seed)
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    /// Passes some time, at most about `most` steps.
    pub(crate) fn pause(&mut self, most: u64) {
        for _ in 0..self.below(most) {
            std::hint::spin_loop();
        }
    }
}
