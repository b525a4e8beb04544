//! A plain value that belongs to whoever holds its lock: guards, and `OwnerDied` until somebody
//! recovers. The lock is `raw::lock`, the storage `raw::copies`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, LockError, Object, RawGuard, RawLock};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::sealed::LetGo;
use crate::error::AcquireError;
use crate::plain::Plain;
use crate::raw;
use crate::raw::copies::{Copies, tag_of, words_of};

/// A plain value that one thread of one process at a time may see and change.
///
/// As `std::sync::Mutex`, between processes. Where any death should go unnoticed, use
/// [`Value`](crate::Value).
///
/// # Examples
///
/// ```
/// use multiproc_sync::Mutex;
///
/// let account = Mutex::new([100i64, 0])?;
/// {
///     let mut account = account.lock()?;
///     account[0] -= 30;
///     account[1] += 30;
/// } // Others see both changes, or neither.
/// assert_eq!(*account.lock()?, [70, 30]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// With the guard: the value is the one before, or the one after, never between, and every
/// [`Mutex::lock`] says [`AcquireError::OwnerDied`] until [`Mutex::recover`]. A thread that *panics*
/// with the guard leaves the value as it was, and nobody needs to recover.
///
/// # Differences from Python
///
/// There is no such thing; the nearest is a `Value` with its `get_lock()`.
pub struct Mutex<T> {
    object: Object,
    _holds: PhantomData<fn() -> T>,
}

/// A locked [`Mutex`]: the value, to be read and changed.
///
/// It is a private copy. If it was changed, dropping the guard makes it the value, in one step, and
/// unlocks the mutex.
#[must_use = "the mutex is unlocked when the guard is dropped"]
pub struct MutexGuard<'a, T: Plain> {
    mutex: &'a Mutex<T>,
    copy: T,
    changed: bool,
    // `None` while a condition has the lock.
    held: Option<RawGuard<'a>>,
}

const fn tag<T>() -> u32 {
    tag_of::<T>(*b"mtx")
}

impl<T: Plain> Mutex<T> {
    /// An unlocked mutex around `initial`.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(initial: T) -> Result<Mutex<T>, CreateError> {
        let len = size_of::<RawLock>() + words_of::<T>() * 8;
        let object = Object::create(Kind::Locked, tag::<T>(), len, |_| {})?;
        Copies::at(object.words()).replace(&initial);
        Ok(Mutex {
            object,
            _holds: PhantomData,
        })
    }

    /// Waits until nobody holds the mutex, and locks it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::OwnerDied`] if the process or thread that held it died.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::NEVER)
    }

    /// Locks it if nobody holds it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::OwnerDied`].
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Mutex::lock`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::after(timeout))
    }

    /// As [`Mutex::lock`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn lock_deadline(&self, deadline: Instant) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::at(deadline))
    }

    #[inline]
    fn lock_until(&self, deadline: Deadline) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.guard(raw::lock::take(self.object.lock(), deadline))
    }

    /// Locks the mutex after its owner died, and declares the value sound: from now on it is a mutex
    /// like any other. Waits while somebody holds it. Check the value under the guard.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`].
    pub fn recover(&self) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.recover_until(Deadline::NEVER)
    }

    /// As [`Mutex::recover`], if nobody holds it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::TooMany`].
    pub fn try_recover(&self) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.recover_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Mutex::recover`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::TooMany`].
    pub fn recover_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.recover_until(Deadline::after(timeout))
    }

    /// As [`Mutex::recover`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Mutex::recover_timeout`].
    pub fn recover_deadline(&self, deadline: Instant) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.recover_until(Deadline::at(deadline))
    }

    fn recover_until(&self, deadline: Deadline) -> Result<MutexGuard<'_, T>, AcquireError> {
        self.guard(raw::lock::take_over(self.object.lock(), deadline))
    }

    #[inline]
    fn guard<'a>(
        &'a self,
        taken: Result<RawGuard<'a>, LockError>,
    ) -> Result<MutexGuard<'a, T>, AcquireError> {
        match taken {
            Ok(held) => Ok(MutexGuard {
                copy: Copies::at(self.object.words()).read(),
                mutex: self,
                changed: false,
                held: Some(held),
            }),
            Err(error) => Err(raw::lock::refused(self.object.lock(), error)),
        }
    }
}

impl<T> Mutex<T> {
    /// Whether some thread of some process holds it now.
    pub fn is_locked(&self) -> bool {
        self.object.lock().is_held()
    }
}

impl<T: Plain> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Plain> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Plain> MutexGuard<'_, T> {
    #[inline]
    fn unlock(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        // A copy that a fork made is not the owner.
        if !held.is_mine() {
            return;
        }
        // Whoever panics has not finished its change.
        if std::mem::take(&mut self.changed) && !std::thread::panicking() {
            Copies::at(self.mutex.object.words()).replace(&self.copy);
        }
        raw::lock::sign_off(self.mutex.object.lock());
    }
}

impl<T: Plain> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.unlock();
    }
}

impl<T: Plain> LetGo for MutexGuard<'_, T> {
    type Guarded = T;

    fn lend<R>(&mut self, look: impl FnOnce(&mut T) -> R) -> R {
        look(self)
    }

    fn let_go(&mut self) -> u64 {
        assert!(self.held.is_some(), "the guard holds nothing");
        self.unlock();
        0
    }

    fn take_again(&mut self, _kept: u64) -> Result<(), AcquireError> {
        let mut again = self.mutex.lock()?;
        self.copy = again.copy;
        self.held = again.held.take();
        Ok(())
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Mutex<T> {
        Mutex {
            object: self.object.clone(),
            _holds: PhantomData,
        }
    }
}

/// Who holds it. Not the value, which is theirs.
impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Mutex");
        raw::lock::describe(self.object.lock(), &mut text);
        text.finish()
    }
}

// No bounds on `T`, so that a struct with a `Mutex<T>` field can derive its own.
impl<T> Serialize for Mutex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Mutex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mutex<T>, D::Error> {
        let object =
            Object::deserialize(deserializer)?.expect_tag(tag::<T>(), "a mutex of this size");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(Mutex {
            object,
            _holds: PhantomData,
        })
    }
}
