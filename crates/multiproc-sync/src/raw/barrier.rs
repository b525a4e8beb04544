//! The words of a barrier: who has arrived in this round, and how the rounds before ended.
//!
//! | word | meaning | who writes, under the barrier's lock |
//! |---|---|---|
//! | parties | how many make a round full | the maker, once |
//! | round | the number of this round, from 1 | whoever ends one: the last to arrive, or whoever breaks it |
//! | broken | 0, or why the barrier stays broken until a reset | whoever breaks it; 0 by a reset |
//! | arrived | how many of this round's places are taken: a cache | the arriving |
//! | sequence | moved by every end of a round | whoever ended one, after the unlock |
//! | task | the action, as three words | the maker, once |
//! | breaks | the last eight rounds that did not end well: `round << 8 \| why` | whoever breaks one |
//! | places | two tables of `parties` members: even and odd rounds | the arriving; zeroed when the round is over |
//!
//! A round ends by one store of `round`. If it was broken, that is said in `breaks` before; this
//! store is the breaking, and the lock's next owner after a death does the rest. A sleeper needs
//! only its round's number, and no lock, to learn how the round ended, however late it looks.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | place taken | a dead member in a place: whoever looks breaks the barrier |
//! | asleep, or running the action | as above |
//! | last to arrive, before `round` moved | as above |
//! | after it | the round is over: the places are zeroed by the lock's next owner, the sleepers woken by the death |
//! | breaking, before `breaks` | the round goes on, with a dead member in it if it had arrived |
//! | after it | the lock's next owner moves `round` |

use crate::door::{AtomicU64, MemberId, Ordering, family};
use crate::error::BrokenWhy;

const PARTIES: usize = 0;
const ROUND: usize = 1;
const BROKEN: usize = 2;
const ARRIVED: usize = 3;
const SEQUENCE: usize = 4;
const TASK: usize = 5;
const BREAKS: usize = 8;
const PLACES: usize = 16;

/// In a place: somebody who is no member, so nobody can tell that he died.
const STRANGER: u64 = 1;

/// The words of a barrier for so many.
pub(crate) const fn words_for(parties: usize) -> usize {
    PLACES + 2 * parties
}

/// Which half word the sequence is.
pub(crate) const SEQUENCE_AT: usize = 2 * SEQUENCE;

/// A view of the words. What changes them is called under the barrier's lock.
#[derive(Clone, Copy)]
pub(crate) struct Rounds<'a>(&'a [AtomicU64]);

/// What there is to do for who has come to the barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the arrival counts"]
pub(crate) enum Arrival {
    /// Nothing: the barrier is broken.
    Broken(BrokenWhy),
    /// The round is full and not yet over: wait for its end, then come again.
    TooEarly { round: u64 },
    /// Wait for the end of the round.
    Waiting { round: u64, index: usize },
    /// The round is full: run the action and release the others.
    Last { round: u64, index: usize },
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Rounds<'a> {
        Rounds(words)
    }

    /// Fills zeroed words.
    pub(crate) fn init(self, parties: usize, task: [u64; 3]) {
        for (word, value) in self.0[TASK..].iter().zip(task) {
            word.store(value, Ordering::Relaxed);
        }
        self.set(PARTIES, parties as u64);
        self.set(ROUND, 1);
    }

    fn get(self, index: usize) -> u64 {
        self.0[index].load(Ordering::Acquire)
    }

    fn set(self, index: usize, value: u64) {
        self.0[index].store(value, Ordering::Release);
    }

    pub(crate) fn parties(self) -> usize {
        let most = self.0.len().saturating_sub(PLACES) / 2;
        (self.get(PARTIES) as usize).min(most)
    }

    pub(crate) fn arrived(self) -> usize {
        (self.get(ARRIVED) as usize).min(self.parties())
    }

    pub(crate) fn round(self) -> u64 {
        self.get(ROUND)
    }

    pub(crate) fn task(self) -> [u64; 3] {
        [0, 1, 2].map(|index| self.get(TASK + index))
    }

    pub(crate) fn broken(self) -> Option<BrokenWhy> {
        BrokenWhy::from_code(self.get(BROKEN))
    }

    fn places(self, round: u64) -> &'a [AtomicU64] {
        let parties = self.parties();
        &self.0[PLACES + (round % 2) as usize * parties..][..parties]
    }

    /// How a round ended, or `None` while it has not. Needs no lock.
    pub(crate) fn outcome(self, round: u64) -> Option<Result<(), BrokenWhy>> {
        if self.round() == round {
            return None;
        }
        let breaks = &self.0[BREAKS..PLACES];
        let breaks = breaks.iter().map(|entry| entry.load(Ordering::Acquire));
        let mut oldest = u64::MAX;
        for entry in breaks {
            if entry >> 8 == round {
                let why = BrokenWhy::from_code(entry & 0xFF);
                return Some(Err(why.unwrap_or(BrokenWhy::Reset)));
            }
            oldest = oldest.min(entry >> 8);
        }
        // Eight later rounds broke, so nobody knows: the answer that promises nothing.
        let forgotten = oldest > round;
        Some(if forgotten {
            Err(BrokenWhy::Reset)
        } else {
            Ok(())
        })
    }

    /// After a death in the lock: finishes what the dead had begun.
    #[cold]
    pub(crate) fn repair(self) {
        let round = self.round();
        let breaks = self.0[BREAKS..PLACES].iter();
        let begun = breaks
            .map(|entry| entry.load(Ordering::Acquire))
            .find(|entry| entry >> 8 == round);
        match begun.and_then(|entry| BrokenWhy::from_code(entry & 0xFF)) {
            Some(why) => self.finish_break(round, why),
            None => self.tidy(round.wrapping_sub(1)),
        }
        let taken = self.places(self.round()).iter();
        let taken = taken.take_while(|place| place.load(Ordering::Relaxed) != 0);
        self.set(ARRIVED, taken.count() as u64);
    }

    /// Breaks the barrier if somebody who has arrived is dead; true if so.
    pub(crate) fn break_if_dead(self) -> bool {
        let here = &self.places(self.round())[..self.arrived()];
        let dead = here.iter().any(|place| {
            MemberId::from_bits(place.load(Ordering::Relaxed))
                .is_some_and(|member| !family::is_alive(member))
        });
        if dead {
            self.end_badly(BrokenWhy::Died);
        }
        dead
    }

    pub(crate) fn arrive(self) -> Arrival {
        if let Some(why) = self.broken() {
            return Arrival::Broken(why);
        }
        let (round, index) = (self.round(), self.arrived());
        let Some(place) = self.places(round).get(index) else {
            return Arrival::TooEarly { round };
        };
        let me = family::me().map_or(STRANGER, MemberId::bits);
        place.store(me, Ordering::Relaxed);
        self.set(ARRIVED, index as u64 + 1);
        if index + 1 == self.parties() {
            Arrival::Last { round, index }
        } else {
            Arrival::Waiting { round, index }
        }
    }

    /// Ends a full round well.
    pub(crate) fn end_well(self) {
        let round = self.round();
        // SYNC POINT barrier: what happened before an arrival happens before the end of every wait.
        self.set(ROUND, round + 1);
        self.tidy(round);
    }

    /// Breaks the barrier for those who have arrived, and, but by a reset, for those to come.
    pub(crate) fn end_badly(self, why: BrokenWhy) {
        let round = self.round();
        let breaks = self.0[BREAKS..PLACES].iter();
        let oldest = breaks.min_by_key(|entry| entry.load(Ordering::Relaxed));
        if let Some(oldest) = oldest {
            oldest.store(round << 8 | why.code(), Ordering::Release);
        }
        self.finish_break(round, why);
    }

    fn finish_break(self, round: u64, why: BrokenWhy) {
        match why {
            BrokenWhy::Reset => self.set(BROKEN, 0),
            why => self.set(BROKEN, why.code()),
        }
        self.set(ROUND, round + 1);
        self.tidy(round);
    }

    /// Makes a broken barrier whole; where somebody waits, ends that. True if there was anything to do.
    pub(crate) fn reset(self) -> bool {
        let waited = self.arrived() > 0;
        if waited {
            self.end_badly(BrokenWhy::Reset);
        }
        let broken = self.broken().is_some();
        self.set(BROKEN, 0);
        waited || broken
    }

    /// Zeroes the places of a round that is over.
    fn tidy(self, round: u64) {
        for place in self.places(round) {
            place.store(0, Ordering::Relaxed);
        }
        self.set(ARRIVED, 0);
    }
}

