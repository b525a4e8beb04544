//! A sleep, as the model's futex has it.

use crate::door::futex::{self, Woken};
use crate::door::{AtomicU32, Deadline};

#[derive(Debug)]
pub(crate) struct Sleeper;

impl Sleeper {
    pub(crate) fn new(_deadline: Deadline) -> Sleeper {
        Sleeper
    }

    pub(crate) fn on(&mut self, word: &AtomicU32, expected: u32) -> Woken {
        futex::wait(word, expected)
    }
}
