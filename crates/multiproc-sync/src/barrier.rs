//! A point where so many wait for each other. The words are `raw::barrier`'s; this file is how one
//! waits, and who runs the action.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, LockError, Object, RawGuard, RawLock, Sleeper, spin_limit};
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::Woken;
use multiproc_wire::task::TaskRef;
use multiproc_wire::{Parcel, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{BarrierError, BrokenWhy};
use crate::raw::barrier::{Arrival, Rounds, SEQUENCE_AT, words_for};
use crate::raw::sequence::Sequence;

/// `b"barr"`
const TAG: u32 = u32::from_le_bytes(*b"barr");

/// More threads than a family can have.
const MOST: usize = 1 << 24;

/// A timed call waits so long for the barrier's lock, which is held for an instant, by a process
/// that may be stopped.
const PATIENCE: Duration = Duration::from_millis(100);

/// Lets a number of threads and processes wait until all of them have come.
///
/// # Examples
///
/// ```
/// use multiproc_sync::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// let theirs = barrier.clone();
/// let other = std::thread::spawn(move || theirs.wait());
/// let mine = barrier.wait()?;
/// let other = other.join().unwrap()?;
/// assert_ne!(mine.index(), other.index());
/// assert!(mine.is_leader() != other.is_leader());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// While it waits or runs the action: the barrier breaks, and everybody who waits is told. One that
/// dies before it has come is one that has not come.
///
/// # Differences from Python
///
/// It breaks when a participant dies, where Python's waits for ever; and it says why it is broken.
#[derive(Clone)]
pub struct Barrier {
    object: Object,
    /// The action's argument.
    action: Option<Object>,
}

/// What [`Barrier::wait`] says to each of those it releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: usize,
}

impl BarrierWaitResult {
    /// A number below [`Barrier::parties`], another for each of those released together.
    pub fn index(&self) -> usize {
        self.index
    }

    /// True for one of those released together: the one with index 0.
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }
}

impl Barrier {
    /// A barrier for `parties`.
    ///
    /// # Errors
    ///
    /// [`CreateError::Invalid`] for 0 parties; else if there is no shared memory for it.
    pub fn new(parties: usize) -> Result<Barrier, CreateError> {
        Barrier::create(parties, [0; 3], None)
    }