#[cfg(all(test, not(multiproc_model)))]
mod tests {
    use super::*;

    fn words(parties: usize) -> Vec<AtomicU64> {
        let words: Vec<_> = (0..words_for(parties)).map(|_| AtomicU64::new(0)).collect();
        Rounds::new(&words).init(parties, [0; 3]);
        words
    }

    #[test]
    fn a_late_sleeper_learns_how_its_round_ended() {
        let words = words(1);
        let rounds = Rounds::new(&words);
        let mut ended = Vec::new();
        for turn in 0..20 {
            let round = rounds.round();
            assert_eq!(rounds.arrive(), Arrival::Last { round, index: 0 });
            assert_eq!(rounds.arrive(), Arrival::TooEarly { round });
            assert_eq!(rounds.outcome(round), None);
            if turn % 4 == 3 {
                rounds.end_badly(BrokenWhy::Reset);
            } else {
                rounds.end_well();
            }
            ended.push((round, turn % 4 != 3));
        }
        for (round, well) in ended {
            assert_eq!(rounds.outcome(round).is_some_and(|end| end.is_ok()), well);
        }
    }

    #[test]
    fn whatever_was_forgotten_did_not_end_well() {
        let words = words(2);
        let rounds = Rounds::new(&words);
        let first = rounds.round();
        for _ in 0..9 {
            rounds.end_badly(BrokenWhy::Reset);
        }
        assert_eq!(rounds.outcome(first), Some(Err(BrokenWhy::Reset)));
    }

    #[test]
    fn a_break_that_was_begun_is_finished() {
        let words = words(2);
        let rounds = Rounds::new(&words);
        let round = rounds.round();
        let _ = rounds.arrive();
        words[BREAKS].store(round << 8 | BrokenWhy::Aborted.code(), Ordering::Relaxed);
        rounds.repair();
        assert_eq!(rounds.outcome(round), Some(Err(BrokenWhy::Aborted)));
        assert_eq!(rounds.arrive(), Arrival::Broken(BrokenWhy::Aborted));
    }

    #[test]
    fn an_end_that_was_begun_is_finished() {
        let words = words(2);
        let rounds = Rounds::new(&words);
        let round = rounds.round();
        let _ = (rounds.arrive(), rounds.arrive());
        rounds.set(ROUND, round + 1);
        rounds.repair();
        assert_eq!(rounds.outcome(round), Some(Ok(())));
        let next = Arrival::Waiting {
            round: round + 1,
            index: 0,
        };
        assert_eq!(rounds.arrive(), next);
    }
}
