//! One item on its way: bytes for the ring, or shared memory of its own with a reference in the ring.

use std::borrow::Cow;

use multiproc_shm::{CreateError, Object, family, parcel};
use multiproc_wire::{EncodeError, Parcel, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{GetError, PutError};

/// An item on its way in.
pub(crate) enum Body<'a> {
    /// Its bytes go into the ring.
    Bytes(Cow<'a, [u8]>),
    /// It lies in shared memory of its own.
    Stored(Object),
}

/// An item on its way out.
pub(crate) enum Taken {
    Bytes(Vec<u8>),
    Stored(Object),
    /// With open files, which had to be asked for before it was taken.
    Loaded(Box<Parcel>),
}

/// Why a push did not happen, before the item is put beside it.
pub(crate) enum Refused {
    Full,
    /// The ring has no room for the bytes, but has for a reference.
    NoRoomInline,
    TimedOut,
    Closed,
    Encode(EncodeError),
    TooLarge {
        size: u64,
        limit: u64,
    },
    NoSpace(CreateError),
    TooMany,
}

impl<'a> Body<'a> {
    /// Encodes an item; one of more than `inline` bytes is stored.
    pub(crate) fn of<T>(item: &'a T, inline: usize) -> Result<Body<'a>, Refused>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        // Bytes need no encoding, and no copy but the one into shared memory.
        if let Some(bytes) = codec::raw_bytes(item) {
            let mut body = Body::Bytes(Cow::Borrowed(bytes));
            if bytes.len() > inline {
                body.store()?;
            }
            return Ok(body);
        }
        let parcel = codec::encode_checked(item).map_err(Refused::Encode)?;
        if parcel.attachments.is_empty() && parcel.bytes.len() <= inline {
            return Ok(Body::Bytes(Cow::Owned(parcel.bytes)));
        }
        let stored = parcel::store(&parcel);
        let size = parcel.bytes.len();
        stored
            .map(Body::Stored)
            .map_err(|error| Refused::of_store(error, size))
    }

    /// Moves the bytes to shared memory of their own.
    pub(crate) fn store(&mut self) -> Result<(), Refused> {
        if let Body::Bytes(bytes) = self {
            *self = Body::Stored(store_bytes(bytes)?);
        }
        Ok(())
    }
}

/// Bytes in shared memory of their own, with one copy.
pub(crate) fn store_bytes(bytes: &[u8]) -> Result<Object, Refused> {
    parcel::store_bytes(bytes).map_err(|error| Refused::of_store(error, bytes.len()))
}

impl Refused {
    #[cold]
    fn of_store(error: CreateError, size: usize) -> Refused {
        let size = size as u64;
        match family::room() {
            // However much is freed, it will never fit.
            Some(limit) if size > limit => Refused::TooLarge { size, limit },
            _ => Refused::NoSpace(error),
        }
    }

    pub(crate) fn with<T>(self, item: T) -> PutError<T> {
        match self {
            Refused::Full | Refused::NoRoomInline => PutError::Full(item),
            Refused::TimedOut => PutError::TimedOut(item),
            Refused::Closed => PutError::Closed(item),
            Refused::Encode(error) => PutError::Encode(item, error),
            Refused::TooLarge { size, limit } => PutError::TooLarge { item, size, limit },
            Refused::NoSpace(error) => PutError::NoSpace(item, error),
            Refused::TooMany => PutError::TooMany(item),
        }
    }
}

impl Taken {
    #[inline]
    pub(crate) fn into_item<T: DeserializeOwned + 'static>(self) -> Result<T, GetError> {
        let decoded = match self {
            Taken::Bytes(bytes) => match codec::from_raw_bytes(bytes) {
                Ok(item) => Ok(item),
                Err(bytes) => codec::decode(&bytes, &[]),
            },
            Taken::Stored(stored) => parcel::with_bytes(&stored, codec::decode)?,
            Taken::Loaded(parcel) => {
                let Parcel { bytes, attachments } = *parcel;
                codec::decode_once(&bytes, attachments)
            }
        };
        decoded.map_err(GetError::Decode)
    }
}
