//! Plain values as words of shared memory.

use bytemuck::{CheckedBitPattern, NoUninit};

use crate::door::{AtomicU64, Ordering};

/// What can lie in shared memory as it is: integers, floats, arrays of them, `bool`, `char`, and
/// structs and enums that derive bytemuck's `NoUninit` and `CheckedBitPattern`.
///
/// ```
/// use multiproc_sync::{CheckedBitPattern, NoUninit, Value};
///
/// #[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
/// #[repr(u8)]
/// enum Light {
///     Red,
///     Green,
/// }
///
/// let light = Value::new(Light::Red)?;
/// light.set(Light::Green);
/// assert_eq!(light.get(), Light::Green);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// The derives want bytemuck among the program's own dependencies. Without it, say
/// `#[bytemuck(crate = "multiproc::bytemuck")]` below them, and derive
/// [`AnyBitPattern`](bytemuck::AnyBitPattern) for a struct; one with a `bool`, a `char` or an enum in it
/// needs the dependency.
///
/// Anything else is refused when the program is compiled:
///
/// ```compile_fail,E0277
/// multiproc_sync::Value::new(String::new());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot lie in shared memory as it is",
    note = "integers, floats, arrays of them, bool, char and types that derive `NoUninit` and \
            `CheckedBitPattern` can; keep anything else (String, Vec, HashMap) in a Manager, or send \
            it through a queue"
)]
pub trait Plain: CheckedBitPattern + NoUninit {}

impl<T: CheckedBitPattern + NoUninit> Plain for T {}

/// Values up to this size are read without an allocation.
const SMALL: usize = 256;

/// The words that a `T` takes.
pub(crate) const fn words_of<T>() -> usize {
    size_of::<T>().div_ceil(8)
}

/// The `T` in `words`, of which there are [`words_of`] that type. Nobody may be writing them.
pub(crate) fn read<T: Plain>(words: &[AtomicU64]) -> T {
    if size_of::<T>() <= SMALL {
        read_through(words, &mut [0; SMALL])
    } else {
        read_through(words, &mut vec![0; words.len() * 8])
    }
}

fn read_through<T: Plain>(words: &[AtomicU64], bytes: &mut [u8]) -> T {
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    from_bytes(&bytes[..size_of::<T>()])
}

/// The `T` that these bytes are.
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> T {
    let read = bytemuck::checked::try_pod_read_unaligned(bytes);
    read.unwrap_or_else(|why| {
        panic!(
            "shared memory holds no {}: {why}",
            std::any::type_name::<T>()
        )
    })
}

/// Writes `value` into its words. Nobody may be reading them.
pub(crate) fn write<T: Plain>(words: &[AtomicU64], value: &T) {
    for (word, chunk) in words.iter().zip(bytemuck::bytes_of(value).chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
    }
}

/// A value of at most 8 bytes as a number, its bytes in memory order from the lowest.
pub(crate) fn to_bits<T: Plain>(value: &T) -> u64 {
    let mut whole = [0; 8];
    whole[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
    u64::from_le_bytes(whole)
}

/// The reverse of [`to_bits`].
pub(crate) fn from_bits<T: Plain>(bits: u64) -> T {
    from_bytes(&bits.to_le_bytes()[..size_of::<T>()])
}

#[cfg(all(test, not(multiproc_model)))]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_come_back() {
        fn there_and_back<T: Plain + PartialEq + std::fmt::Debug>(value: T) {
            let words: Vec<AtomicU64> = (0..words_of::<T>()).map(|_| AtomicU64::new(!0)).collect();
            write(&words, &value);
            assert_eq!(read::<T>(&words), value);
        }
        there_and_back(7u8);
        there_and_back('x');
        there_and_back([1u16, 2, 3]);
        there_and_back([3u64; 32]);
        there_and_back([5u8; 257]);
        there_and_back([0u8; 0]);
        assert_eq!(from_bits::<[u8; 3]>(to_bits(&[1u8, 2, 3])), [1, 2, 3]);
    }
}
