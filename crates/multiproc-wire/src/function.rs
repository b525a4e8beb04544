//! Function pointers as serde values: what a function takes as an argument when that argument is
//! itself a function, such as the one a dictionary in another process is to be changed by.
//!
//! A [`TaskRef`](crate::task::TaskRef) is a function together with the code that decodes its argument;
//! a [`Function`] is the bare pointer, for code that already knows its type. Two words travel: the
//! offset from the program's load base, and a seal over the offset, the pointer's type and the
//! program's build id. Whatever does not match them is refused when it is decoded.

use std::any::{TypeId, type_name};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use multiproc_sys::image;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::error::FunctionError;

/// Tells these seals from those of tasks.
const MAGIC: u64 = 0x6d70_6675_6e63_7401;

/// A kind of function pointer that travels. Sealed: `fn(A) -> R`, `fn(&T, A) -> R` and
/// `fn(&mut T, A) -> R`.
pub trait Pointer: sealed::Pointer {}

mod sealed {
    pub trait Pointer: Copy + 'static {
        /// Where its code begins.
        fn address(self) -> *const ();

        /// The counterpart.
        ///
        /// # Safety
        ///
        /// `address` came from [`Pointer::address`] of the same type, in a process of this program
        /// that has its code at the same place.
        unsafe fn from_address(address: *const ()) -> Self;
    }
}

macro_rules! pointer {
    ([$($generic:ident),*] $pointer:ty) => {
        impl<$($generic: 'static),*> Pointer for $pointer {}

        impl<$($generic: 'static),*> sealed::Pointer for $pointer {
            fn address(self) -> *const () {
                self as *const ()
            }

            unsafe fn from_address(address: *const ()) -> Self {
                // SAFETY: the caller says that the address is that of a function of this very type,
                // which is never null, and a function pointer is as wide as a data pointer on every
                // platform with processes.
                unsafe { std::mem::transmute::<*const (), Self>(address) }
            }
        }
    };
}

pointer!([R] fn() -> R);
pointer!([A, R] fn(A) -> R);
pointer!([T, A, R] fn(&T, A) -> R);
pointer!([T, A, R] fn(&mut T, A) -> R);

/// A function of this program as a value that travels to other processes of the program.
///
/// ```
/// use multiproc_wire::{Function, codec};
///
/// let add: Function<fn(&mut u32, u32)> = Function::new(|n, by| *n += by);
/// let parcel = codec::encode(&add)?;
///
/// // In another process of the same program:
/// let add: Function<fn(&mut u32, u32)> = codec::decode(&parcel.bytes, &[])?;
/// let mut n = 1;
/// (add.pointer())(&mut n, 2);
/// assert_eq!(n, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Function<F>(F);

impl<F: Pointer> Function<F> {
    /// The function as a value.
    pub fn new(pointer: F) -> Function<F> {
        Function(pointer)
    }

    /// The function.
    pub fn pointer(self) -> F {
        self.0
    }

    /// The words for it.
    ///
    /// # Errors
    ///
    /// [`FunctionError::SharedObject`] if it lives in a shared object.
    pub fn to_words(self) -> Result<[u64; 2], FunctionError> {
        let image = image::main();
        let address = self.0.address().expose_provenance();
        if !image.code_contains(address) {
            return Err(match image::object_name_of(address) {
                Some(name) => FunctionError::SharedObject { name },
                None => FunctionError::NotAFunction,
            });
        }
        let offset = address.wrapping_sub(image.base()) as u64;
        Ok([offset, seal::<F>(offset)])
    }

    /// The function the words name in this process. Any words may be asked.
    ///
    /// # Errors
    ///
    /// [`FunctionError::WrongProgram`] or [`FunctionError::NotAFunction`] if they name none of this
    /// type.
    pub fn from_words([offset, sealed]: [u64; 2]) -> Result<Function<F>, FunctionError> {
        let image = image::main();
        let address = image.base().wrapping_add(offset as usize);
        if !image.code_contains(address) {
            return Err(FunctionError::NotAFunction);
        }
        if seal::<F>(offset) != sealed {
            return Err(FunctionError::WrongProgram);
        }
        let address = std::ptr::with_exposed_provenance::<()>(address);
        // SAFETY: `from_address` asks that the address was that of a function of this type in a
        // process of this program with the code at the same place. The seal covers offset, type and
        // build, and was made by `to_words` from such a function; the offset is from the load base,
        // which was added again.
        Ok(Function(unsafe { F::from_address(address) }))
    }
}

/// The same in every process of one program. No secret: see [`task`](crate::task).
fn seal<F: 'static>(offset: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (MAGIC, offset, TypeId::of::<F>(), image::main().build_id()).hash(&mut hasher);
    hasher.finish()
}

impl<F: Pointer> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&type_name::<F>()).finish()
    }
}

impl<F: Pointer> Serialize for Function<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words = self.to_words().map_err(ser::Error::custom)?;
        words.serialize(serializer)
    }
}

impl<'de, F: Pointer> Deserialize<'de> for Function<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Function<F>, D::Error> {
        let words = <[u64; 2]>::deserialize(deserializer)?;
        Function::from_words(words).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back_and_can_be_called() {
        let double: Function<fn(u32) -> u32> = Function::new(|n| n * 2);
        let double = Function::<fn(u32) -> u32>::from_words(double.to_words().expect("words"));
        assert_eq!((double.expect("the same").pointer())(4), 8);
        let read: Function<fn(&String, usize) -> usize> = Function::new(|text, by| text.len() + by);
        let read = Function::<fn(&String, usize) -> usize>::from_words(read.to_words().unwrap());
        assert_eq!((read.expect("the same").pointer())(&"four".into(), 1), 5);
        let push: Function<fn(&mut Vec<u8>, u8)> = Function::new(Vec::push);
        let push = Function::<fn(&mut Vec<u8>, u8)>::from_words(push.to_words().unwrap());
        let mut list = vec![1];
        (push.expect("the same").pointer())(&mut list, 2);
        assert_eq!(list, [1, 2]);
    }

    #[test]
    fn another_type_or_a_damaged_word_is_refused() {
        let double: Function<fn(u32) -> u32> = Function::new(|n| n * 2);
        let [offset, sealed] = double.to_words().expect("words");
        let other = Function::<fn(u64) -> u64>::from_words([offset, sealed]);
        assert!(other.is_err_and(|error| error.is_wrong_program()));
        let moved = Function::<fn(u32) -> u32>::from_words([offset + 1, sealed]);
        assert!(moved.is_err());
        let outside = Function::<fn(u32) -> u32>::from_words([u64::MAX / 2, sealed]);
        assert!(outside.is_err_and(|error| error.is_not_a_function()));
    }
}
