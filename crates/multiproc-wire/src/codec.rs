//! Values to parcels and back.
//!
//! The bytes are postcard's, except that a `Vec<u8>` or [`Bytes`] that is the whole value is its own
//! encoding, without a length: the parcel's bytes *are* the payload. Which of the two holds follows
//! from the type, so a value must be decoded as the type it was encoded as.
//!
//! A handle inside a value writes the index that [`attach`] gave it and finds its way back by
//! [`attached`].
//!
//! # Errors at the sender, where possible
//!
//! The format records neither names nor kinds, so some of what serde can do cannot be read back:
//!
//! | serde | found by |
//! |---|---|
//! | `flatten`, iterators without a length | [`encode`] |
//! | `skip_serializing_if`, when it skips | [`encode`] |
//! | `tag`, `untagged`, types that ask what comes next | [`encode_checked`], when the first value of the type that a thread sends has it; else [`decode`] |
//!
//! # How deep a value may nest
//!
//! As deep as its type allows and the stack holds, in both directions; a type that contains itself
//! (a linked list, a tree) is for its author to bound.

mod fault;
mod read;
mod scope;
mod write;

use std::any::{Any, TypeId, type_name};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bytes::Bytes;
use crate::error::{DecodeError, EncodeError};
use crate::parcel::{Attachment, Parcel};

pub use scope::{attach, attached};

/// How many elements of sequences may take no bytes (such as `()`) in one value. Without a bound a
/// few bytes could announce 2^64 of them and keep the reader busy for ever.
const EMPTY_ELEMENTS_MAX: u32 = 1 << 20;

/// `value` in a parcel of its own.
///
/// # Errors
///
/// If the type's serde code refuses the value, or it has what the format cannot carry.
pub fn encode<T: Serialize + 'static>(value: &T) -> Result<Parcel, EncodeError> {
    let mut parcel = Parcel::default();
    encode_into(value, &mut parcel)?;
    Ok(parcel)
}

/// [`encode`] of a value that is not needed any more: one that is its own encoding is not copied.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_owned<T: Serialize + 'static>(value: T) -> Result<Parcel, EncodeError> {
    let mut value = Some(value);
    let slot = &mut value as &mut dyn Any;
    let vec = slot
        .downcast_mut::<Option<Vec<u8>>>()
        .and_then(Option::take);
    let slot = &mut value as &mut dyn Any;
    let bytes = slot.downcast_mut::<Option<Bytes>>().and_then(Option::take);
    match (vec.or(bytes.map(Vec::from)), &value) {
        (None, Some(value)) => encode(value),
        (payload, _) => Ok(Parcel {
            bytes: payload.unwrap_or_default(),
            attachments: Vec::new(),
        }),
    }
}

/// Appends `value` to `parcel`. Its handles' indices count on from the attachments already there, so
/// several values may share one list.
///
/// # Errors
///
/// As [`encode`]; `parcel` is then as it was before, as it is if the type's serde code panics.
pub fn encode_into<T: Serialize + 'static>(
    value: &T,
    parcel: &mut Parcel,
) -> Result<(), EncodeError> {
    if let Some(payload) = raw_bytes(value) {
        parcel.bytes.extend_from_slice(payload);
        return Ok(());
    }
    let mut encoding = scope::Encoding::open(parcel);
    match value.serialize(&mut write::Writer::new(encoding.bytes())) {
        Ok(()) => {
            encoding.keep();
            Ok(())
        }
        Err(fault) => Err(EncodeError::new(type_name::<T>(), fault)),
    }
}

/// [`encode`] for a sender that knows that the type can be decoded: finds a type that can be written
/// but not read back.
///
/// The first value of each type that a thread sends is read back at once, without its handles; the
/// others cost a look-up.
///
/// # Errors
///
/// As [`encode`], and if the value asks, when it is read, for what the format does not record.
pub fn encode_checked<T>(value: &T) -> Result<Parcel, EncodeError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let mut parcel = Parcel::default();
    encode_checked_into(value, &mut parcel)?;
    Ok(parcel)
}

/// [`encode_into`], checked as [`encode_checked`] does.
///
/// # Errors
///
/// As [`encode_checked`]; `parcel` is then as it was before.
pub fn encode_checked_into<T>(value: &T, parcel: &mut Parcel) -> Result<(), EncodeError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let (bytes_before, attachments_before) = (parcel.bytes.len(), parcel.attachments.len());
    encode_into(value, parcel)?;
    let type_id = TypeId::of::<T>();
    if LAST_CHECKED.get() == Some(type_id) {
        return Ok(());
    }
    // A thread that is being taken down has no list any more, and checks nothing.
    let is_new = |checked: &RefCell<HashSet<TypeId>>| !checked.borrow().contains(&type_id);
    if raw_bytes(value).is_some() || !CHECKED.try_with(is_new).unwrap_or(false) {
        LAST_CHECKED.set(Some(type_id));
        return Ok(());
    }
    let outcome = check_readable::<T>(&parcel.bytes[bytes_before..]);
    if outcome.is_err() {
        parcel.bytes.truncate(bytes_before);
        parcel.attachments.truncate(attachments_before);
    } else {
        // Failing only means that the check is made again.
        let _ = CHECKED.try_with(|checked| checked.borrow_mut().insert(type_id));
        LAST_CHECKED.set(Some(type_id));
    }
    outcome
}

