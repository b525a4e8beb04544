//! A sleep, as the model's futex has it.

use crate::door::futex::{self, Woken};
use crate::door::{AtomicU32, Deadline};

#[derive(Debug)]
pub(crate) struct Sleeper(Deadline);

impl Sleeper {
    pub(crate) fn new(deadline: Deadline) -> Sleeper {
        Sleeper(deadline)
    }

    pub(crate) fn on(&mut self, word: &AtomicU32, expected: u32) -> Woken {
        if self.0.has_passed() {
            return Woken::TimedOut;
        }
        futex::wait(word, expected)
    }
}
