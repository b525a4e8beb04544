//! A plain value that many may read or one may write: guards, and `OwnerDied` until somebody
//! recovers. Who is let in is `raw::rwlock`, the storage `raw::copies`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, LockError, Object, RawGuard, RawLock, family};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::sealed::LetGo;
use crate::error::AcquireError;
use crate::plain::Plain;
use crate::raw;
use crate::raw::copies::{Copies, tag_of, words_of};
use crate::raw::rwlock::{CONTENT, Gate, IfDied, Reading, words_for};

/// A plain value that many threads and processes may read at once, or one may change.
///
/// Readers of different processes do not touch each other's cache lines. A writer that waits keeps
/// new readers out, so a thread that reads must not read again before it has let go: with a writer in
/// between it would wait for itself.
///
/// # Examples
///
/// ```
/// use multiproc_sync::RwLock;
///
/// let limits = RwLock::new([10u32, 20])?;
/// {
///     let (one, other) = (limits.read()?, limits.clone());
///     assert_eq!(*one, *other.read()?);
///     assert!(limits.try_write().is_err());
/// }
/// limits.write()?[0] = 15;
/// assert_eq!(*limits.read()?, [15, 20]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// While it reads, or waits: nothing happens. While it writes: the value is the one before, or the
/// one after, never between, and every [`RwLock::read`] and [`RwLock::write`] says
/// [`AcquireError::OwnerDied`] until [`RwLock::recover`]. A thread that *panics* while it writes
/// leaves the value as it was, and nobody needs to recover.
///
/// # Differences from Python
///
/// There is no such thing.
///
/// # Limits
///
/// When more than 32 processes read at once, those beyond take turns with each other.
pub struct RwLock<T> {
    object: Object,
    _holds: PhantomData<fn() -> T>,
}

/// The value of an [`RwLock`], which nobody changes as long as the guard lives.
#[must_use = "the value may change when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: Plain> {
    lock: &'a RwLock<T>,
    copy: T,
    reading: Reading<'a>,
    // As for the other guards; and one that is inside by the lock itself belongs to its thread.
    _here: PhantomData<*const ()>,
}

/// The value of an [`RwLock`], to be read and changed; nobody else sees it as long as the guard
/// lives.
///
/// It is a private copy. If it was changed, dropping the guard makes it the value, in one step.
#[must_use = "others wait until the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: Plain> {
    lock: &'a RwLock<T>,
    copy: T,
    changed: bool,
    // `None` while a condition has the lock.
    held: Option<RawGuard<'a>>,
}

const fn tag<T>() -> u32 {
    tag_of::<T>(*b"rwl")
}

