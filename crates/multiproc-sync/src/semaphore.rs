//! The semaphores a user holds: permits that go back, by whom or after whose death soever.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Object, Sources, Waitable, family};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{AcquireError, ReleaseError};
use crate::raw::semaphore::{self, Holder, Permits};

/// `b"sema"`
const TAG: u32 = u32::from_le_bytes(*b"sema");
/// `b"bsem"`
const BOUNDED_TAG: u32 = u32::from_le_bytes(*b"bsem");

/// Lets so many in at a time.
///
/// # Examples
///
/// ```
/// use multiproc_sync::Semaphore;
///
/// let seats = Semaphore::new(2)?;
/// let first = seats.acquire()?;
/// let second = seats.acquire()?;
/// assert!(seats.try_acquire().is_err());
/// drop(first);
/// assert!(seats.try_acquire().is_ok());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// A signal, Python style: permits that nobody holds come from [`Semaphore::release`].
///
/// ```
/// # use multiproc_sync::Semaphore;
/// let ready = Semaphore::new(0)?;
/// ready.release()?;
/// ready.acquire()?.leak();
/// assert_eq!(ready.value(), 0);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// Its permits are free again, at once for whoever waits. Nothing is reported: a permit guards no
/// data.
///
/// # Differences from Python
///
/// Python's permits are lost with the process that holds them. A bare [`Semaphore::release`] first
/// gives back a permit that somebody holds, so that it does not go back a second time when that
/// process dies.
///
/// # Limits
///
/// Where a semaphore was made with fewer than 64 permits, grew beyond 64 by bare releases, and more
/// than 64 processes hold some, those of the last ones do not return by themselves.
#[derive(Clone)]
pub struct Semaphore {
    object: Object,
}

/// A [`Semaphore`] whose permits never become more than it was made with: a release too many is an
/// error.
///
/// It is a semaphore in all else.
///
/// # Examples
///
/// ```
/// use multiproc_sync::{BoundedSemaphore, ReleaseError};
///
/// let seats = BoundedSemaphore::new(1)?;
/// seats.acquire()?.leak();
/// seats.release()?;
/// assert_eq!(seats.release(), Err(ReleaseError::AboveBound));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone)]
pub struct BoundedSemaphore(Semaphore);

/// A permit of a [`Semaphore`], given back when dropped, on any thread.
#[derive(Debug)]
#[must_use = "the permit goes back when it is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    holder: Holder,
}

/// A permit that owns its handle of the semaphore.
#[derive(Debug)]
#[must_use = "the permit goes back when it is dropped"]
pub struct OwnedPermit {
    semaphore: Semaphore,
    holder: Holder,
}

impl Semaphore {
    /// A semaphore with so many permits, all free.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(permits: u32) -> Result<Semaphore, CreateError> {
        let object = semaphore::create(TAG, permits, u32::MAX)?;
        Ok(Semaphore { object })
    }

    #[inline]
    fn permits(&self) -> Permits<'_> {
        Permits::of(&self.object)
    }

    /// Waits for a free permit, and takes it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`].
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.acquire_until(Deadline::NEVER)
    }

    /// Takes a permit if one is free now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`].
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.acquire_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Semaphore::acquire`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// As [`Semaphore::acquire`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`].
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Permit<'_>, AcquireError> {
        self.acquire_until(Deadline::at(deadline))
    }

    /// As [`Semaphore::acquire`]; the permit owns its handle, so it may outlive this one.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire`].
    pub fn acquire_owned(&self) -> Result<OwnedPermit, AcquireError> {
        self.acquire().map(Permit::into_owned)
    }

    /// As [`Semaphore::try_acquire`]; the permit owns its handle.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::try_acquire`].
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, AcquireError> {
        self.try_acquire().map(Permit::into_owned)
    }

    /// As [`Semaphore::acquire_timeout`]; the permit owns its handle.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire_timeout`].
    pub fn acquire_owned_timeout(&self, timeout: Duration) -> Result<OwnedPermit, AcquireError> {
        self.acquire_timeout(timeout).map(Permit::into_owned)
    }

    /// As [`Semaphore::acquire_deadline`]; the permit owns its handle.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire_deadline`].
    pub fn acquire_owned_deadline(&self, deadline: Instant) -> Result<OwnedPermit, AcquireError> {
        self.acquire_deadline(deadline).map(Permit::into_owned)
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>, AcquireError> {
        match self.permits().acquire(deadline) {
            Ok(holder) => Ok(Permit {
                semaphore: self,
                holder,
            }),
            Err(error) => Err(AcquireError::without_owner(error)),
        }
    }

    /// Gives a permit back, as Python code does: one this process holds, else one that another
    /// holds, else a new one, by which there is one more from now on.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::AboveBound`], and nothing has changed, if there are as many permits as there
    /// may be (`u32::MAX`; for a [`BoundedSemaphore`], as many as it was made with) and all are free.
    ///
    /// # Panics
    ///
    /// If the thread holds 2,000 locks already.
    pub fn release(&self) -> Result<(), ReleaseError> {
        match self.permits().release_any() {
            Ok(true) => Ok(()),
            Ok(false) => Err(ReleaseError::AboveBound),
            Err(error) => panic!("cannot give the permit back: {error}"),
        }
    }

    #[inline]
    fn give_back(&self, holder: Holder) {
        // A copy that a fork made is not the permit.
        if holder.is_some() && holder != family::me() {
            return;
        }
        if let Err(error) = self.permits().release(holder) {
            // Only a thread that already holds 2,000 locks comes here.
            panic!("cannot give the permit back: {error}");
        }
    }

    /// How many permits are free now. Others may take them before the answer is read.
    pub fn value(&self) -> u32 {
        u32::try_from(self.permits().free()).unwrap_or(u32::MAX)
    }
}

impl BoundedSemaphore {
    /// A semaphore with so many permits, all free, and never more.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(permits: u32) -> Result<BoundedSemaphore, CreateError> {
        let object = semaphore::create(BOUNDED_TAG, permits, permits)?;
        Ok(BoundedSemaphore(Semaphore { object }))
    }
}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;

    #[inline]
    fn deref(&self) -> &Semaphore {
        &self.0
    }
}

impl Permit<'_> {
    fn into_owned(self) -> OwnedPermit {
        let owned = OwnedPermit {
            semaphore: self.semaphore.clone(),
            holder: self.holder,
        };
        self.leak();
        owned
    }

    /// Keeps the permit without a guard; [`Semaphore::release`], in any process, gives it back, and
    /// so does the death of this one.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back(self.holder);
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.give_back(self.holder);
    }
}

/// Ready while a permit is free; somebody else may take it first.
impl Waitable for Semaphore {
    fn is_ready(&self) -> bool {
        self.permits().may_be_had()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.bell(self.permits().bell());
    }
}

/// As a [`Semaphore`].
impl Waitable for BoundedSemaphore {
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        self.0.sources(sources);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semaphore({} free)", self.value())
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundedSemaphore({} free)", self.value())
    }
}

impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Semaphore, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "a semaphore");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(Semaphore { object })
    }
}

impl Serialize for BoundedSemaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BoundedSemaphore, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(BOUNDED_TAG, "a bounded one");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(BoundedSemaphore(Semaphore { object }))
    }
}
