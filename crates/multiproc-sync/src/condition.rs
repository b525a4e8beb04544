//! Waiting under a lock for what another holder of the lock will change.
//!
//! A condition is one [`Sequence`]; the lock is whichever guard it is given.
//!
//! 1. The waiter, holding the lock, arms the sequence.
//! 2. It lets go of the lock and sleeps until an event is over.
//! 3. It takes the lock again, and looks at what it waited for.
//!
//! Between 1 and 2 a notifier may come: the sequence has moved, so the sleep does not begin. That is
//! why arming comes before letting go.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::AcquireError;
use crate::raw::sequence::Sequence;

/// `b"cond"`
const TAG: u32 = u32::from_le_bytes(*b"cond");

pub(crate) mod sealed {
    use crate::error::AcquireError;

    /// A guard whose lock can be let go of and taken again, while the guard stays.
    pub trait LetGo {
        /// Gives the lock back entirely and says what is needed to restore it, such as a depth.
        /// Until [`LetGo::take_again`] succeeds, the guard holds nothing.
        fn let_go(&mut self) -> u64;

        /// Waits for the lock as its `acquire` does.
        fn take_again(&mut self, kept: u64) -> Result<(), AcquireError>;

        /// What lies under the lock; `()` where nothing does.
        type Guarded: ?Sized;

        /// Lends what lies under the lock to `look`.
        fn lend<R>(&mut self, look: impl FnOnce(&mut Self::Guarded) -> R) -> R;
    }
}

/// The guards a [`Condition`] works with: those of this library.
pub trait ConditionGuard: sealed::LetGo {}

impl<G: sealed::LetGo> ConditionGuard for G {}

/// Lets holders of a lock wait for a change that another holder makes.
///
/// Every `wait` may return without a notification, as everywhere: look at what you wait for in a
/// loop, or let [`Condition::wait_while`] and [`Condition::wait_for`] do it.
///
/// # Examples
///
/// ```
/// use multiproc_sync::{Condition, Lock, RawValue};
///
/// let (lock, changed) = (Lock::new()?, Condition::new()?);
/// let ready = RawValue::new(false)?;
///
/// let (theirs, notice, flag) = (lock.clone(), changed.clone(), ready.clone());
/// let other = std::thread::spawn(move || {
///     let _guard = theirs.acquire().unwrap();
///     flag.set(true);
///     notice.notify_all();
/// });
///
/// let mut guard = lock.acquire()?;
/// changed.wait_while(&mut guard, |_| !ready.get())?;
/// assert!(ready.get());
/// drop(guard);
/// other.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// While it waits: nothing happens; a notification it had received reaches the others. While it
/// holds the lock: the waiters get [`AcquireError::OwnerDied`] when they take the lock again.
///
/// # Differences from Python
///
/// It has no lock of its own and works with the guard of any. `notify` wakes and returns: it needs
/// no lock and never waits for those it wakes, which may be dead.
#[derive(Clone)]
pub struct Condition {
    object: Object,
}

