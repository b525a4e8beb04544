//! A lock that its owner may acquire again.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | lock | see `raw::lock` | |
//! | depth | how many guards the owner has | the owner; 1 by each new one, so that it means nothing while the lock is free |
//!
//! Killed anywhere: as the lock says, as the next owner begins with depth 1.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, LockError, Object, RawGuard, RawLock};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::sealed::LetGo;
use crate::error::{AcquireError, ReleaseError};
use crate::raw;

/// `b"rlck"`
const TAG: u32 = u32::from_le_bytes(*b"rlck");

/// A lock that the thread which holds it may acquire again.
///
/// It is free when that thread has released it as often as it acquired it.
///
/// # Examples
///
/// ```
/// use multiproc_sync::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.acquire()?;
/// let inner = lock.acquire()?; // A `Lock` would wait for itself here.
/// drop(outer);
/// assert!(lock.is_locked());
/// drop(inner);
/// assert!(!lock.is_locked());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// While it holds the lock, however often: every acquire says [`AcquireError::OwnerDied`] until
/// [`RLock::recover`]. While it waits: nothing happens.
///
/// # Differences from Python
///
/// Python's is lost for ever when its holder is killed.
#[derive(Clone)]
pub struct RLock {
    object: Object,
}

/// A held [`RLock`], released once when dropped.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    // The kernel knows the owner as a thread.
    _here: PhantomData<*const ()>,
}

/// A held [`RLock`] that owns its handle.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedRLockGuard {
    lock: RLock,
    _here: PhantomData<*const ()>,
}

