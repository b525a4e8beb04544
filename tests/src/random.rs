//! Moments at random, from a seed that is printed: set `MULTIPROC_SEED` to it to run the same
//! choices again (the machine's own timing stays what it is).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// SplitMix64: small, and good enough to choose moments and victims.
pub struct Random(u64);

impl Random {
    /// From `MULTIPROC_SEED`, else from a fresh seed. Printed, and so shown if the test fails.
    #[must_use]
    pub fn seeded() -> Random {
        let given = std::env::var("MULTIPROC_SEED").ok();
        let seed = match given {
            Some(text) => text.parse().expect("MULTIPROC_SEED is a number"),
            // The standard library's keys are the only source of randomness without a crate.
            None => RandomState::new().hash_one(0),
        };
        println!("seed: MULTIPROC_SEED={seed}");
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A place in something of this length.
    pub fn below(&mut self, length: usize) -> usize {
        (self.draw() % length as u64) as usize
    }

    /// A time between nothing and `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.draw() % (most.as_nanos() as u64 + 1))
    }
}
