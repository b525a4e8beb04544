//! How one side of a ring waits for the other: a little spinning while that may help, then sleep.
//!
//! Each look takes the cache line with the other side's cursor away from it, which costs both as much
//! as several items do. So while items stream, it pays to look seldom and find many; while one side
//! answers the other, it pays to look at once. [`Patience`] tells the two apart by trying.

use std::sync::atomic::{AtomicU32, Ordering};

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::Woken;

use crate::bell::Bell;
use crate::lock::spin_limit;
use crate::sleep::Sleeper;

/// Pauses before the first look while items stream: about a microsecond.
const PATIENT: u32 = 24;

/// One wait in so many is patient on trial.
const TRIAL: u32 = 16;

/// A patient wait has paid off if it found at least so many.
const MANY: usize = 4;

/// What one handle has learnt about waiting: waits since the last trial, or `TRIAL` while patience
/// pays off. Private to the process; a wrong guess costs a microsecond.
#[derive(Debug, Default)]
pub struct Patience(AtomicU32);

impl Patience {
    /// Whether the next wait is to be patient.
    fn next(&self) -> bool {
        let waits = self.0.load(Ordering::Relaxed);
        if waits < TRIAL {
            self.0.store(waits + 1, Ordering::Relaxed);
        }
        waits >= TRIAL
    }

    /// What a patient wait found.
    fn learn(&self, found: usize) {
        let waits = if found >= MANY { TRIAL } else { 0 };
        self.0.store(waits, Ordering::Relaxed);
    }
}

/// One wait for the other side of a ring.
#[derive(Debug)]
pub struct Waiting<'a> {
    patience: &'a Patience,
    sleeper: Sleeper,
    /// How long the next spin is, until the limit; 0 before the first.
    pauses: u32,
}

/// The deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

impl<'a> Waiting<'a> {
    /// A wait until `deadline`.
    pub fn new(patience: &'a Patience, deadline: Deadline) -> Waiting<'a> {
        Waiting {
            patience,
            sleeper: Sleeper::new(deadline),
            pauses: 0,
        }
    }

    /// Returns when there may be something: `ready` says how much there is, and is asked again after
    /// the bell has been armed.
    ///
    /// # Errors
    ///
    /// [`Late`].
    pub fn pause(&mut self, bell: &Bell, ready: impl Fn() -> usize) -> Result<(), Late> {
        if self.sleeper.deadline().has_passed() {
            return Err(Late);
        }
        if self.pauses == 0 && spin_limit() > 0 {
            self.pauses = 1;
            if self.patience.next() {
                self.pauses = PATIENT;
                spin(PATIENT);
                let found = ready();
                self.patience.learn(found);
                if found > 0 {
                    return Ok(());
                }
            }
        }
        while self.pauses < spin_limit() {
            spin(self.pauses);
            self.pauses *= 2;
            if ready() > 0 {
                return Ok(());
            }
        }
        let armed = bell.arm();
        let is_late = ready() == 0 && bell.sleep(armed, &mut self.sleeper) == Woken::TimedOut;
        // The wake may have died with another, or been of no use to it: what is there counts.
        if is_late && ready() == 0 {
            return Err(Late);
        }
        Ok(())
    }
}

fn spin(pauses: u32) {
    (0..pauses).for_each(|_| std::hint::spin_loop());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_stays_while_it_pays_off() {
        let patience = Patience::default();
        let eager = (0..).take_while(|_| !patience.next()).count();
        assert_eq!(eager as u32, TRIAL);
        patience.learn(MANY);
        assert!(patience.next());
        patience.learn(1);
        assert!(!patience.next());
    }
}
