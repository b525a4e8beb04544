//! Deadlines: the one arithmetic behind every `x_timeout` and `x_deadline`.
//!
//! Monotonic only. A wall clock that jumps fires no deadline and misses none.

use std::time::{Duration, Instant};

/// Nanoseconds on the clock that [`Instant`] reads: the same in every process of this machine.
pub fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a timespec of ours, valid for a write.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    debug_assert_eq!(answer, 0, "every kernel has this clock");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The moment at which a blocking call gives up, or never.
///
/// One `Deadline` covers the whole call, however many sleeps it takes inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(When);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Passed,
    At(Instant),
    Never,
}

impl Deadline {
    /// Wait for ever.
    pub const NEVER: Deadline = Deadline(When::Never);

    /// Already over: look once, do not wait.
    pub const NOW: Deadline = Deadline(When::Passed);

    /// `timeout` from now. Zero is [`Deadline::NOW`]; what the clock cannot hold is
    /// [`Deadline::NEVER`].
    pub fn after(timeout: Duration) -> Deadline {
        if timeout.is_zero() {
            return Deadline::NOW;
        }
        match Instant::now().checked_add(timeout) {
            Some(instant) => Deadline(When::At(instant)),
            None => Deadline::NEVER,
        }
    }

    /// At `instant`; one in the past looks once.
    pub fn at(instant: Instant) -> Deadline {
        Deadline(When::At(instant))
    }

    /// What is left: `None` for ever, zero once it has passed.
    pub fn remaining(self) -> Option<Duration> {
        match self.0 {
            When::Passed => Some(Duration::ZERO),
            When::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            When::Never => None,
        }
    }

    /// Whether the moment is over.
    pub fn has_passed(self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// Whether this deadline never comes.
    pub fn is_never(self) -> bool {
        self.0 == When::Never
    }

    /// Whichever of the two comes first.
    pub fn earlier(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (When::Passed, _) | (_, When::Passed) => Deadline::NOW,
            (When::Never, _) => other,
            (_, When::Never) => self,
            (When::At(mine), When::At(theirs)) => Deadline(When::At(mine.min(theirs))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_looks_once() {
        assert!(Deadline::after(Duration::ZERO).has_passed());
        assert_eq!(Deadline::NOW.remaining(), Some(Duration::ZERO));
    }

    #[test]
    fn what_the_clock_cannot_hold_is_never() {
        assert!(Deadline::after(Duration::MAX).is_never());
        assert_eq!(Deadline::NEVER.remaining(), None);
    }

    #[test]
    fn the_earlier_of_two_wins() {
        let soon = Deadline::after(Duration::from_secs(1));
        let late = Deadline::after(Duration::from_secs(9));
        assert_eq!(soon.earlier(late), soon);
        assert_eq!(Deadline::NEVER.earlier(soon), soon);
        assert_eq!(soon.earlier(Deadline::NEVER), soon);
        assert_eq!(late.earlier(Deadline::NOW), Deadline::NOW);
    }
}
