//! The lock a user holds: guards, and `OwnerDied` until somebody recovers.

use std::fmt;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object, OpenError, RawGuard, RawLock};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::sealed::LetGo;
use crate::error::{AcquireError, ReleaseError};
use crate::raw;

/// `b"lock"`
const TAG: u32 = u32::from_le_bytes(*b"lock");

/// Lets one thread of one process in at a time.
///
/// It belongs to the *thread* that acquired it: guards are not `Send` and do not cross `.await`.
/// Not reentrant: a thread that acquires it twice gets [`AcquireError::Deadlock`].
///
/// # Examples
///
/// ```
/// use multiproc_sync::Lock;
///
/// let lock = Lock::new()?;
/// let same = lock.clone();
/// let guard = lock.acquire()?;
/// assert!(same.try_acquire().is_err());
/// drop(guard);
/// assert!(same.try_acquire().is_ok());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// A guard stays with its thread:
///
/// ```compile_fail,E0277
/// let lock: &'static multiproc_sync::Lock = Box::leak(Box::new(multiproc_sync::Lock::new().unwrap()));
/// let guard = lock.acquire().unwrap();
/// std::thread::spawn(move || drop(guard));
/// ```
///
/// # If a process dies
///
/// While it holds the lock: every acquire says [`AcquireError::OwnerDied`] until [`Lock::recover`].
/// While it waits: nothing happens.
///
/// # Differences from Python
///
/// Only the thread that acquired it can release it; for a release by somebody else, use a semaphore.
/// Python's lock is lost for ever when its holder is killed.
#[derive(Clone)]
pub struct Lock {
    object: Object,
}

/// A held [`Lock`], released when dropped.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a> {
    lock: &'a Lock,
    // `None` once it was leaked, and while a condition has the lock.
    held: Option<RawGuard<'a>>,
}

/// A held [`Lock`] that owns its handle.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedGuard {
    lock: Lock,
    // The kernel knows the owner as a thread.
    _here: std::marker::PhantomData<*const ()>,
}

