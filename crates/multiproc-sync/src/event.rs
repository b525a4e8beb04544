//! A flag to wait for. Its word is `raw::event`.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object, Sources, Waitable};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::raw::event::Flag;

/// `b"evnt"`
const TAG: u32 = u32::from_le_bytes(*b"evnt");

/// A flag that threads and processes wait for.
///
/// # Examples
///
/// ```
/// use multiproc_sync::Event;
///
/// let ready = Event::new()?;
/// let theirs = ready.clone();
/// let waiter = std::thread::spawn(move || theirs.wait());
/// ready.set();
/// waiter.join().unwrap();
/// assert!(ready.is_set());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// While it waits: nothing happens. While it sets the event: it is set and everybody wakes, or it is
/// not.
///
/// # Differences from Python
///
/// Whoever waited when the event was set returns, even if somebody clears it at once; `set` never
/// waits for waiters, dead ones included.
#[derive(Clone)]
pub struct Event {
    object: Object,
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new() -> Result<Event, CreateError> {
        let object = Object::create(Kind::Plain, TAG, 8, |_| {})?;
        Ok(Event { object })
    }

    #[inline]
    fn flag(&self) -> Flag<'_> {
        Flag::new(&self.object.half_words()[0])
    }

    /// Sets the event and wakes everybody who waits for it.
    pub fn set(&self) {
        self.flag().set();
    }

    /// Makes it an event that is not set. Whoever has waited until now is not called back.
    pub fn clear(&self) {
        self.flag().clear();
    }

    /// Whether it is set now.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.flag().is_set()
    }

    /// Waits until the event is set.
    pub fn wait(&self) {
        self.flag().wait(Deadline::NEVER);
    }

    /// Whether it is set now: [`Event::is_set`] under the name that waiting verbs have everywhere.
    pub fn try_wait(&self) -> bool {
        self.is_set()
    }

    /// Waits until the event is set, for at most `timeout`; true if it was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.flag().wait(Deadline::after(timeout))
    }

    /// Waits until the event is set, or until `deadline`; true if it was set.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.flag().wait(Deadline::at(deadline))
    }
}

/// Ready while it is set.
impl Waitable for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        let (word, waiting) = self.flag().watched();
        sources.word(word, waiting);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .finish()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "an event");
        object
            .map(|object| Event { object })
            .map_err(serde::de::Error::custom)
    }
}