impl RLock {
    /// A free lock.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new() -> Result<RLock, CreateError> {
        let object = Object::create(Kind::Locked, TAG, size_of::<RawLock>() + 8, |_| {})?;
        Ok(RLock { object })
    }

    #[inline]
    fn raw(&self) -> &RawLock {
        self.object.lock()
    }

    #[inline]
    fn depth_word(&self) -> &AtomicU64 {
        &self.object.words()[0]
    }

    /// Waits until no other thread holds the lock, and takes it once more.
    ///
    /// # Errors
    ///
    /// [`AcquireError::OwnerDied`] if the process or thread that held it died.
    #[inline]
    pub fn acquire(&self) -> Result<RLockGuard<'_>, AcquireError> {
        self.acquire_until(Deadline::NEVER)
    }

    /// Takes the lock if no other thread holds it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::OwnerDied`].
    pub fn try_acquire(&self) -> Result<RLockGuard<'_>, AcquireError> {
        self.acquire_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`RLock::acquire`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_>, AcquireError> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// As [`RLock::acquire`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::OwnerDied`].
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<RLockGuard<'_>, AcquireError> {
        self.acquire_until(Deadline::at(deadline))
    }

    /// As [`RLock::acquire`]; the guard owns its handle, so it may outlive this one.
    ///
    /// # Errors
    ///
    /// As [`RLock::acquire`].
    pub fn acquire_owned(&self) -> Result<OwnedRLockGuard, AcquireError> {
        self.acquire().map(RLockGuard::into_owned)
    }

    /// As [`RLock::try_acquire`]; the guard owns its handle.
    ///
    /// # Errors
    ///
    /// As [`RLock::try_acquire`].
    pub fn try_acquire_owned(&self) -> Result<OwnedRLockGuard, AcquireError> {
        self.try_acquire().map(RLockGuard::into_owned)
    }

    /// As [`RLock::acquire_timeout`]; the guard owns its handle.
    ///
    /// # Errors
    ///
    /// As [`RLock::acquire_timeout`].
    pub fn acquire_owned_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnedRLockGuard, AcquireError> {
        self.acquire_timeout(timeout).map(RLockGuard::into_owned)
    }

    /// As [`RLock::acquire_deadline`]; the guard owns its handle.
    ///
    /// # Errors
    ///
    /// As [`RLock::acquire_deadline`].
    pub fn acquire_owned_deadline(
        &self,
        deadline: Instant,
    ) -> Result<OwnedRLockGuard, AcquireError> {
        self.acquire_deadline(deadline).map(RLockGuard::into_owned)
    }

    /// Takes the lock after its owner died, and declares it sound: from now on it is a lock like any
    /// other. Waits while another thread holds it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`].
    pub fn recover(&self) -> Result<RLockGuard<'_>, AcquireError> {
        self.recover_until(Deadline::NEVER)
    }

    /// As [`RLock::recover`], if no other thread holds it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::TooMany`].
    pub fn try_recover(&self) -> Result<RLockGuard<'_>, AcquireError> {
        self.recover_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`RLock::recover`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::TooMany`].
    pub fn recover_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_>, AcquireError> {
        self.recover_until(Deadline::after(timeout))
    }

    /// As [`RLock::recover`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`RLock::recover_timeout`].
    pub fn recover_deadline(&self, deadline: Instant) -> Result<RLockGuard<'_>, AcquireError> {
        self.recover_until(Deadline::at(deadline))
    }

    fn recover_until(&self, deadline: Deadline) -> Result<RLockGuard<'_>, AcquireError> {
        self.enter(|lock| raw::lock::take_over(lock, deadline))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<RLockGuard<'_>, AcquireError> {
        self.enter(|lock| raw::lock::take(lock, deadline))
    }

    /// Once more if the lock is ours, else by `take`.
    #[inline]
    fn enter<'a>(
        &'a self,
        take: impl FnOnce(&'a RawLock) -> Result<RawGuard<'a>, LockError>,
    ) -> Result<RLockGuard<'a>, AcquireError> {
        let depth = self.depth();
        if depth == 0 {
            match take(self.raw()) {
                Ok(held) => std::mem::forget(held),
                Err(error) => return Err(raw::lock::refused(self.raw(), error)),
            }
        }
        self.depth_word().store(depth + 1, Ordering::Relaxed);
        Ok(RLockGuard {
            lock: self,
            _here: PhantomData,
        })
    }

    /// Releases the lock once, when its guard was leaked ([`RLockGuard::leak`]), as Python code does.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], and nothing has changed, if this thread does not hold it.
    pub fn release(&self) -> Result<(), ReleaseError> {
        let raw = self.raw();
        match self.depth() {
            0 if raw.is_held() => return Err(ReleaseError::NotOwner),
            0 => return Err(ReleaseError::NotHeld),
            1 => {
                raw::lock::sign_off(raw);
                raw.unlock_forgotten();
            }
            depth => self.depth_word().store(depth - 1, Ordering::Relaxed),
        }
        Ok(())
    }

    /// How often the calling thread holds it: 0 if it does not.
    #[inline]
    pub fn depth(&self) -> u64 {
        if self.raw().is_mine() {
            self.depth_word().load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// Gives it back however often this thread has it, and says how often that was.
    fn let_go(&self) -> u64 {
        let depth = self.depth();
        assert!(depth > 0, "the guard holds nothing");
        raw::lock::sign_off(self.raw());
        self.raw().unlock_forgotten();
        depth
    }

    fn take_again(&self, depth: u64) -> Result<(), AcquireError> {
        self.acquire()?.leak();
        self.depth_word().store(depth, Ordering::Relaxed);
        Ok(())
    }

    /// Whether some thread of some process holds it now.
    pub fn is_locked(&self) -> bool {
        self.raw().is_held()
    }
}

impl RLockGuard<'_> {
    fn into_owned(self) -> OwnedRLockGuard {
        let owned = OwnedRLockGuard {
            lock: self.lock.clone(),
            _here: PhantomData,
        };
        self.leak();
        owned
    }

    /// Keeps the lock held without a guard; [`RLock::release`] on this thread gives it back.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // An error means that it was released by hand.
        let _ = self.lock.release();
    }
}

impl Drop for OwnedRLockGuard {
    fn drop(&mut self) {
        // As above.
        let _ = self.lock.release();
    }
}

impl LetGo for RLockGuard<'_> {
    type Guarded = ();

    fn lend<R>(&mut self, look: impl FnOnce(&mut ()) -> R) -> R {
        look(&mut ())
    }

    fn let_go(&mut self) -> u64 {
        self.lock.let_go()
    }

    fn take_again(&mut self, kept: u64) -> Result<(), AcquireError> {
        self.lock.take_again(kept)
    }
}

impl LetGo for OwnedRLockGuard {
    type Guarded = ();

    fn lend<R>(&mut self, look: impl FnOnce(&mut ()) -> R) -> R {
        look(&mut ())
    }

    fn let_go(&mut self) -> u64 {
        self.lock.let_go()
    }

    fn take_again(&mut self, kept: u64) -> Result<(), AcquireError> {
        self.lock.take_again(kept)
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("RLock");
        raw::lock::describe(self.raw(), &mut text);
        text.finish()
    }
}

impl Serialize for RLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RLock, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "a reentrant lock");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(RLock { object })
    }
}
