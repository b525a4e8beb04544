//! Values with their references, stored in the arena.
//!
//! A stored parcel is one object: `Stored`, then room for handles, then the bytes. It *owns* one
//! reference for each of its handles, so it can wait in a ring, outlive its sender, and be loaded any
//! number of times. Bytes and handles never change once it is stored; only the number of handles it
//! still owns does, in a transaction together with their counts.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | storing, before it is a parcel | a plain object of the dead: swept |
//! | storing, some handles counted | a parcel of the dead that owns those: swept, then drained |
//! | loading | references in the dead one's row, and the parcel untouched |
//! | taking back | the parcel on the dying list, owning fewer |

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use multiproc_wire::{Attachment, Parcel};
use serde::{Deserialize, Serialize};

use crate::alloc;
use crate::arena::Arena;
use crate::error::{CreateError, OpenError};
use crate::files;
use crate::log::Transaction;
use crate::object::{self, Handle, Kind, Object};

/// `b"prcl"`
const TAG: u32 = u32::from_le_bytes(*b"prcl");
/// `b"prcf"`: a parcel with open files. The last of its handles is their bundle.
const TAG_WITH_FILES: u32 = u32::from_le_bytes(*b"prcf");
/// `b"outb"`
const OUTBOX_TAG: u32 = u32::from_le_bytes(*b"outb");

/// What stands at the start of a parcel's payload.
#[repr(C)]
struct Stored {
    /// The allocator's, while the parcel dies.
    _link: AtomicU64,
    /// How many of the handles below the parcel owns. Changed in transactions only.
    handles: AtomicU64,
    /// Room for handles, and where the bytes start. Written by the maker.
    room: AtomicU64,
    /// How many bytes. Written by the maker.
    bytes: AtomicU64,
}

const STORED: usize = size_of::<Stored>();
const HANDLE: usize = size_of::<[u64; 3]>();

/// Stores a parcel: its bytes, and a reference for each attachment.
///
/// # Errors
///
/// [`CreateError::NoSpace`], or [`CreateError::Invalid`] if an attachment is neither a shared object
/// nor an open file; for open files also [`CreateError::Limit`] and [`CreateError::NoExchange`].
/// Nothing is left behind.
pub fn store(parcel: &Parcel) -> Result<Object, CreateError> {
    store_parts(&[&parcel.bytes], &parcel.attachments)
}

/// As [`store`], for bytes that lie in several places.
///
/// # Errors
///
/// As [`store`].
pub fn store_parts(parts: &[&[u8]], attachments: &[Attachment]) -> Result<Object, CreateError> {
    let (others, bundle) = files::bundle(attachments)?;
    let objects = others.into_iter().map(|attachment| {
        Object::from_attachment(attachment).ok_or_else(|| {
            let text = "only shared objects and open files can travel in shared memory";
            CreateError::Invalid(text.into())
        })
    });
    let mut objects = objects.collect::<Result<Vec<_>, _>>()?;
    let tag = bundle.as_ref().map_or(TAG, |_| TAG_WITH_FILES);
    objects.extend(bundle);
    let stored = fill(tag, objects.len(), parts)?;
    for object in &objects {
        append(&stored, object)?;
    }
    Ok(stored)
}

/// Stores a parcel of these bytes and no attachments, with one copy.
///
/// # Errors
///
/// [`CreateError::NoSpace`] with nothing left behind.
pub fn store_bytes(bytes: &[u8]) -> Result<Object, CreateError> {
    fill(TAG, 0, &[bytes])
}

/// The first `len` bytes, or as many as it has, of a parcel that [`store_bytes`] has made: for its maker, who
/// knows how long it is, and believes nothing that others may have written there.
pub fn bytes_again(stored: &Object, len: usize) -> Vec<u8> {
    let len = len.min(stored.len().saturating_sub(STORED));
    // SAFETY: the range lies in the payload, as what this process knows of its length says, which is mapped
    // and backed while `stored` lives; nobody changes the bytes of a stored parcel, and any bytes are valid.
    unsafe { std::slice::from_raw_parts(stored.payload().add(STORED).as_ptr(), len) }.to_vec()
}

