//! Many plain values in shared memory, none of them ever seen half changed.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | lock | see `raw::lock` | |
//! | length | how many elements there are | the maker, once |
//! | redo | 0, or 1 + the index of the element whose new value lies in the journal | the lock's holder |
//! | journal | one element, where an element takes more than a word | the lock's holder, while redo is 0 |
//! | elements | packed where several fit a word, else whole words each | the lock's holder |
//!
//! An element within one word changes by one store. A larger one is written to the journal first;
//! the store of `redo` is the change, and whoever takes the lock after a death finishes it.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | journal written, `redo` not | the old element |
//! | `redo` written | the new element, copied by the lock's next owner |
//! | within a guard over all, being written back | each element old or new, the first ones new |

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Kind, LockError, Object, RawGuard, RawLock};
use multiproc_sys::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::sealed::LetGo;
use crate::error::AcquireError;
use crate::plain::{self, Plain};

/// The words after the lock: length, redo, journal, elements.
const LENGTH: usize = 0;
const REDO: usize = 1;
const JOURNAL: usize = 2;

/// A fixed number of values that threads and processes share.
///
/// # Examples
///
/// ```
/// use multiproc_sync::Array;
///
/// let counts = Array::<u64>::new(4)?;
/// counts.update(2, |count| *count += 5);
/// counts.lock()[..2].fill(1);
/// assert_eq!(counts.to_vec(), [1, 1, 5, 0]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// In the middle of a change: each element is the one before or the one after, never between, and
/// the others go on.
///
/// # Differences from Python
///
/// `update` is atomic, where `array[i] += 1` loses updates there. The length is `len()`.
pub struct Array<T> {
    object: Object,
    _holds: PhantomData<fn() -> T>,
}

/// A locked [`Array`], as a slice. Changes are written back when it is dropped.
#[derive(Debug)]
pub struct ArrayGuard<'a, T: Plain> {
    array: &'a Array<T>,
    copy: Vec<T>,
    changed: bool,
    // `None` while a condition has the lock.
    held: Option<RawGuard<'a>>,
}

/// What an object must be to hold elements of this size.
const fn tag_of<T>() -> u32 {
    u32::from_le_bytes(*b"arr\0") | (size_of::<T>() as u32) << 24
}

/// The bytes from one element to the next: a power of two up to a word, or whole words.
const fn stride_of<T>() -> usize {
    match size_of::<T>() {
        0 => 1,
        size if size <= 8 => size.next_power_of_two(),
        _ => plain::words_of::<T>() * 8,
    }
}

const fn is_small<T>() -> bool {
    size_of::<T>() <= 8
}

/// Where the elements begin, in words.
const fn elements_at<T>() -> usize {
    JOURNAL
        + if is_small::<T>() {
            0
        } else {
            plain::words_of::<T>()
        }
}

impl<T: Plain> Array<T> {
    /// `len` elements, each the default.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(len: usize) -> Result<Array<T>, CreateError>
    where
        T: Default,
    {
        Array::filled(len, |_| T::default())
    }

    /// The elements of `slice`.
    ///
    /// # Errors
    ///
    /// As [`Array::new`].
    pub fn from_slice(slice: &[T]) -> Result<Array<T>, CreateError> {
        Array::filled(slice.len(), |index| slice[index])
    }

    fn filled(len: usize, element: impl Fn(usize) -> T) -> Result<Array<T>, CreateError> {
        let bytes = len
            .checked_mul(stride_of::<T>())
            .filter(|&bytes| bytes < isize::MAX as usize / 2)
            .ok_or_else(|| {
                CreateError::NoSpace(format!("an array of {len} elements fits no memory"))
            })?;
        let all = size_of::<RawLock>() + elements_at::<T>() * 8 + bytes.next_multiple_of(8);
        let object = Object::create(Kind::Locked, tag_of::<T>(), all, |_| {})?;
        object.words()[LENGTH].store(len as u64, Ordering::Relaxed);
        let array = Array {
            object,
            _holds: PhantomData,
        };
        (0..len).for_each(|index| array.place(index, &element(index)));
        Ok(array)
    }

