//! Small plain values in shared memory without a lock: each is one atomic.
//!
//! Every element is read and written whole, and that is all: no order between two elements, and no
//! order with anything else ([`Ordering::Relaxed`]).
//!
//! # Killed here: survivors see
//!
//! An element is old or new at every instruction: it changes by one store.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use multiproc_shm::{CreateError, Kind, Object};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::plain::{self, Plain};

/// One small value that threads and processes share, without a lock.
///
/// For types of 1, 2, 4 or 8 bytes; others do not compile. It carries no order: what one process
/// wrote elsewhere before is not promised to be seen by the one who reads the value. For that, use
/// [`Value`](crate::Value).
///
/// # Examples
///
/// ```
/// use multiproc_sync::RawValue;
///
/// let progress = RawValue::new(0.0f32)?;
/// progress.set(0.5);
/// assert_eq!(progress.update(|part| part + 0.25), 0.5);
/// assert_eq!(progress.get(), 0.75);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// The value is the one before or the one after.
pub struct RawValue<T> {
    array: RawArray<T>,
}

/// A fixed number of small values that threads and processes share, without a lock.
///
/// For elements of 1, 2, 4 or 8 bytes, as [`RawValue`].
///
/// # Examples
///
/// ```
/// use multiproc_sync::RawArray;
///
/// let flags = RawArray::<bool>::new(3)?;
/// flags.set(1, true);
/// assert_eq!(flags.to_vec(), [false, true, false]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// Each element is the one before or the one after.
pub struct RawArray<T> {
    object: Object,
    /// As its maker said; travels with the handle.
    len: usize,
    _holds: PhantomData<fn() -> T>,
}

/// What an object must be to hold elements of this size.
const fn tag_of<T>() -> u32 {
    u32::from_le_bytes(*b"raw\0") | (size_of::<T>() as u32) << 24
}

impl<T: Plain> RawValue<T> {
    /// A value that starts as `initial`.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(initial: T) -> Result<RawValue<T>, CreateError> {
        let array = RawArray::from_slice(&[initial])?;
        Ok(RawValue { array })
    }

    /// The value now.
    pub fn get(&self) -> T {
        self.array.get(0)
    }

    /// Sets the value.
    pub fn set(&self, value: T) {
        self.array.set(0, value);
    }

    /// Changes the value in one step, and returns the one before. `change` is called again if
    /// somebody else comes between.
    pub fn update(&self, change: impl FnMut(T) -> T) -> T {
        self.array.update(0, change)
    }
}

impl<T: Plain> RawArray<T> {
    const ONE_ATOMIC: () = assert!(
        matches!(size_of::<T>(), 1 | 2 | 4 | 8),
        "raw values are of 1, 2, 4 or 8 bytes; for others use Value or Array"
    );

    /// `len` elements, each the default.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is no shared memory for it.
    pub fn new(len: usize) -> Result<RawArray<T>, CreateError>
    where
        T: Default,
    {
        RawArray::filled(len, |_| T::default())
    }

    /// The elements of `slice`.
    ///
    /// # Errors
    ///
    /// As [`RawArray::new`].
    pub fn from_slice(slice: &[T]) -> Result<RawArray<T>, CreateError> {
        RawArray::filled(slice.len(), |index| slice[index])
    }