fn fill(tag: u32, room: usize, parts: &[&[u8]]) -> Result<Object, CreateError> {
    let stored = lay_out(tag, room, parts.iter().map(|part| part.len()).sum())?;
    // SAFETY: `lay_out` made the payload long enough for the handles and these bytes; the object is
    // new, so nobody else reads it yet; source and target do not overlap.
    unsafe {
        let mut target = stored.payload().add(STORED + room * HANDLE);
        for part in parts {
            target.copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len());
            target = target.add(part.len());
        }
    }
    stored.become_kind(Kind::Parcel);
    Ok(stored)
}

/// An empty parcel with room for `room` handles and `bytes` bytes.
pub(crate) fn lay_out(tag: u32, room: usize, bytes: usize) -> Result<Object, CreateError> {
    let object = Object::create_raw(tag, STORED + room * HANDLE + bytes)?;
    let stored = view(&object);
    stored.handles.store(0, Ordering::Relaxed);
    stored.room.store(room as u64, Ordering::Relaxed);
    stored.bytes.store(bytes as u64, Ordering::Relaxed);
    Ok(object)
}

fn view(object: &Object) -> &Stored {
    // SAFETY: callers have checked the tag or made the object: its payload begins with a `Stored`,
    // is long enough for one (every class is), 8-aligned, and lives as long as the borrow.
    unsafe { object.payload().cast::<Stored>().as_ref() }
}

/// Adds one owned handle; the room for it is the maker's.
pub(crate) fn append(parcel: &Object, object: &Object) -> Result<(), CreateError> {
    let arena = parcel.arena();
    let stored = view(parcel);
    let locked = arena.lock_for_create()?;
    let index = stored.handles.load(Ordering::Relaxed);
    assert!(
        index < stored.room.load(Ordering::Relaxed),
        "a parcel has room for its handles"
    );
    let payload = arena.offset_of(stored).expect("a parcel lies in the arena");
    write_handle(arena, payload, index, object.handle());
    let mut change = locked.begin();
    alloc::count_up(&mut change, object.offset());
    change.set(locked.offset(&stored.handles), index + 1);
    change.commit();
    Ok(())
}

fn handle_at(payload: u64, index: u64) -> u64 {
    payload + STORED as u64 + index * HANDLE as u64
}

fn write_handle(arena: &Arena, payload: u64, index: u64, handle: Handle) {
    for (offset, word) in (handle_at(payload, index)..)
        .step_by(8)
        .zip(handle.to_words())
    {
        arena.word(offset).store(word, Ordering::Relaxed);
    }
}

fn read_handle(arena: &Arena, payload: u64, index: u64) -> Handle {
    let at = handle_at(payload, index);
    Handle::from_words([0, 8, 16].map(|step| arena.word(at + step).load(Ordering::Relaxed)))
}

/// Lengths of a stored parcel, checked against its size.
fn shape(parcel: &Object) -> Result<(u64, usize, usize), OpenError> {
    let stored = view(parcel);
    let handles = stored.handles.load(Ordering::Acquire);
    let room = stored.room.load(Ordering::Relaxed);
    let bytes = stored.bytes.load(Ordering::Relaxed);
    let most = parcel.len() as u64;
    let start = (room.min(most) * HANDLE as u64).saturating_add(STORED as u64);
    if handles > room || start.saturating_add(bytes) > most {
        return Err(OpenError::Corrupt("a parcel is longer than its place"));
    }
    Ok((handles, start as usize, bytes as usize))
}

/// Whether the parcel behind a handle carries open files, which are asked of another process.
pub(crate) fn carries_files(parcel: Handle) -> bool {
    parcel.tag == TAG_WITH_FILES
}

/// Calls `read` with the bytes in place and the attachments; the parcel stays as it is.
///
/// # Errors
///
/// [`OpenError::Incompatible`] for an object that is no parcel, [`OpenError::Corrupt`] for one that
/// cannot be true; where it carries open files, [`OpenError::TooManyFiles`] and
/// [`OpenError::NoExchange`]. The parcel stays as it is in any case.
pub fn with_bytes<R>(
    parcel: &Object,
    read: impl FnOnce(&[u8], &[Attachment]) -> R,
) -> Result<R, OpenError> {
    let has_files = carries_files(parcel.handle());
    let parcel = match has_files {
        true => parcel.clone(),
        false => parcel.clone().expect_tag(TAG, "a parcel")?,
    };
    if parcel.kind() != Kind::Parcel {
        return Err(OpenError::Corrupt("what is tagged as a parcel is none"));
    }
    let (handles, start, len) = shape(&parcel)?;
    let mut attachments = open_all(&parcel, handles)?;
    if has_files {
        let bundle = attachments.pop().and_then(Object::from_attachment);
        let bundle = bundle.ok_or(OpenError::Corrupt("a parcel has lost its open files"))?;
        attachments = files::unbundle(&bundle, attachments)?;
    }
    // SAFETY: `shape` has checked that the range lies in the payload, which is mapped and backed
    // while `parcel` lives; the bytes of a stored parcel never change.
    let bytes = unsafe { std::slice::from_raw_parts(parcel.payload().add(start).as_ptr(), len) };
    Ok(read(bytes, &attachments))
}