    /// Takes the lock and finishes what a dead owner had begun.
    fn lock_word(&self) -> RawGuard<'_> {
        match self.try_lock_word(Deadline::NEVER) {
            Ok(guard) => guard,
            // Only a thread that already holds 2,000 locks comes here.
            Err(error) => panic!("cannot lock the array: {error}"),
        }
    }

    fn try_lock_word(&self, deadline: Deadline) -> Result<RawGuard<'_>, LockError> {
        let guard = self.object.lock().lock(deadline)?;
        if guard.taken().is_after_death() {
            self.redo();
        }
        Ok(guard)
    }

    #[cold]
    fn redo(&self) {
        let redo = &self.object.words()[REDO];
        let index = redo.load(Ordering::Acquire) as usize;
        if index > 0 && index <= self.len() && !is_small::<T>() {
            copy_words(self.journal(), self.large(index - 1));
        }
        redo.store(0, Ordering::Release);
    }

    fn journal(&self) -> &[AtomicU64] {
        &self.object.words()[JOURNAL..elements_at::<T>()]
    }

    /// The words of an element that takes whole ones.
    fn large(&self, index: usize) -> &[AtomicU64] {
        let words = plain::words_of::<T>();
        &self.object.words()[elements_at::<T>() + index * words..][..words]
    }

    /// The word that a small element lies in, and how far up.
    fn small(&self, index: usize) -> (&AtomicU64, u32) {
        let at = index * stride_of::<T>();
        let word = &self.object.words()[elements_at::<T>() + at / 8];
        (word, (at % 8) as u32 * 8)
    }

    /// Under the lock.
    fn read(&self, index: usize) -> T {
        if is_small::<T>() {
            let (word, up) = self.small(index);
            plain::from_bits(word.load(Ordering::Relaxed) >> up)
        } else {
            plain::read(self.large(index))
        }
    }

    /// Puts a value in its place: one store if it is small, else unprotected.
    fn place(&self, index: usize, value: &T) {
        if is_small::<T>() {
            let (word, up) = self.small(index);
            let mask = !0u64 >> (64 - 8 * stride_of::<T>()) << up;
            let rest = word.load(Ordering::Relaxed) & !mask;
            word.store(rest | plain::to_bits(value) << up, Ordering::Relaxed);
        } else {
            plain::write(self.large(index), value);
        }
    }

    /// Changes an element wholly or not at all. Under the lock.
    fn write(&self, index: usize, value: &T) {
        if is_small::<T>() {
            return self.place(index, value);
        }
        let redo = &self.object.words()[REDO];
        plain::write(self.journal(), value);
        redo.store(index as u64 + 1, Ordering::Release);
        copy_words(self.journal(), self.large(index));
        redo.store(0, Ordering::Release);
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        let words = self.object.words();
        // What lies in shared memory is not believed beyond the object's end.
        let most = words.len().saturating_sub(elements_at::<T>()) * 8 / stride_of::<T>();
        (words[LENGTH].load(Ordering::Relaxed) as usize).min(most)
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[track_caller]
    fn check(&self, index: usize) {
        let len = self.len();
        assert!(
            index < len,
            "index {index} is out of range: the array has {len} elements"
        );
    }

    /// The element at `index` now.
    ///
    /// # Panics
    ///
    /// If `index` is out of range, or the thread holds 2,000 locks already.
    #[track_caller]
    pub fn get(&self, index: usize) -> T {
        self.check(index);
        let _held = self.lock_word();
        self.read(index)
    }

    /// Sets the element at `index`.
    ///
    /// # Panics
    ///
    /// As [`Array::get`].
    #[track_caller]
    pub fn set(&self, index: usize, value: T) {
        self.check(index);
        let _held = self.lock_word();
        self.write(index, &value);
    }

    /// Changes the element at `index` in one step that others see wholly or not at all.
    ///
    /// # Panics
    ///
    /// As [`Array::get`]. If `change` panics, the element is as before.
    #[track_caller]
    pub fn update<R>(&self, index: usize, change: impl FnOnce(&mut T) -> R) -> R {
        self.check(index);
        let held = self.lock_word();
        let mut value = self.read(index);
        let result = change(&mut value);
        // A process that `change` forked comes by here, too.
        if held.is_mine() {
            self.write(index, &value);
        }
        result
    }

    /// All elements, as they are at one moment.
    ///
    /// # Panics
    ///
    /// If the thread holds 2,000 locks already.
    pub fn to_vec(&self) -> Vec<T> {
        let _held = self.lock_word();
        self.read_all()
    }

    fn read_all(&self) -> Vec<T> {
        (0..self.len()).map(|index| self.read(index)).collect()
    }

    /// Locks all elements, to see and change them as a slice.
    ///
    /// # Panics
    ///
    /// As [`Array::to_vec`].
    pub fn lock(&self) -> ArrayGuard<'_, T> {
        self.guard(self.lock_word())
    }

    /// Locks the array if nobody has locked it now.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`], [`AcquireError::TooMany`].
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::NOW)
            .map_err(AcquireError::at_once)
    }

    /// As [`Array::lock`], waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::TooMany`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ArrayGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::after(timeout))
    }

    /// As [`Array::lock`], waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Array::lock_timeout`].
    pub fn lock_deadline(&self, deadline: Instant) -> Result<ArrayGuard<'_, T>, AcquireError> {
        self.lock_until(Deadline::at(deadline))
    }

    fn lock_until(&self, deadline: Deadline) -> Result<ArrayGuard<'_, T>, AcquireError> {
        let held = self.try_lock_word(deadline);
        held.map(|held| self.guard(held))
            .map_err(AcquireError::without_owner)
    }

    fn guard<'a>(&'a self, held: RawGuard<'a>) -> ArrayGuard<'a, T> {
        ArrayGuard {
            copy: self.read_all(),
            array: self,
            changed: false,
            held: Some(held),
        }
    }
}

