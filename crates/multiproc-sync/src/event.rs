//! A flag to wait for. One word, and no lock: setting it is one compare-exchange.
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 0 | the event is set | `set` and `clear` |
//! | 1 | somebody sleeps, or did and was killed | set by sleepers; cleared by `set`, once all are awake |
//! | 2.. | how often it was set; it wraps | +1 by the `set` that changes bit 0 |
//!
//! A sleeper leaves when the count has moved, so a `clear` right behind a `set` takes nobody's wake.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | sleeper, anywhere | bit 1 for nobody: one wake in vain |
//! | `set` before its store | nothing happened |
//! | `set` between the store and the wake | it is set, and bit 1 stays: the death wakes the sleepers, and so does the next `set` |
//! | `set` between the wake and the clearing of bit 1 | one wake in vain |

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object, Sleeper, Sources, Waitable, spin_limit};
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::{self, Woken};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `b"evnt"`
const TAG: u32 = u32::from_le_bytes(*b"evnt");

const SET: u32 = 1;
const WAITING: u32 = 2;
const STEP: u32 = 4;

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
    fn word(&self) -> &AtomicU32 {
        &self.object.half_words()[0]
    }

    /// Sets the event and wakes everybody who waits for it.
    pub fn set(&self) {
        let word = self.word();
        let next = |now: u32| match now & SET {
            0 => Some(now.wrapping_add(STEP) | SET),
            _ => None,
        };
        // SYNC POINT event: what happened before `set` happens before the return of `wait`.
        let now = match word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(before) => before.wrapping_add(STEP) | SET,
            Err(now) => now,
        };
        if now & WAITING != 0 {
            futex::wake_all(word);
            // If it has changed, somebody else's `set` will do this.
            let _ =
                word.compare_exchange(now, now & !WAITING, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Makes it an event that is not set. Whoever has waited until now is not called back.
    pub fn clear(&self) {
        self.word().fetch_and(!SET, Ordering::AcqRel);
    }

    /// Whether it is set now.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.word().load(Ordering::Acquire) & SET != 0
    }

    /// Waits until the event is set.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits until the event is set, for at most `timeout`; true if it was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_until(Deadline::after(timeout))
    }

    /// Waits until the event is set, or until `deadline`; true if it was set.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        let word = self.word();
        // SYNC POINT event
        let first = word.load(Ordering::Acquire);
        let is_over = |now: u32| now & SET != 0 || now / STEP != first / STEP;
        if is_over(first) {
            return true;
        }
        if deadline.has_passed() {
            return false;
        }
        for _ in 0..spin_limit() {
            std::hint::spin_loop();
            if is_over(word.load(Ordering::Acquire)) {
                return true;
            }
        }
        let mut sleeper = Sleeper::new(deadline);
        loop {
            let arm = |now: u32| (!is_over(now)).then_some(now | WAITING);
            let Ok(before) = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, arm) else {
                return true;
            };
            if sleeper.on(word, before | WAITING) == Woken::TimedOut {
                return is_over(word.load(Ordering::Acquire));
            }
        }
    }
}

/// Ready while it is set.
impl Waitable for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.word(self.word(), WAITING);
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
