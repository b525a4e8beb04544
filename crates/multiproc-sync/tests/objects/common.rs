//! What the tests of this crate share: stages between processes, and chaos with a seed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