impl Condition {
    /// A condition nobody waits for.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new() -> Result<Condition, CreateError> {
        let object = Object::create(Kind::Plain, TAG, 8, |_| {})?;
        Ok(Condition { object })
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence::new(&self.object.half_words()[0])
    }

    /// Lets go of the lock, waits for a notification and takes the lock again.
    ///
    /// # Errors
    ///
    /// What the lock's `acquire` says. The guard then holds nothing: drop it, and go on as after a
    /// failed `acquire`.
    ///
    /// # Panics
    ///
    /// If the guard holds nothing, after such an error.
    pub fn wait<G: ConditionGuard>(&self, guard: &mut G) -> Result<(), AcquireError> {
        self.wait_until(guard, Deadline::NEVER).map(drop)
    }

    /// As [`Condition::wait`], for at most `timeout`; true if there was a notification. The lock is
    /// waited for as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_timeout<G: ConditionGuard>(
        &self,
        guard: &mut G,
        timeout: Duration,
    ) -> Result<bool, AcquireError> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// As [`Condition::wait_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_deadline<G: ConditionGuard>(
        &self,
        guard: &mut G,
        deadline: Instant,
    ) -> Result<bool, AcquireError> {
        self.wait_until(guard, Deadline::at(deadline))
    }

    /// Waits while `condition` holds. It is looked at under the lock, and gets what lies there: the
    /// value of a mutex, the elements of an array, `()` of a plain lock.
    ///
    /// ```
    /// use multiproc_sync::{Condition, Mutex};
    ///
    /// let (jobs, more) = (Mutex::new(0u32)?, Condition::new()?);
    /// let (theirs, notice) = (jobs.clone(), more.clone());
    /// let other = std::thread::spawn(move || {
    ///     *theirs.lock().unwrap() = 3;
    ///     notice.notify_one();
    /// });
    /// let mut guard = jobs.lock()?;
    /// more.wait_while(&mut guard, |jobs| *jobs == 0)?;
    /// assert_eq!(*guard, 3);
    /// # drop(guard);
    /// # other.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_while<G: ConditionGuard>(
        &self,
        guard: &mut G,
        mut condition: impl FnMut(&mut G::Guarded) -> bool,
    ) -> Result<(), AcquireError> {
        self.wait_for(guard, |guarded| !condition(guarded))
    }

    /// As [`Condition::wait_while`], for at most `timeout` in all; true if the condition ended in time.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_while_timeout<G: ConditionGuard>(
        &self,
        guard: &mut G,
        mut condition: impl FnMut(&mut G::Guarded) -> bool,
        timeout: Duration,
    ) -> Result<bool, AcquireError> {
        self.wait_for_timeout(guard, |guarded| !condition(guarded), timeout)
    }

    /// As [`Condition::wait_while_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_while_deadline<G: ConditionGuard>(
        &self,
        guard: &mut G,
        mut condition: impl FnMut(&mut G::Guarded) -> bool,
        deadline: Instant,
    ) -> Result<bool, AcquireError> {
        self.wait_for_deadline(guard, |guarded| !condition(guarded), deadline)
    }

    /// Waits until `predicate` holds: [`Condition::wait_while`] the other way round.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_for<G: ConditionGuard>(
        &self,
        guard: &mut G,
        predicate: impl FnMut(&mut G::Guarded) -> bool,
    ) -> Result<(), AcquireError> {
        self.wait_for_until(guard, Deadline::NEVER, predicate)
            .map(drop)
    }

    /// As [`Condition::wait_for`], for at most `timeout` in all; returns the predicate's last value.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_for_timeout<G: ConditionGuard>(
        &self,
        guard: &mut G,
        predicate: impl FnMut(&mut G::Guarded) -> bool,
        timeout: Duration,
    ) -> Result<bool, AcquireError> {
        self.wait_for_until(guard, Deadline::after(timeout), predicate)
    }

    /// As [`Condition::wait_for_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Condition::wait`].
    pub fn wait_for_deadline<G: ConditionGuard>(
        &self,
        guard: &mut G,
        predicate: impl FnMut(&mut G::Guarded) -> bool,
        deadline: Instant,
    ) -> Result<bool, AcquireError> {
        self.wait_for_until(guard, Deadline::at(deadline), predicate)
    }

    fn wait_for_until<G: ConditionGuard>(
        &self,
        guard: &mut G,
        deadline: Deadline,
        mut predicate: impl FnMut(&mut G::Guarded) -> bool,
    ) -> Result<bool, AcquireError> {
        loop {
            let holds = guard.lend(&mut predicate);
            if holds || deadline.has_passed() {
                return Ok(holds);
            }
            self.wait_until(guard, deadline)?;
        }
    }

    fn wait_until<G: ConditionGuard>(
        &self,
        guard: &mut G,
        deadline: Deadline,
    ) -> Result<bool, AcquireError> {
        let sequence = self.sequence();
        let armed = sequence.arm();
        let kept = guard.let_go();
        let notified = sequence.wait(armed, deadline);
        guard.take_again(kept)?;
        Ok(notified)
    }

    /// Wakes one of those who wait now, if there is any.
    pub fn notify_one(&self) {
        self.sequence().announce(1);
    }

    /// Wakes at least `count` of those who wait now, or all if there are fewer. Zero does nothing.
    pub fn notify_n(&self, count: usize) {
        if count > 0 {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.sequence().announce(count.min(i32::MAX as u32));
        }
    }

    /// Wakes all who wait now.
    pub fn notify_all(&self) {
        self.sequence().announce(i32::MAX as u32);
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "a condition");
        object
            .map(|object| Condition { object })
            .map_err(serde::de::Error::custom)
    }
}