thread_local! {
    /// The types that were read back once on this thread.
    static CHECKED: RefCell<HashSet<TypeId>> = RefCell::default();
    /// The one of them that was sent last: most often the next one, too, and found without a hash.
    static LAST_CHECKED: Cell<Option<TypeId>> = const { Cell::new(None) };
}

/// Reads the value back as far as its first handle, which is not made: a second handle, dropped
/// here, could end what the first one stands for. Only one fault counts, since others may depend on
/// where the value is read.
#[cold]
fn check_readable<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), EncodeError> {
    let _scope = scope::Decoding::open(&[]);
    match T::deserialize(&mut read::Reader::new(bytes)) {
        Err(fault) if fault.is_not_self_describing() => {
            Err(EncodeError::new(type_name::<T>(), fault))
        }
        _ => Ok(()),
    }
}

/// `value` as bytes that it can be compared by: a key. A `Vec<u8>` or [`Bytes`] has its length in front
/// here, so that what a key borrows as (`str` for `String`) has the key's own bytes.
///
/// # Errors
///
/// As [`encode`], and for a value with handles.
pub fn encode_key<K: Serialize + ?Sized>(value: &K) -> Result<Vec<u8>, EncodeError> {
    let refused = |why: &dyn std::fmt::Display| EncodeError::new(type_name::<K>(), why);
    let mut parcel = Parcel::default();
    let mut encoding = scope::Encoding::open(&mut parcel);
    match value.serialize(&mut write::Writer::new(encoding.bytes())) {
        Ok(()) => encoding.keep(),
        Err(fault) => return Err(refused(&fault)),
    }
    if parcel.attachments.is_empty() {
        Ok(parcel.bytes)
    } else {
        Err(refused(&"a handle cannot be part of a key"))
    }
}

/// The counterpart of [`encode_key`].
///
/// # Errors
///
/// As [`decode`].
pub fn decode_key<K: DeserializeOwned>(bytes: &[u8]) -> Result<K, DecodeError> {
    let _scope = scope::Decoding::open(&[]);
    let mut reader = read::Reader::new(bytes);
    let refused = |fault: &dyn std::fmt::Display| DecodeError::new(type_name::<K>(), fault);
    let value = K::deserialize(&mut reader).map_err(|fault| refused(&fault))?;
    match reader.rest().len() {
        0 => Ok(value),
        left => Err(refused(&format_args!(
            "{left} of {} bytes are left over",
            bytes.len()
        ))),
    }
}

/// The value in `bytes`, whose handles mean `attachments` by index.
///
/// Any bytes may be decoded, from whoever they come: what is not a value is an error, and memory is
/// taken in proportion to the bytes that are there, never to a length they announce. (Elements that
/// take no bytes, such as `()`, are bounded by 2^20 in one value, at the sender too.)
///
/// # Errors
///
/// If the bytes are not a value of `T`, if any are left over, or if the type's own serde code
/// refuses what it reads.
pub fn decode<T: DeserializeOwned + 'static>(
    bytes: &[u8],
    attachments: &[Attachment],
) -> Result<T, DecodeError> {
    if is_raw::<T>()
        && let Ok(value) = from_raw_bytes(bytes.to_vec())
    {
        return Ok(value);
    }
    let _scope = scope::Decoding::open(attachments);
    read_value(bytes)
}

/// [`decode`] for a parcel that is read this once: an open file in it needs no second descriptor.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_once<T: DeserializeOwned + 'static>(
    bytes: &[u8],
    attachments: Vec<Attachment>,
) -> Result<T, DecodeError> {
    if is_raw::<T>()
        && let Ok(value) = from_raw_bytes(bytes.to_vec())
    {
        return Ok(value);
    }
    let _scope = scope::Decoding::open_once(attachments);
    read_value(bytes)
}

#[inline]
fn read_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut reader = read::Reader::new(bytes);
    let value =
        T::deserialize(&mut reader).map_err(|fault| DecodeError::new(type_name::<T>(), fault))?;
    match reader.rest().len() {
        0 => Ok(value),
        left => Err(DecodeError::new(
            type_name::<T>(),
            format_args!("{left} of {} bytes are left over", bytes.len()),
        )),
    }
}

/// The payload of a value that is its own encoding: `Some` for a `Vec<u8>` or [`Bytes`].
pub fn raw_bytes<T: 'static>(value: &T) -> Option<&[u8]> {
    let value = value as &dyn Any;
    let vec = value.downcast_ref::<Vec<u8>>().map(Vec::as_slice);
    vec.or_else(|| value.downcast_ref::<Bytes>().map(|bytes| &**bytes))
}

/// The value whose payload is `bytes`, without a copy, if `T` is its own encoding.
///
/// # Errors
///
/// Gives `bytes` back if `T` is anything else.
pub fn from_raw_bytes<T: 'static>(bytes: Vec<u8>) -> Result<T, Vec<u8>> {
    if !is_raw::<T>() {
        return Err(bytes);
    }
    let mut value: Option<T> = None;
    let slot = &mut value as &mut dyn Any;
    if let Some(slot) = slot.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(bytes);
    } else if let Some(slot) = slot.downcast_mut::<Option<Bytes>>() {
        *slot = Some(bytes.into());
    }
    Ok(value.expect("a raw type is one of the two above"))
}

fn is_raw<T: 'static>() -> bool {
    let this = TypeId::of::<T>();
    this == TypeId::of::<Vec<u8>>() || this == TypeId::of::<Bytes>()
}
