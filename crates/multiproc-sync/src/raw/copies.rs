//! A plain value in shared memory, as two copies and a selector.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | selector | which of the two copies is the value | the holder of the object's lock, one store |
//! | copies | the value, and the place for the next one | the holder, the copy not selected only |
//!
//! Who may read is for the lock above to say; all calls here are made under it.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | before the selector moves | the old value |
//! | after | the new value |

use std::marker::PhantomData;

use crate::door::{AtomicU64, Ordering};
use crate::plain::{self, Plain};

/// The selector, then the two copies.
const SELECTOR: usize = 0;
const COPIES: usize = 1;

/// The two copies of a `T`, at the start of `words`.
pub(crate) struct Copies<'a, T> {
    words: &'a [AtomicU64],
    _holds: PhantomData<T>,
}

/// How many words the copies of a `T` take.
pub(crate) const fn words_of<T>() -> usize {
    COPIES + 2 * plain::words_of::<T>()
}

/// What an object must be to hold a `T`: of that name, for values of its size.
pub(crate) const fn tag_of<T>(name: [u8; 3]) -> u32 {
    let [a, b, c] = name;
    u32::from_le_bytes([a, b, c, 0]) | (size_of::<T>() as u32) << 24
}

impl<'a, T: Plain> Copies<'a, T> {
    #[inline]
    pub(crate) fn at(words: &'a [AtomicU64]) -> Copies<'a, T> {
        Copies {
            words,
            _holds: PhantomData,
        }
    }

    fn selector(&self) -> &AtomicU64 {
        &self.words[SELECTOR]
    }

    fn copy(&self, index: u64) -> &[AtomicU64] {
        let at = COPIES + (index % 2) as usize * plain::words_of::<T>();
        &self.words[at..at + plain::words_of::<T>()]
    }

    /// The value.
    ///
    /// # Panics
    ///
    /// If the memory holds bits that no `T` has, which no code of this library stores.
    #[inline]
    pub(crate) fn read(&self) -> T {
        plain::read(self.copy(self.selector().load(Ordering::Acquire)))
    }

    /// Writes the other copy, then selects it.
    #[inline]
    pub(crate) fn replace(&self, value: &T) {
        let next = self.selector().load(Ordering::Relaxed).wrapping_add(1) % 2;
        plain::write(self.copy(next), value);
        self.selector().store(next, Ordering::Release);
    }
}
