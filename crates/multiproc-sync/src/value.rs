//! A plain value in shared memory that is never seen half changed.
//!
//! The object is a lock (see `raw::lock`) and the two copies of `raw::copies`. The lock's next owner
//! after a death just takes it: the value is whole, so there is nothing to recover.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, Object, RawGuard, RawLock};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::sealed::LetGo;
use crate::error::AcquireError;
use crate::plain::Plain;
use crate::raw::copies::{Copies, tag_of, words_of};

/// One value that threads and processes share.
///
/// # Examples
///
/// ```
/// use multiproc_sync::Value;
///
/// let hits = Value::new(0u64)?;
/// hits.update(|hits| *hits += 1);
/// assert_eq!(hits.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// In the middle of [`Value::update`] or with a [`ValueGuard`]: the value is the one before, or the
/// one after, never between, and the others go on.
///
/// # Differences from Python
///
/// `update` is atomic, where `value.value += 1` loses updates there.
pub struct Value<T> {
    object: Object,
    _holds: PhantomData<fn() -> T>,
}

/// A locked [`Value`]. Changes are written back, at once, when it is dropped.
#[derive(Debug)]
pub struct ValueGuard<'a, T: Plain> {
    value: &'a Value<T>,
    copy: T,
    changed: bool,
    // `None` while a condition has the lock.
    held: Option<RawGuard<'a>>,
}

/// What an object must be to hold a `T`.
const fn tag<T>() -> u32 {
    tag_of::<T>(*b"val")
}

impl<T: Plain> Value<T> {
    /// A value that starts as `initial`.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(initial: T) -> Result<Value<T>, CreateError> {
        let len = size_of::<RawLock>() + words_of::<T>() * 8;
        let object = Object::create(Kind::Locked, tag::<T>(), len, |_| {})?;
        Copies::at(object.words()).replace(&initial);
        Ok(Value {
            object,
            _holds: PhantomData,
        })
    }

    fn lock_word(&self) -> RawGuard<'_> {
        match self.object.lock().lock(Deadline::NEVER) {
            Ok(guard) => guard,
            // Only a thread that already holds 2,000 locks comes here.
            Err(error) => panic!("cannot lock the value: {error}"),
        }
    }

    /// Under the lock only.
    #[inline]
    fn copies(&self) -> Copies<'_, T> {
        Copies::at(self.object.words())
    }

    /// The value now.
    ///
    /// # Panics
    ///
    /// If the thread holds 2,000 locks already.
    pub fn get(&self) -> T {
        let _held = self.lock_word();
        self.copies().read()
    }

    /// Sets the value.
    ///
    /// # Panics
    ///
    /// As [`Value::get`].
    pub fn set(&self, value: T) {
        let _held = self.lock_word();
        self.copies().replace(&value);
    }

    /// Changes the value in one step that others see wholly or not at all.
    ///
    /// # Panics
    ///
    /// As [`Value::get`]. If `change` panics, the value is as before.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let held = self.lock_word();
        let mut value = self.copies().read();
        let result = change(&mut value);
        // A process that `change` forked comes by here, too.
        if held.is_mine() {
            self.copies().replace(&value);
        }
        result
    }

    /// Locks the value for several steps.
    ///
    /// # Panics
    ///
    /// As [`Value::get`].
    pub fn lock(&self) -> ValueGuard<'_, T> {
        self.guard(self.lock_word())
    }

    /// Locks the value if nobody has locked it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::TooMany`].
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Value::lock`], waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::TooMany`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ValueGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::after(timeout))
    }

    /// As [`Value::lock`], waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Value::lock_timeout`].
    pub fn lock_deadline(&self, deadline: Instant) -> Result<ValueGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::at(deadline))
    }

    fn lock_until(&self, deadline: Deadline) -> Result<ValueGuard<'_, T>, AcquireError> {
        let held = self.object.lock().lock(deadline);
        held.map(|held| self.guard(held))
            .map_err(AcquireError::without_owner)
    }

    fn guard<'a>(&'a self, held: RawGuard<'a>) -> ValueGuard<'a, T> {
        ValueGuard {
            copy: self.copies().read(),
            value: self,
            changed: false,
            held: Some(held),
        }
    }
}

impl<T: Plain> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Plain> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Plain> ValueGuard<'_, T> {
    fn write_back(&mut self) {
        let mine = self.held.as_ref().is_some_and(RawGuard::is_mine);
        if std::mem::take(&mut self.changed) && mine {
            self.value.copies().replace(&self.copy);
        }
    }
}

impl<T: Plain> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        self.write_back();
    }
}

impl<T: Plain> LetGo for ValueGuard<'_, T> {
    type Guarded = T;

    fn lend<R>(&mut self, look: impl FnOnce(&mut T) -> R) -> R {
        look(self)
    }

    fn let_go(&mut self) -> u64 {
        assert!(self.held.is_some(), "the guard holds nothing");
        self.write_back();
        self.held = None;
        0
    }

    fn take_again(&mut self, _kept: u64) -> Result<(), AcquireError> {
        self.held = Some(self.value.lock_word());
        self.copy = self.value.copies().read();
        Ok(())
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Value<T> {
        Value {
            object: self.object.clone(),
            _holds: PhantomData,
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.lock().lock(Deadline::NOW) {
            Ok(_held) => f.debug_tuple("Value").field(&self.copies().read()).finish(),
            Err(_) => f.write_str("Value(<locked>)"),
        }
    }
}

// No bounds on `T`, so that a struct with a `Value<T>` field can derive its own.
impl<T> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value<T>, D::Error> {
        let object =
            Object::deserialize(deserializer)?.expect_tag(tag::<T>(), "a value of this size");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(Value {
            object,
            _holds: PhantomData,
        })
    }
}