fn copy_words(from: &[AtomicU64], to: &[AtomicU64]) {
    for (from, to) in from.iter().zip(to) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl<T: Plain> ArrayGuard<'_, T> {
    fn write_back(&mut self) {
        let mine = self.held.as_ref().is_some_and(RawGuard::is_mine);
        if !std::mem::take(&mut self.changed) || !mine {
            return;
        }
        for (index, value) in self.copy.iter().enumerate() {
            let before = self.array.read(index);
            if bytemuck::bytes_of(&before) != bytemuck::bytes_of(value) {
                self.array.write(index, value);
            }
        }
    }
}

impl<T: Plain> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.copy
    }
}

impl<T: Plain> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Plain> Drop for ArrayGuard<'_, T> {
    fn drop(&mut self) {
        self.write_back();
    }
}

impl<T: Plain> LetGo for ArrayGuard<'_, T> {
    type Guarded = [T];

    fn lend<R>(&mut self, look: impl FnOnce(&mut [T]) -> R) -> R {
        look(self)
    }

    fn let_go(&mut self) -> u64 {
        assert!(self.held.is_some(), "the guard holds nothing");
        self.write_back();
        self.held = None;
        0
    }

    fn take_again(&mut self, _kept: u64) -> Result<(), AcquireError> {
        self.held = Some(self.array.lock_word());
        self.copy = self.array.read_all();
        Ok(())
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Array<T> {
        Array {
            object: self.object.clone(),
            _holds: PhantomData,
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.object.lock().is_held() {
            return f.write_str("Array(<locked>)");
        }
        f.write_str("Array")?;
        f.debug_list().entries(self.to_vec()).finish()
    }
}

// No bounds on `T`, so that a struct with an `Array<T>` field can derive its own.
impl<T> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Array<T>, D::Error> {
        let object = Object::deserialize(deserializer)?
            .expect_tag(tag_of::<T>(), "an array of elements of this size");
        let object = object.map_err(serde::de::Error::custom)?;
        Ok(Array {
            object,
            _holds: PhantomData,
        })
    }
}