    fn filled(len: usize, element: impl Fn(usize) -> T) -> Result<RawArray<T>, CreateError> {
        const { Self::ONE_ATOMIC };
        let bytes = len
            .checked_mul(size_of::<T>())
            .filter(|&bytes| bytes < isize::MAX as usize / 2)
            .ok_or_else(|| {
                CreateError::NoSpace(format!("an array of {len} elements fits no memory"))
            })?;
        let bytes = bytes.next_multiple_of(8).max(8);
        let object = Object::create(Kind::Plain, tag_of::<T>(), bytes, |_| {})?;
        let array = RawArray {
            object,
            len,
            _holds: PhantomData,
        };
        (0..len).for_each(|index| array.set(index, element(index)));
        Ok(array)
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[track_caller]
    fn check(&self, index: usize) {
        let len = self.len;
        assert!(
            index < len,
            "index {index} is out of range: the array has {len} elements"
        );
    }

    /// The element at `index` now.
    ///
    /// # Panics
    ///
    /// If `index` is out of range.
    #[track_caller]
    pub fn get(&self, index: usize) -> T {
        self.check(index);
        let object = &self.object;
        plain::from_bits(match size_of::<T>() {
            1 => object.bytes()[index].load(Ordering::Relaxed).into(),
            2 => object.quarter_words()[index].load(Ordering::Relaxed).into(),
            4 => object.half_words()[index].load(Ordering::Relaxed).into(),
            _ => object.words()[index].load(Ordering::Relaxed),
        })
    }

    /// Sets the element at `index`.
    ///
    /// # Panics
    ///
    /// As [`RawArray::get`].
    #[track_caller]
    pub fn set(&self, index: usize, value: T) {
        self.check(index);
        let (object, bits) = (&self.object, plain::to_bits(&value));
        match size_of::<T>() {
            1 => object.bytes()[index].store(bits as u8, Ordering::Relaxed),
            2 => object.quarter_words()[index].store(bits as u16, Ordering::Relaxed),
            4 => object.half_words()[index].store(bits as u32, Ordering::Relaxed),
            _ => object.words()[index].store(bits, Ordering::Relaxed),
        }
    }

    /// Changes the element at `index` in one step, and returns the one before. `change` is called
    /// again if somebody else comes between.
    ///
    /// # Panics
    ///
    /// As [`RawArray::get`].
    #[track_caller]
    pub fn update(&self, index: usize, mut change: impl FnMut(T) -> T) -> T {
        self.check(index);
        let object = &self.object;
        let mut bits = |bits: u64| plain::to_bits(&change(plain::from_bits(bits)));
        let order = Ordering::Relaxed;
        let before: u64 = match size_of::<T>() {
            1 => object.bytes()[index]
                .update(order, order, |now| bits(now.into()) as u8)
                .into(),
            2 => object.quarter_words()[index]
                .update(order, order, |now| bits(now.into()) as u16)
                .into(),
            4 => object.half_words()[index]
                .update(order, order, |now| bits(now.into()) as u32)
                .into(),
            _ => object.words()[index].update(order, order, bits),
        };
        plain::from_bits(before)
    }

    /// The elements in order, each as it is when its turn comes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        (0..self.len).map(|index| self.get(index))
    }

    /// All elements, each as it is when it is read.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> RawArray<T> {
        RawArray {
            object: self.object.clone(),
            len: self.len,
            _holds: PhantomData,
        }
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> RawValue<T> {
        RawValue {
            array: self.array.clone(),
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawArray")?;
        f.debug_list().entries(self.to_vec()).finish()
    }
}

// No bounds on `T`, so that a struct with such a field can derive its own.
impl<T> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.object, self.len).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawArray<T>, D::Error> {
        let (object, len) = <(Object, usize)>::deserialize(deserializer)?;
        let object = object
            .expect_tag(tag_of::<T>(), "a raw array of elements of this size")
            .map_err(serde::de::Error::custom)?;
        if len > object.words().len() * 8 / size_of::<T>().max(1) {
            let text = format!("a raw array of {len} elements, of which not all are there");
            return Err(serde::de::Error::custom(text));
        }
        Ok(RawArray {
            object,
            len,
            _holds: PhantomData,
        })
    }
}

impl<T> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.array.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawValue<T>, D::Error> {
        let array = RawArray::deserialize(deserializer)?;
        if array.len != 1 {
            return Err(serde::de::Error::custom("a raw value, which is no array"));
        }
        Ok(RawValue { array })
    }
}
