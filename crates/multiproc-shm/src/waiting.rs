//! How one side of a ring waits for the other: a little spinning while that may help, then sleep.
//!
//! Each look takes the cache line with the other side's cursor away from it, which costs both as much
//! as several items do. So while items stream, it pays to look seldom and find many; while one side
//! answers the other, it pays to look at once. [`Patience`] tells the two apart by trying.
//!
//! A wake takes several microseconds on both sides, so staying awake for as long pays off where the
//! answer is on its way, and only there: where the other side sleeps, or has no processor to run on,
//! it is time lost for both. [`Hope`] tells those two apart in the same way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::Woken;
use multiproc_sys::processors;

use crate::bell::Bell;
use crate::lock::spin_limit;
use crate::sleep::Sleeper;

/// Pauses before the first look while items stream: about two microseconds. Half of that made the queue
/// slower by a tenth from one producer to one consumer, and by a fifth between two and two.
const PATIENT: u32 = 48;

/// One wait in so many is patient on trial.
const TRIAL: u32 = 16;

/// A patient wait has paid off if it found at least so many. One is what an answer brings. More than two
/// would let a slow side lose patience and become slower still by being looked at.
const MANY: usize = 2;

/// How long a hopeful wait stays awake. It must be longer than a wake of the other side and its answer
/// take, or two who both sleep would never find out that they need not.
const HOPEFUL: Duration = Duration::from_micros(12);

/// Pauses between the looks of a hopeful wait.
const HOPEFUL_PAUSES: u32 = 4;

/// Looks of a prompt one, a pause apart, between two looks at the clock.
const PROMPT_LOOKS: u32 = 8;

/// After this many hopeful waits in vain, doubling from one, only one wait in as many is hopeful.
const LEAST_HOPE: u32 = 128;

/// What one handle has learnt about waiting. Private to the process; a wrong guess costs a
/// microsecond, or a few in one wait of many.
#[derive(Debug, Default)]
pub struct Patience {
    /// Waits since the last patient trial, or `TRIAL` while patience pays off.
    waits: AtomicU32,
    hope: Hope,
    prompt: bool,
}

/// Looks a short wait has in any case, each after others had this processor.
const YIELDS: u32 = 4;

/// After so many finds in a row that took giving the processor away, one wait sleeps: two that only yield
/// to each other stay on one processor for ever, and one that is woken is put on an idle one.
const CROWDED: u32 = 32;

/// Whether it pays off to stay awake for longer. Private to the process; a wrong guess costs what one
/// such wait costs.
#[derive(Debug, Default)]
pub struct Hope {
    /// How many waits are to pass between hopeful ones.
    apart: AtomicU32,
    /// How many are yet to pass.
    left: AtomicU32,
    /// Finds in a row that took giving the processor away.
    yielded: AtomicU32,
}

impl Hope {
    /// Whether the next wait is to be hopeful.
    pub fn next(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    /// Stays awake until `ready`: for a moment, and for as long as a wake and an answer take if that may pay
    /// off. Others that want to run on this processor do.
    pub fn stay_awake(&self, ready: impl Fn() -> bool) -> bool {
        const LOOKS: u32 = 8;
        if self.yielded.load(Ordering::Relaxed) >= CROWDED {
            self.yielded.store(0, Ordering::Relaxed);
            return false;
        }
        let look_awake = || {
            let found = (0..LOOKS).any(|_| {
                spin(HOPEFUL_PAUSES);
                ready()
            });
            if found {
                self.yielded.store(0, Ordering::Relaxed);
            }
            found
        };
        let look_after_others = || {
            std::thread::yield_now();
            let found = ready();
            if found {
                self.yielded.fetch_add(1, Ordering::Relaxed);
            }
            found
        };
        let is_hopeful = processors::online() > 1 && self.next();
        (is_hopeful && self.hold_out(|| look_awake() || look_after_others()))
            || (0..YIELDS).any(|_| look_after_others())
    }

    /// Looks until that has paid off or lasted too long.
    fn hold_out(&self, look: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        let mut found = false;
        while !found && started.elapsed() < HOPEFUL {
            found = look();
        }
        self.learn(found);
        found
    }

    /// Whether the last hopeful wait has.
    fn pays_off(&self) -> bool {
        self.apart.load(Ordering::Relaxed) == 0
    }

    /// Whether a hopeful wait has found what it hoped for.
    pub fn learn(&self, found: bool) {
        let apart = self.apart.load(Ordering::Relaxed);
        let apart = if found {
            0
        } else {
            (apart * 2 + 1).min(LEAST_HOPE)
        };
        self.apart.store(apart, Ordering::Relaxed);
        self.left.store(apart, Ordering::Relaxed);
    }
}

impl Patience {
    /// For one taker at a time, which often waits for an answer: where hope pays off, it looks as often as
    /// it can. With more and more time between the looks, as for a crowd, it would find each answer late.
    pub fn prompt() -> Patience {
        Patience {
            prompt: true,
            ..Patience::default()
        }
    }

    /// Whether the next wait is to be patient.
    fn next(&self) -> bool {
        let waits = self.waits.load(Ordering::Relaxed);
        if waits < TRIAL {
            self.waits.store(waits + 1, Ordering::Relaxed);
        }
        waits >= TRIAL
    }

    /// What a patient wait found.
    fn learn(&self, found: usize) {
        let waits = if found >= MANY { TRIAL } else { 0 };
        self.waits.store(waits, Ordering::Relaxed);
    }
}

/// One wait for the other side of a ring.
#[derive(Debug)]
pub struct Waiting<'a> {
    patience: &'a Patience,
    sleeper: Sleeper,
    /// How long the next spin is, until the limit; 0 before the first.
    pauses: u32,
    /// Whether it has been decided if this wait is hopeful.
    hoped: bool,
}

/// The deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

impl<'a> Waiting<'a> {
    /// A wait until `deadline`.
    #[inline]
    pub fn new(patience: &'a Patience, deadline: Deadline) -> Waiting<'a> {
        Waiting {
            patience,
            sleeper: Sleeper::new(deadline),
            pauses: 0,
            hoped: false,
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
        let is_prompt = self.patience.prompt && self.patience.hope.pays_off();
        while self.pauses < spin_limit() && !is_prompt {
            spin(self.pauses);
            self.pauses *= 2;
            if ready() > 0 {
                return Ok(());
            }
        }
        if !self.hoped && processors::online() > 1 {
            self.hoped = true;
            let (looks, pauses) = match self.patience.prompt {
                true => (PROMPT_LOOKS, 1),
                false => (1, HOPEFUL_PAUSES),
            };
            let look = || {
                (0..looks).any(|_| {
                    spin(pauses);
                    ready() > 0
                })
            };
            if self.patience.hope.next() && self.patience.hope.hold_out(look) {
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

    #[test]
    fn who_only_finds_by_yielding_sleeps_now_and_then() {
        let hope = Hope::default();
        hope.yielded.store(CROWDED, Ordering::Relaxed);
        assert!(!hope.stay_awake(|| true));
        assert!(hope.stay_awake(|| true));
    }

    #[test]
    fn hope_in_vain_becomes_rare_and_comes_back_at_once() {
        let hope = Hope::default();
        assert!(hope.next());
        let mut last = 0;
        for _ in 0..20 {
            hope.learn(false);
            last = (0..).take_while(|_| !hope.next()).count();
        }
        assert_eq!(last as u32, LEAST_HOPE);
        hope.learn(true);
        assert!(hope.next() && hope.next());
    }
}