impl Lock {
    /// A free lock.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new() -> Result<Lock, CreateError> {
        let object = Object::create(Kind::Locked, TAG, size_of::<RawLock>(), |_| {})?;
        Ok(Lock { object })
    }

    #[inline]
    fn raw(&self) -> &RawLock {
        self.object.lock()
    }

    /// Waits until the lock is free, and takes it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::OwnerDied`] if the process or thread that held it died;
    /// [`AcquireError::Deadlock`] if its holder waits for this thread.
    #[inline]
    pub fn acquire(&self) -> Result<Guard<'_>, AcquireError> {
        self.acquire_until(Deadline::NEVER)
    }

    /// Takes the lock if it is free now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::OwnerDied`].
    pub fn try_acquire(&self) -> Result<Guard<'_>, AcquireError> {
        self.acquire_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Lock::acquire`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Guard<'_>, AcquireError> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// As [`Lock::acquire`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Guard<'_>, AcquireError> {
        self.acquire_until(Deadline::at(deadline))
    }

    /// As [`Lock::acquire`]; the guard owns its handle, so it may outlive this one.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`].
    pub fn acquire_owned(&self) -> Result<OwnedGuard, AcquireError> {
        self.acquire().map(Guard::into_owned)
    }

    /// As [`Lock::try_acquire`]; the guard owns its handle.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`].
    pub fn try_acquire_owned(&self) -> Result<OwnedGuard, AcquireError> {
        self.try_acquire().map(Guard::into_owned)
    }

    /// As [`Lock::acquire_timeout`]; the guard owns its handle.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_timeout`].
    pub fn acquire_owned_timeout(&self, timeout: Duration) -> Result<OwnedGuard, AcquireError> {
        self.acquire_timeout(timeout).map(Guard::into_owned)
    }

    /// As [`Lock::acquire_deadline`]; the guard owns its handle.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_deadline`].
    pub fn acquire_owned_deadline(&self, deadline: Instant) -> Result<OwnedGuard, AcquireError> {
        self.acquire_deadline(deadline).map(Guard::into_owned)
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<Guard<'_>, AcquireError> {
        match raw::lock::take(self.raw(), deadline) {
            Ok(held) => Ok(Guard {
                lock: self,
                held: Some(held),
            }),
            Err(error) => Err(raw::lock::refused(self.raw(), error)),
        }
    }

    /// Takes the lock after its owner died, and declares it sound: from now on it is a lock like any
    /// other. Waits while somebody holds it. Call it once what the lock guards has been checked, or
    /// check it under the guard.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`].
    pub fn recover(&self) -> Result<Guard<'_>, AcquireError> {
        self.recover_until(Deadline::NEVER)
    }

    /// As [`Lock::recover`], if nobody holds it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::TooMany`].
    pub fn try_recover(&self) -> Result<Guard<'_>, AcquireError> {
        self.recover_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Lock::recover`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::TooMany`].
    pub fn recover_timeout(&self, timeout: Duration) -> Result<Guard<'_>, AcquireError> {
        self.recover_until(Deadline::after(timeout))
    }

    /// As [`Lock::recover`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Lock::recover_timeout`].
    pub fn recover_deadline(&self, deadline: Instant) -> Result<Guard<'_>, AcquireError> {
        self.recover_until(Deadline::at(deadline))
    }

    fn recover_until(&self, deadline: Deadline) -> Result<Guard<'_>, AcquireError> {
        match raw::lock::take_over(self.raw(), deadline) {
            Ok(held) => Ok(Guard {
                lock: self,
                held: Some(held),
            }),
            Err(error) => Err(raw::lock::refused(self.raw(), error)),
        }
    }

    /// Releases a lock whose guard was leaked ([`Guard::leak`]), as Python code does.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], and nothing has changed, if this thread does not hold it.
    pub fn release(&self) -> Result<(), ReleaseError> {
        let raw = self.raw();
        if raw.is_mine() {
            raw::lock::sign_off(raw);
            raw.unlock_forgotten();
            Ok(())
        } else if raw.is_held() {
            Err(ReleaseError::NotOwner)
        } else {
            Err(ReleaseError::NotHeld)
        }
    }

    /// Whether some thread of some process holds it now.
    pub fn is_locked(&self) -> bool {
        self.raw().is_held()
    }
}

impl Guard<'_> {
    fn into_owned(self) -> OwnedGuard {
        let owned = OwnedGuard {
            lock: self.lock.clone(),
            _here: std::marker::PhantomData,
        };
        self.leak();
        owned
    }

    /// Keeps the lock held without a guard; [`Lock::release`] on this thread gives it back.
    pub fn leak(mut self) {
        std::mem::forget(self.held.take());
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.held.is_some() {
            raw::lock::sign_off(self.lock.raw());
        }
    }
}

impl LetGo for Guard<'_> {
    type Guarded = ();

    fn lend<R>(&mut self, look: impl FnOnce(&mut ()) -> R) -> R {
        look(&mut ())
    }

    fn let_go(&mut self) -> u64 {
        assert!(self.held.is_some(), "the guard holds nothing");
        raw::lock::sign_off(self.lock.raw());
        self.held = None;
        0
    }

    fn take_again(&mut self, _kept: u64) -> Result<(), AcquireError> {
        let mut again = self.lock.acquire()?;
        self.held = again.held.take();
        Ok(())
    }
}

impl LetGo for OwnedGuard {
    type Guarded = ();

    fn lend<R>(&mut self, look: impl FnOnce(&mut ()) -> R) -> R {
        look(&mut ())
    }

    fn let_go(&mut self) -> u64 {
        self.lock.release().expect("the guard holds the lock");
        0
    }

    fn take_again(&mut self, _kept: u64) -> Result<(), AcquireError> {
        self.lock.acquire().map(Guard::leak)
    }
}

impl Drop for OwnedGuard {
    fn drop(&mut self) {
        // An error means that it was released by hand.
        let _ = self.lock.release();
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Lock");
        raw::lock::describe(self.raw(), &mut text);
        text.finish()
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lock, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "a lock");
        object
            .map(|object| Lock { object })
            .map_err(|error: OpenError| serde::de::Error::custom(error))
    }
}
