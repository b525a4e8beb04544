//! How one waits at a barrier. The words are `raw::barrier`'s; this file owns the order in which its
//! lock is taken, its sequence moved and its action run.

use std::time::Duration;

use crate::door::{Deadline, LockError, Object, RawGuard, Sleeper, Woken, spin_limit};
use crate::error::{BarrierError, BrokenWhy};
use crate::raw::barrier::{Arrival, Rounds, SEQUENCE_AT};
use crate::raw::sequence::Sequence;

/// A timed call waits so long for the barrier's lock, which is held for an instant, by a process
/// that may be stopped.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the last to come does before anybody is released.
pub(crate) type Action<'a> = &'a dyn Fn() -> Result<(), BarrierError>;

/// A barrier's object, as those who wait there use it.
#[derive(Clone, Copy)]
pub(crate) struct Meeting<'a> {
    object: &'a Object,
}

impl<'a> Meeting<'a> {
    pub(crate) fn of(object: &'a Object) -> Meeting<'a> {
        Meeting { object }
    }

    pub(crate) fn rounds(self) -> Rounds<'a> {
        Rounds::new(self.object.words())
    }

    fn sequence(self) -> Sequence<'a> {
        Sequence::new(&self.object.half_words()[SEQUENCE_AT])
    }

    /// Takes the lock and puts in order what a death left; `None` if a stopped process holds it.
    fn lock(self, deadline: Deadline) -> Option<RawGuard<'a>> {
        let patience = match deadline.remaining() {
            Some(left) if left < PATIENCE => Deadline::after(PATIENCE),
            _ => deadline,
        };
        let guard = match self.object.lock().lock(patience) {
            Ok(guard) => guard,
            Err(LockError::TimedOut) => return None,
            // Only a thread that already holds 2,000 locks comes here.
            Err(error) => panic!("cannot lock the barrier: {error}"),
        };
        if guard.taken().is_after_death() {
            self.rounds().repair();
            self.wake_all();
        }
        Some(guard)
    }

    fn lock_for_ever(self) -> RawGuard<'a> {
        self.lock(Deadline::NEVER).expect("it has no deadline")
    }

    fn wake_all(self) {
        self.sequence().announce(i32::MAX as u32);
    }

    /// Comes, and waits until all have come; says in which place.
    pub(crate) fn wait(
        self,
        deadline: Deadline,
        action: Option<Action<'_>>,
    ) -> Result<usize, BarrierError> {
        loop {
            match self.arrive(deadline, action.is_some())? {
                Arrival::Broken(why) => return Err(BarrierError::Broken { why }),
                Arrival::TooEarly { round } => {
                    // However that round ends, the next one is another.
                    if self.sleep(round, deadline) == Err(BarrierError::TimedOut) {
                        return Err(BarrierError::TimedOut);
                    }
                }
                Arrival::Waiting { round, index } => {
                    self.sleep(round, deadline)?;
                    return Ok(index);
                }
                Arrival::Last { round, index } => {
                    self.release(round, action)?;
                    return Ok(index);
                }
            }
        }
    }

    fn arrive(self, deadline: Deadline, acts: bool) -> Result<Arrival, BarrierError> {
        let rounds = self.rounds();
        let held = self.lock(deadline).ok_or(BarrierError::TimedOut)?;
        let broke = rounds.break_if_dead();
        let arrival = rounds.arrive();
        if matches!(arrival, Arrival::Last { .. }) && !acts {
            rounds.end_well();
        }
        drop(held);
        if broke {
            self.wake_all();
        }
        Ok(arrival)
    }

    /// What the last to come does. Without an action, the round is over already.
    fn release(self, round: u64, action: Option<Action<'_>>) -> Result<(), BarrierError> {
        let Some(action) = action else {
            self.wake_all();
            return Ok(());
        };
        let unwound = BreakOnDrop {
            meeting: self,
            round,
        };
        action()?;
        std::mem::forget(unwound);
        let rounds = self.rounds();
        let held = self.lock_for_ever();
        // It may have been broken meanwhile, by an abort or a timeout.
        if rounds.outcome(round).is_none() && !rounds.break_if_dead() {
            rounds.end_well();
        }
        drop(held);
        self.wake_all();
        self.told(rounds.outcome(round))
    }

    fn told(self, outcome: Option<Result<(), BrokenWhy>>) -> Result<(), BarrierError> {
        match outcome {
            Some(Err(why)) => Err(BarrierError::Broken { why }),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the round and says how it ended; at the deadline, ends it badly.
    fn sleep(self, round: u64, deadline: Deadline) -> Result<(), BarrierError> {
        let (rounds, sequence) = (self.rounds(), self.sequence());
        for _ in 0..spin_limit() {
            if rounds.round() != round {
                break;
            }
            std::hint::spin_loop();
        }
        let mut sleeper = Sleeper::new(deadline);
        loop {
            let armed = sequence.arm();
            // SYNC POINT barrier
            if let Some(outcome) = rounds.outcome(round) {
                return self.told(Some(outcome));
            }
            if sequence.sleep(armed, &mut sleeper) == Woken::TimedOut {
                return self.give_up(round);
            }
            if rounds.outcome(round).is_none() {
                self.look_for_the_dead(deadline);
            }
        }
    }

    /// Somebody woke us, and not because the round is over: perhaps a death did.
    #[cold]
    fn look_for_the_dead(self, deadline: Deadline) {
        let Some(held) = self.lock(deadline) else {
            return;
        };
        let broke = self.rounds().break_if_dead();
        drop(held);
        if broke {
            self.wake_all();
        }
    }

    #[cold]
    fn give_up(self, round: u64) -> Result<(), BarrierError> {
        let rounds = self.rounds();
        let Some(held) = self.lock(Deadline::NOW) else {
            return Err(BarrierError::TimedOut);
        };
        if let Some(outcome) = rounds.outcome(round) {
            return self.told(Some(outcome));
        }
        rounds.end_badly(BrokenWhy::TimedOut);
        drop(held);
        self.wake_all();
        Err(BarrierError::TimedOut)
    }

    pub(crate) fn reset(self) {
        let held = self.lock_for_ever();
        let changed = self.rounds().reset();
        drop(held);
        if changed {
            self.wake_all();
        }
    }

    pub(crate) fn abort(self) {
        let held = self.lock_for_ever();
        if self.rounds().broken().is_none() {
            self.rounds().end_badly(BrokenWhy::Aborted);
        }
        drop(held);
        self.wake_all();
    }

    /// How many wait now, the dead not among them.
    pub(crate) fn waiting(self) -> usize {
        self.look_for_the_dead(Deadline::NEVER);
        self.rounds().arrived()
    }

    pub(crate) fn is_broken(self) -> bool {
        self.look_for_the_dead(Deadline::NEVER);
        self.rounds().broken().is_some()
    }
}

/// Breaks the barrier whose action panicked or could not be called.
struct BreakOnDrop<'a> {
    meeting: Meeting<'a>,
    round: u64,
}

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        let rounds = self.meeting.rounds();
        let held = self.meeting.lock_for_ever();
        if rounds.round() == self.round {
            rounds.end_badly(BrokenWhy::ActionFailed);
        }
        drop(held);
        self.meeting.wake_all();
    }
}
