//! One side of a ring, as an object of its own: when nobody holds it any more, the ring is told.
//!
//! An end owns one reference to its ring, as a parcel owns its handles, and lies in memory like one. It
//! is held by processes, and by messages that carry it. With its last reference, whoever gave that back
//! takes the ring back from it, and on the way sets the end's bit in the ring's `state` and wakes all who
//! sleep at its bells. So the other side learns of a drop, a kill, and a message that nobody will read,
//! in one way.
//!
//! | bit of the ring's `state` | meaning |
//! |---|---|
//! | 0 | no end for sending is left |
//! | 1 | no end for receiving is left |
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | making, before the ring is owned | an end that owns nothing: swept, and the ring is told nothing |
//! | holding an end | it goes back in the sweep; with the last, the ring is told in the sweep |
//! | telling, before or between the bit and the bells | the end on the dying list, still owning the ring: the next who drains tells it again |
//! | after the ring was taken back | an empty end on the dying list: freed by the next |

use multiproc_wire::Attachment;

use crate::arena::Arena;
use crate::error::{CreateError, OpenError};
use crate::log::Transaction;
use crate::object::{Handle, Kind, Object};
use crate::ring::{self, Ring};
use crate::{alloc, parcel};

/// `b"snde"`
const SENDING: u32 = u32::from_le_bytes(*b"snde");
/// `b"rcve"`
const RECEIVING: u32 = u32::from_le_bytes(*b"rcve");

/// One side of a ring.
///
/// Clones are the same end, as are those in other processes that it was sent to.
#[derive(Clone, Debug)]
pub struct End {
    object: Object,
    ring: Ring,
}

impl End {
    /// In the ring's state: no end for sending is left.
    pub const SENDERS_GONE: u32 = 1;
    /// In the ring's state: no end for receiving is left.
    pub const RECEIVERS_GONE: u32 = 2;

    /// A new end, for sending or for receiving. Make one of each, once: when one is gone, it is for
    /// ever.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn create(ring: &Ring, receiving: bool) -> Result<End, CreateError> {
        let tag = if receiving { RECEIVING } else { SENDING };
        let object = parcel::lay_out(tag, 1, 0)?;
        // First what it is, then what it owns: killed in between, it gives back what it has.
        object.become_kind(Kind::End);
        parcel::append(&object, ring.object())?;
        Ok(End {
            object,
            ring: ring.clone(),
        })
    }

    /// The end in an object that came from elsewhere.
    ///
    /// # Errors
    ///
    /// [`OpenError::Incompatible`] for anything but an end of that side; [`OpenError`] if its ring cannot
    /// be reached.
    pub fn open(object: Object, receiving: bool) -> Result<End, OpenError> {
        let (tag, what) = match receiving {
            true => (RECEIVING, "the receiving end of a pipe"),
            false => (SENDING, "the sending end of a pipe"),
        };
        let object = object.expect_tag(tag, what)?;
        if object.kind() != Kind::End {
            return Err(OpenError::Corrupt("what is tagged as an end is none"));
        }
        let ring = parcel::first(&object)?.ok_or(OpenError::Corrupt("an end has lost its ring"))?;
        let ring = Ring::open(ring)?;
        Ok(End { object, ring })
    }

    /// Whether what travels in a message is an end of this very ring.
    pub fn is_of(attachment: &Attachment, ring: &Ring) -> bool {
        let object = Object::from_attachment(Attachment::clone(attachment));
        object.is_some_and(|object| {
            object.kind() == Kind::End
                && parcel::first(&object)
                    .is_ok_and(|owned| owned.is_some_and(|owned| owned.is(ring.object())))
        })
    }

    /// Its ring, which the caller may use as long as it likes: only the end counts for the other side.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The object it is.
    pub fn object(&self) -> &Object {
        &self.object
    }
}

/// Takes the ring back from a dying end, and tells it.
pub(crate) fn take_back(
    arena: &'static Arena,
    change: &mut Transaction<'_>,
    payload: u64,
    room: u64,
    tag: u32,
) -> Option<Handle> {
    let handle = parcel::take_back(arena, change, payload, room)?;
    let bits = match tag {
        SENDING => End::SENDERS_GONE,
        _ => End::RECEIVERS_GONE,
    };
    if let Some(ring) = handle.valid_in(arena) {
        let head = alloc::head(arena, ring);
        if Kind::from_bits(head.kind) == Kind::Ring {
            ring::tell(arena, ring + head.before_payload(), bits);
        }
    }
    Some(handle)
}