impl<T: Plain> RwLock<T> {
    /// A lock around `initial` that nobody holds.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(initial: T) -> Result<RwLock<T>, CreateError> {
        let len = size_of::<RawLock>() + words_for(words_of::<T>()) * 8;
        let object = Object::create(Kind::Locked, tag::<T>(), len, |_| {})?;
        let lock = RwLock {
            object,
            _holds: PhantomData,
        };
        lock.copies().replace(&initial);
        Ok(lock)
    }

    #[inline]
    fn copies(&self) -> Copies<'_, T> {
        Copies::at(&self.object.words()[CONTENT..])
    }

    /// Waits until nobody writes, and reads.
    ///
    /// # Errors
    ///
    /// [`AcquireError::OwnerDied`] if a process or thread died while it wrote.
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, AcquireError> {
        self.read_until(Deadline::NEVER)
    }

    /// Reads if nobody writes or waits to write now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::OwnerDied`].
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, AcquireError> {
        self.read_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`RwLock::read`], waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>, AcquireError> {
        self.read_until(Deadline::after(timeout))
    }

    /// As [`RwLock::read`], waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn read_deadline(&self, deadline: Instant) -> Result<RwLockReadGuard<'_, T>, AcquireError> {
        self.read_until(Deadline::at(deadline))
    }

    #[inline]
    fn read_until(&self, deadline: Deadline) -> Result<RwLockReadGuard<'_, T>, AcquireError> {
        match self.gate().read(deadline) {
            Ok(reading) => Ok(RwLockReadGuard {
                copy: self.copies().read(),
                lock: self,
                reading,
                _here: PhantomData,
            }),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Waits until nobody else reads or writes, and keeps everybody out.
    ///
    /// # Errors
    ///
    /// [`AcquireError::OwnerDied`] if a process or thread died while it wrote.
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::NEVER, IfDied::Report)
    }

    /// As [`RwLock::write`], if nobody reads or writes now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::OwnerDied`].
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::NOW, IfDied::Report)
            .map_err(AcquireError::at_once)
    }

    /// As [`RwLock::write`], waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::after(timeout), IfDied::Report)
    }

    /// As [`RwLock::write`], waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn write_deadline(
        &self,
        deadline: Instant,
    ) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::at(deadline), IfDied::Report)
    }

    /// As [`RwLock::write`] after a writer died, and declares the value sound: from now on it is a
    /// lock like any other. Check the value under the guard.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`].
    pub fn recover(&self) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::NEVER, IfDied::Recover)
    }

    /// As [`RwLock::recover`], if nobody reads or writes now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::TooMany`].
    pub fn try_recover(&self) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::NOW, IfDied::Recover)
            .map_err(AcquireError::at_once)
    }

    /// As [`RwLock::recover`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::TooMany`].
    pub fn recover_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::after(timeout), IfDied::Recover)
    }

    /// As [`RwLock::recover`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`RwLock::recover_timeout`].
    pub fn recover_deadline(
        &self,
        deadline: Instant,
    ) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        self.write_until(Deadline::at(deadline), IfDied::Recover)
    }

    fn write_until(
        &self,
        deadline: Deadline,
        if_died: IfDied,
    ) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        match self.gate().write(deadline, if_died) {
            Ok(held) => Ok(RwLockWriteGuard {
                copy: self.copies().read(),
                lock: self,
                changed: false,
                held: Some(held),
            }),
            Err(error) => Err(self.refused(error)),
        }
    }

    #[cold]
    fn refused(&self, error: LockError) -> AcquireError {
        raw::lock::refused(self.object.lock(), error)
    }
}

impl<T> RwLock<T> {
    #[inline]
    fn gate(&self) -> Gate<'_> {
        Gate::of(&self.object, words_of::<T>())
    }
}

impl<T: Plain> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Plain> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A copy that a fork made is not the reader.
        if let Reading::Counted(me) = self.reading
            && family::me() == Some(me)
        {
            self.lock.gate().leave(me);
        }
    }
}

impl<T: Plain> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Plain> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Plain> RwLockWriteGuard<'_, T> {
    fn leave(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        // A copy that a fork made is not the writer.
        if !held.is_mine() {
            return;
        }
        // Whoever panics has not finished its change.
        if std::mem::take(&mut self.changed) && !std::thread::panicking() {
            self.lock.copies().replace(&self.copy);
        }
        self.lock.gate().open();
    }
}

impl<T: Plain> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T: Plain> LetGo for RwLockWriteGuard<'_, T> {
    type Guarded = T;

    fn lend<R>(&mut self, look: impl FnOnce(&mut T) -> R) -> R {
        look(self)
    }

    fn let_go(&mut self) -> u64 {
        assert!(self.held.is_some(), "the guard holds nothing");
        self.leave();
        0
    }

    fn take_again(&mut self, _kept: u64) -> Result<(), AcquireError> {
        let mut again = self.lock.write()?;
        self.copy = again.copy;
        self.held = again.held.take();
        Ok(())
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}

impl<T> Clone for RwLock<T> {
    fn clone(&self) -> RwLock<T> {
        RwLock {
            object: self.object.clone(),
            _holds: PhantomData,
        }
    }
}

/// Who is inside. Not the value.
impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gate, lock) = (self.gate(), self.object.lock());
        let mut text = f.debug_struct("RwLock");
        if gate.is_written() && !lock.is_held() {
            text.field("writer", &"died");
        }
        raw::lock::describe(lock, &mut text);
        text.field("readers", &gate.readers()).finish()
    }
}

// No bounds on `T`, so that a struct with an `RwLock<T>` field can derive its own.
impl<T> Serialize for RwLock<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RwLock<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RwLock<T>, D::Error> {
        let object = Object::deserialize(deserializer)?
            .expect_tag(tag::<T>(), "a reader-writer lock of this size");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(RwLock {
            object,
            _holds: PhantomData,
        })
    }
}
