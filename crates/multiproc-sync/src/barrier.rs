//! A point where so many wait for each other. The words are `raw::barrier`'s, how one waits is
//! `raw::meeting`; this file is the action and its travels.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object, RawLock};
use multiproc_sys::clock::Deadline;
use multiproc_wire::task::TaskRef;
use multiproc_wire::{Parcel, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{BarrierError, BrokenWhy};
use crate::raw::barrier::{Rounds, words_for};
use crate::raw::meeting::Meeting;

/// `b"barr"`
const TAG: u32 = u32::from_le_bytes(*b"barr");

/// More threads than a family can have.
const MOST: usize = 1 << 24;

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
    /// For barriers of other kinds.
    #[doc(hidden)]
    pub fn of(index: usize) -> BarrierWaitResult {
        BarrierWaitResult { index }
    }

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

    fn meeting(&self) -> Meeting<'_> {
        Meeting::of(&self.object)
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
        let place = match &self.action {
            None => self.meeting().wait(deadline, None),
            Some(argument) => self.meeting().wait(deadline, Some(&|| self.run(argument))),
        };
        place.map(|index| BarrierWaitResult { index })
    }

    /// Calls the action.
    fn run(&self, argument: &Object) -> Result<(), BarrierError> {
        let failed = BarrierError::Broken {
            why: BrokenWhy::ActionFailed,
        };
        let task = TaskRef::from_words(self.meeting().rounds().task());
        let task = task.resolve().map_err(|_| failed)?;
        let argument = multiproc_shm::parcel::load(argument).map_err(|_| failed)?;
        let mut reply = Parcel::default();
        task.run(&argument.bytes, &argument.attachments, &mut reply)
            .map_err(|_| failed)
    }

    /// Makes the barrier as new: a broken one whole, and an end with [`BrokenWhy::Reset`] for those
    /// who wait, and only for them.
    ///
    /// # Panics
    ///
    /// If the thread holds 2,000 locks already.
    pub fn reset(&self) {
        self.meeting().reset();
    }

    /// Breaks the barrier, for those who wait and those to come, until [`Barrier::reset`].
    ///
    /// # Panics
    ///
    /// As [`Barrier::reset`].
    pub fn abort(&self) {
        self.meeting().abort();
    }

    /// How many it is for.
    pub fn parties(&self) -> usize {
        self.meeting().rounds().parties()
    }

    /// How many wait now.
    ///
    /// # Panics
    ///
    /// As [`Barrier::reset`].
    pub fn waiting(&self) -> usize {
        self.meeting().waiting()
    }

    /// Whether it is broken.
    ///
    /// # Panics
    ///
    /// As [`Barrier::reset`].
    pub fn is_broken(&self) -> bool {
        self.meeting().is_broken()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.meeting().rounds();
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