    /// A barrier for `parties` where the last to come calls `action(argument)` before all are
    /// released. If it panics, the barrier breaks, and the panic goes on in that caller.
    ///
    /// The argument travels as one to a process does; each call gets its own copy. The action must
    /// not wait for this barrier.
    ///
    /// # Errors
    ///
    /// As [`Barrier::new`]; [`CreateError::Invalid`] if the function or its argument cannot travel.
    pub fn with_action<A>(
        parties: usize,
        action: fn(A),
        argument: A,
    ) -> Result<Barrier, CreateError>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        let cannot = |why: &dyn fmt::Display| {
            CreateError::Invalid(format!("the action cannot travel: {why}"))
        };
        let task = TaskRef::of(action).map_err(|why| cannot(&why))?;
        let argument = codec::encode_checked(&argument).map_err(|why| cannot(&why))?;
        let argument = multiproc_shm::parcel::store(&argument)?;
        Barrier::create(parties, task.to_words(), Some(argument))
    }

    fn create(
        parties: usize,
        task: [u64; 3],
        action: Option<Object>,
    ) -> Result<Barrier, CreateError> {
        if parties == 0 || parties > MOST {
            return Err(CreateError::Invalid(format!(
                "a barrier for {parties} makes no sense; there must be 1 to {MOST} parties"
            )));
        }
        let len = size_of::<RawLock>() + words_for(parties) * 8;
        let object = Object::create(Kind::Locked, TAG, len, |_| {})?;
        Rounds::new(object.words()).init(parties, task);
        Ok(Barrier { object, action })
    }

    fn rounds(&self) -> Rounds<'_> {
        Rounds::new(self.object.words())
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence::new(&self.object.half_words()[SEQUENCE_AT])
    }

    /// Takes the lock and puts in order what a death left; `None` if a stopped process holds it.
    fn lock(&self, deadline: Deadline) -> Option<RawGuard<'_>> {
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

    fn lock_for_ever(&self) -> RawGuard<'_> {
        self.lock(Deadline::NEVER).expect("it has no deadline")
    }

    fn wake_all(&self) {
        self.sequence().announce(i32::MAX as u32);
    }

    /// Waits until as many wait here as the barrier is for.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Broken`], at once or while waiting.
    ///
    /// # Panics
    ///
    /// If the thread holds 2,000 locks already, or the action panics in this thread.
    pub fn wait(&self) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::NEVER)
    }

    /// As [`Barrier::wait`], for at most `timeout`; then the barrier breaks for all. An action that
    /// runs in this thread takes its time.
    ///
    /// # Errors
    ///
    /// [`BarrierError::TimedOut`], [`BarrierError::Broken`].
    ///
    /// # Panics
    ///
    /// As [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::after(timeout))
    }

    /// As [`Barrier::wait_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Barrier::wait_timeout`].
    ///
    /// # Panics
    ///
    /// As [`Barrier::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<BarrierWaitResult, BarrierError> {
        loop {
            match self.arrive(deadline)? {
                Arrival::Broken(why) => return Err(BarrierError::Broken { why }),
                Arrival::TooEarly { round } => {
                    // However that round ends, the next one is another.
                    if self.sleep(round, deadline) == Err(BarrierError::TimedOut) {
                        return Err(BarrierError::TimedOut);
                    }
                }
                Arrival::Waiting { round, index } => {
                    self.sleep(round, deadline)?;
                    return Ok(BarrierWaitResult { index });
                }
                Arrival::Last { round, index } => {
                    self.release(round)?;
                    return Ok(BarrierWaitResult { index });
                }
            }
        }
    }

    fn arrive(&self, deadline: Deadline) -> Result<Arrival, BarrierError> {
        let rounds = self.rounds();
        let held = self.lock(deadline).ok_or(BarrierError::TimedOut)?;
        let broke = rounds.break_if_dead();
        let arrival = rounds.arrive();
        if let (Arrival::Last { .. }, None) = (arrival, &self.action) {
            rounds.end_well();
        }
        drop(held);
        if broke {
            self.wake_all();
        }
        Ok(arrival)
    }

    /// What the last to come does. Without an action, the round is over already.
    fn release(&self, round: u64) -> Result<(), BarrierError> {
        let Some(action) = &self.action else {
            self.wake_all();
            return Ok(());
        };
        let unwound = BreakOnDrop {
            barrier: self,
            round,
        };
        self.run(action)?;
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

    /// Calls the action. An error here drops the caller's [`BreakOnDrop`].
    fn run(&self, argument: &Object) -> Result<(), BarrierError> {
        let failed = BarrierError::Broken {
            why: BrokenWhy::ActionFailed,
        };
        let task = TaskRef::from_words(self.rounds().task());
        let task = task.resolve().map_err(|_| failed)?;
        let argument = multiproc_shm::parcel::load(argument).map_err(|_| failed)?;
        let mut reply = Parcel::default();
        task.run(&argument.bytes, &argument.attachments, &mut reply)
            .map_err(|_| failed)
    }

    fn told(&self, outcome: Option<Result<(), BrokenWhy>>) -> Result<(), BarrierError> {
        match outcome {
            Some(Err(why)) => Err(BarrierError::Broken { why }),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the round and says how it ended; at the deadline, ends it badly.
    fn sleep(&self, round: u64, deadline: Deadline) -> Result<(), BarrierError> {
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
    fn look_for_the_dead(&self, deadline: Deadline) {
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
    fn give_up(&self, round: u64) -> Result<(), BarrierError> {
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

    /// Makes the barrier as new: a broken one whole, and an end with [`BrokenWhy::Reset`] for those
    /// who wait, and only for them.
    ///
    /// # Panics
    ///
    /// If the thread holds 2,000 locks already.
    pub fn reset(&self) {
        let held = self.lock_for_ever();
        let changed = self.rounds().reset();
        drop(held);
        if changed {
            self.wake_all();
        }
    }

    /// Breaks the barrier, for those who wait and those to come, until [`Barrier::reset`].
    ///
    /// # Panics
    ///
    /// As [`Barrier::reset`].
    pub fn abort(&self) {
        let held = self.lock_for_ever();
        if self.rounds().broken().is_none() {
            self.rounds().end_badly(BrokenWhy::Aborted);
        }
        drop(held);
        self.wake_all();
    }

    /// How many it is for.
    pub fn parties(&self) -> usize {
        self.rounds().parties()
    }

    /// How many wait now.
    ///
    /// # Panics
    ///
    /// As [`Barrier::reset`].
    pub fn waiting(&self) -> usize {
        self.look_for_the_dead(Deadline::NEVER);
        self.rounds().arrived()
    }

    /// Whether it is broken.
    ///
    /// # Panics
    ///
    /// As [`Barrier::reset`].
    pub fn is_broken(&self) -> bool {
        self.look_for_the_dead(Deadline::NEVER);
        self.rounds().broken().is_some()
    }
}

/// Breaks the barrier whose action panicked or could not be called.
struct BreakOnDrop<'a> {
    barrier: &'a Barrier,
    round: u64,
}

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        let rounds = self.barrier.rounds();
        let held = self.barrier.lock_for_ever();
        if rounds.round() == self.round {
            rounds.end_badly(BrokenWhy::ActionFailed);
        }
        drop(held);
        self.barrier.wake_all();
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds();
        f.debug_struct("Barrier")
            .field("parties", &rounds.parties())
            .field("waiting", &rounds.arrived())
            .field("broken", &rounds.broken())
            .finish()
    }
}

impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.object, &self.action).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Barrier, D::Error> {
        let (object, action) = <(Object, Option<Object>)>::deserialize(deserializer)?;
        let object = object.expect_tag(TAG, "a barrier");
        object
            .map(|object| Barrier { object, action })
            .map_err(serde::de::Error::custom)
    }
}
