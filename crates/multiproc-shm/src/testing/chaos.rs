//! What the tests that kill have in common: chance that can be repeated, how often, and a test that has
//! the arena to itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use multiproc_sys::random;

use super::{audit, settle};
use crate::family;
use crate::object::{Kind, Object};

/// How many kills: `CHAOS` asks for twenty times as many.
pub fn kills(default: usize) -> usize {
    if std::env::var_os("CHAOS").is_some() {
        default * 20
    } else {
        default
    }
}

/// Small, fast and repeatable; good enough to pick moments.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From the environment's `SEED`, or from nowhere; says which, so that a run can be repeated.
    pub fn new() -> Chance {
        let seed = std::env::var("SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(random::u64) | 1;
        println!("SEED={seed}");
        Chance(seed)
    }

    /// From a number.
    pub fn from_seed(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Waits a random moment, up to `most`. The moment is a test's subject, not what makes it right.
    pub fn moment(&mut self, most: Duration) {
        let until = Instant::now() + Duration::from_nanos(self.below(most.as_nanos() as u64));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}

impl Default for Chance {
    fn default() -> Chance {
        Chance::new()
    }
}

/// Runs `test` with the arena to itself, and checks that it leaves nothing behind: no member, no
/// byte, nothing that contradicts itself.
///
/// # Panics
///
/// If it does.
pub fn alone(test: impl FnOnce()) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    drop(Object::create(Kind::Plain, 1, 8, |_| {}).expect("an arena"));
    let before = family::usage().expect("an arena").used;
    test();
    assert!(settle(Duration::from_secs(20)), "members are left");
    audit().expect("nothing contradicts itself");
    assert_eq!(family::usage().expect("an arena").used, before);
}
