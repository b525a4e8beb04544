//! Counters in the arena, for tests that say how far each process has come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::object::{Kind, Object};

/// Nothing in a test takes as long unless somebody hangs; a busy machine is no reason to fail.
pub const LIMIT: Duration = Duration::from_secs(40);

/// Counters that forked members inherit.
#[derive(Clone, Debug)]
pub struct Counters(Object);

impl Counters {
    /// So many, all zero.
    ///
    /// # Panics
    ///
    /// If there is no shared memory for them.
    pub fn new(count: usize) -> Counters {
        Counters(Object::create(Kind::Plain, 1, count * 8, |_| {}).expect("an object"))
    }

    /// The counter itself.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        &self.0.words()[index]
    }

    /// Its value.
    pub fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Gives it a value.
    pub fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    /// Adds one, and says what was before.
    pub fn add(&self, index: usize) -> u64 {
        self.word(index).fetch_add(1, Ordering::AcqRel)
    }

    /// Waits until the counter is at least `value`.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`LIMIT`].
    pub fn reached(&self, index: usize, value: u64) {
        until(|| self.get(index) >= value, "a stage");
    }
}

/// Waits until `holds`.
///
/// # Panics
///
/// If that takes longer than [`LIMIT`]; the text names `what`.
pub fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what} was not reached");
        std::thread::yield_now();
    }
}