fn open_all(parcel: &Object, handles: u64) -> Result<Vec<Attachment>, OpenError> {
    let arena = parcel.arena();
    let payload = arena
        .offset_of(view(parcel))
        .expect("a parcel lies in the arena");
    (0..handles)
        .map(|index| {
            let handle = read_handle(arena, payload, index);
            object::open(arena, handle).map(Object::into_attachment)
        })
        .collect()
}

/// The first object that a container owns, if it owns any.
pub(crate) fn first(container: &Object) -> Result<Option<Object>, OpenError> {
    let (handles, _, _) = shape(container)?;
    let first = open_all(container, handles.min(1))?.pop();
    Ok(first.and_then(Object::from_attachment))
}

/// A copy of the stored parcel in private memory.
///
/// # Errors
///
/// As [`with_bytes`].
pub fn load(parcel: &Object) -> Result<Parcel, OpenError> {
    with_bytes(parcel, |bytes, attachments| Parcel {
        bytes: bytes.to_vec(),
        attachments: attachments.to_vec(),
    })
}

/// Takes one owned handle out of a dying parcel; `None` once it owns none.
pub(crate) fn take_back(
    arena: &'static Arena,
    change: &mut Transaction<'_>,
    payload: u64,
    room: u64,
) -> Option<Handle> {
    let count = payload + std::mem::offset_of!(Stored, handles) as u64;
    let left = change.get(count);
    let most = room.saturating_sub(STORED as u64) / HANDLE as u64;
    let index = left.checked_sub(1)?.min(most.checked_sub(1)?);
    change.set(count, index);
    Some(read_handle(arena, payload, index))
}

/// The handles a live parcel owns, for audits.
pub(crate) fn owned(arena: &'static Arena, payload: u64) -> Vec<Handle> {
    let count = payload + std::mem::offset_of!(Stored, handles) as u64;
    let count = arena.word(count).load(Ordering::Relaxed);
    (0..count)
        .map(|index| read_handle(arena, payload, index))
        .collect()
}

/// A place for one parcel, filled once by one process and read by another.
///
/// # If a process dies
///
/// What was put in before is there; a filler killed earlier leaves it empty for ever.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Object", into = "Object")]
pub struct Outbox(Object);

impl Outbox {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn create() -> Result<Outbox, CreateError> {
        let object = lay_out(OUTBOX_TAG, 1, 0)?;
        object.become_kind(Kind::Parcel);
        Ok(Outbox(object))
    }

    /// The object behind it, for its handle.
    pub fn object(&self) -> &Object {
        &self.0
    }

    /// From the object behind it.
    ///
    /// # Errors
    ///
    /// [`OpenError::Incompatible`].
    pub fn from_object(object: Object) -> Result<Outbox, OpenError> {
        let object = object.expect_tag(OUTBOX_TAG, "an outbox")?;
        match object.kind() {
            Kind::Parcel => Ok(Outbox(object)),
            _ => Err(OpenError::Corrupt("what is tagged as an outbox is none")),
        }
    }

    /// Puts a stored parcel in. It is there for others once this returns.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    ///
    /// # Panics
    ///
    /// If it has been filled already.
    pub fn fill(&self, parcel: &Object) -> Result<(), CreateError> {
        append(&self.0, parcel)
    }

    /// What was put in, if anything yet. It stays in.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn content(&self) -> Result<Option<Object>, OpenError> {
        first(&self.0)
    }
}

impl TryFrom<Object> for Outbox {
    type Error = OpenError;

    fn try_from(object: Object) -> Result<Outbox, OpenError> {
        Outbox::from_object(object)
    }
}

impl From<Outbox> for Object {
    fn from(outbox: Outbox) -> Object {
        outbox.0
    }
}
