//! Something that is done once per family. Its words are `raw::once`.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object, RawLock};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::AcquireError;
use crate::raw;

/// `b"once"`
const TAG: u32 = u32::from_le_bytes(*b"once");

/// Runs a function once, however many threads and processes ask for it.
///
/// As `std::sync::Once`, for what is shared between processes: a file, a table in shared memory.
/// What belongs to each process, each has to set up for itself.
///
/// # Examples
///
/// ```
/// use multiproc_sync::{Once, Value};
///
/// let (once, runs) = (Once::new()?, Value::new(0)?);
/// for _ in 0..3 {
///     once.call_once(|| runs.update(|runs| *runs += 1))?;
/// }
/// assert_eq!(runs.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// Before its function returned: it does not count, and the next caller, or one that waits, runs its
/// own. So it is with one that panics. What the dead one had done by then is for the next to find.
#[derive(Clone)]
pub struct Once {
    object: Object,
}

impl Once {
    /// Nothing done yet.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new() -> Result<Once, CreateError> {
        let object = Object::create(Kind::Locked, TAG, size_of::<RawLock>() + 8, |_| {})?;
        Ok(Once { object })
    }

    /// Runs `f` unless it, or another caller's function, has been run. Waits while somebody else runs
    /// theirs. When this returns `Ok`, it has been done; the answer says whether by this call.
    ///
    /// # Panics
    ///
    /// If it is called from within `f`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`].
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) -> Result<bool, AcquireError> {
        self.call_until(f, Deadline::NEVER)
    }

    /// As [`Once::call_once`], if nobody else is running theirs now.
    ///
    /// # Panics
    ///
    /// As [`Once::call_once`].
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], and `f` has not been run.
    pub fn try_call_once(&self, f: impl FnOnce()) -> Result<bool, AcquireError> {
        self.call_until(f, Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Once::call_once`], waiting for at most `timeout`.
    ///
    /// # Panics
    ///
    /// As [`Once::call_once`].
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], and `f` has not been run.
    pub fn call_once_timeout(
        &self,
        f: impl FnOnce(),
        timeout: Duration,
    ) -> Result<bool, AcquireError> {
        self.call_until(f, Deadline::after(timeout))
    }

    /// As [`Once::call_once`], waiting until `deadline`.
    ///
    /// # Panics
    ///
    /// As [`Once::call_once`].
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], and `f` has not been run.
    pub fn call_once_deadline(
        &self,
        f: impl FnOnce(),
        deadline: Instant,
    ) -> Result<bool, AcquireError> {
        self.call_until(f, Deadline::at(deadline))
    }

    #[inline]
    fn call_until(&self, f: impl FnOnce(), deadline: Deadline) -> Result<bool, AcquireError> {
        if self.is_completed() {
            return Ok(false);
        }
        self.call_slowly(f, deadline)
    }

    #[cold]
    fn call_slowly(&self, f: impl FnOnce(), deadline: Deadline) -> Result<bool, AcquireError> {
        let lock = self.object.lock();
        assert!(
            !lock.is_mine(),
            "a Once was called from within its own function"
        );
        raw::once::call(&self.object, f, deadline).map_err(|error| raw::lock::refused(lock, error))
    }

    /// Whether it has been done.
    #[inline]
    pub fn is_completed(&self) -> bool {
        raw::once::is_done(&self.object)
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match () {
            () if self.is_completed() => "done",
            () if self.object.lock().is_held() => "being done",
            () => "not done",
        };
        write!(f, "Once({state})")
    }
}

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Once, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "a once");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(Once { object })
    }
}
