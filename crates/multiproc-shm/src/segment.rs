//! Shared memory that a user reads and writes as bytes: in the family arena, or by name.
//!
//! Owns which of the two a [`SharedMemory`] is, and that no access goes beyond its length. An anonymous
//! one is an object like any other, so it travels in every message and costs no descriptor. A named
//! one is a file (see [`named`]), which unrelated programs can open.

mod bytes;
mod header;
mod manager;
mod named;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use multiproc_sys::clock::Deadline;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{AccessError, CreateError, OpenError};
use crate::lock::RawLock;
use crate::object::{Kind, Object};

use bytes::{copy_in, copy_out};
use named::Named;

pub(crate) use bytes::checksum;
pub use manager::SharedMemoryManager;
pub(crate) use manager::remove_stale_after_death;

/// What a segment holds, and so how it may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Content {
    /// Whatever its users write.
    Bytes = 0,
    /// A [`ShareableList`](crate::ShareableList).
    List = 1,
}

impl Content {
    fn from_bits(bits: u32) -> Option<Content> {
        match bits {
            0 => Some(Content::Bytes),
            1 => Some(Content::List),
            _ => None,
        }
    }

    /// What an object in the arena must be.
    fn tag(self) -> u32 {
        u32::from_le_bytes(*match self {
            Content::Bytes => b"segm",
            Content::List => b"list",
        })
    }

    fn name(self) -> &'static str {
        match self {
            Content::Bytes => "shared memory",
            Content::List => "a shareable list",
        }
    }
}

/// A block of bytes that processes share.
///
/// An anonymous one ([`SharedMemory::create`]) belongs to the family: it travels inside values, and is
/// gone with its last holder. A named one ([`SharedMemory::create_named`]) can be opened by any program
/// of the same user, and stays until somebody calls [`SharedMemory::unlink`]. It travels inside values
/// as its name, and is opened where it arrives.
///
/// [`SharedMemory::read_at`] and [`SharedMemory::write_at`] are safe whatever the others do meanwhile;
/// bytes that somebody writes at that moment come out old or new, each for itself. For more than that,
/// agree with a lock.
///
/// # Examples
///
/// ```
/// use multiproc_shm::SharedMemory;
///
/// let memory = SharedMemory::create(4096)?;
/// memory.write_at(10, b"hello")?;
/// let mut bytes = [0; 5];
/// memory.read_at(10, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
///
/// let name = format!("example-{}", std::process::id());
/// let named = SharedMemory::create_named(&name, 100)?;
/// let same = SharedMemory::open(&name)?;
/// SharedMemory::unlink(&name)?;
/// named.write_at(0, &[7])?;
/// let mut byte = [0];
/// same.read_at(0, &mut byte)?;
/// assert_eq!(byte, [7]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// What it had written is there; of a `write_at` under way, perhaps a part. A named one whose maker is
/// killed inside `create_named` has its name and all its memory, or never existed. The name
/// outlives every process: see [`SharedMemoryManager`] for names that do not.
///
/// # Differences from Python
///
/// Opening never means deleting: nothing here tracks names and removes them behind your back, and a
/// drop only closes. There is no `close` and no `unlink` of a handle: drop it, and unlink by name. `len`
/// is what was asked for, not a multiple of the page. A segment holds a header before its bytes, so
/// Python's `SharedMemory` and ours do not open one another's.
///
/// # Platform notes
///
/// A named segment is a file in `/dev/shm`, readable by its user only. Its size cannot be sealed, so
/// another program of the same user could cut it: `read_at` and `write_at` then answer with an error,
/// touching the slice of [`SharedMemory::as_slice`] would end the process by SIGBUS. Anonymous ones
/// cannot be cut. A limit on file sizes (`RLIMIT_FSIZE`) applies to what is made *and* written.
#[derive(Clone)]
pub struct SharedMemory {
    place: Place,
    len: usize,
}

#[derive(Clone)]
enum Place {
    Arena(Object),
    Named(Arc<Named>),
}

impl SharedMemory {
    /// An anonymous block of `size` bytes, all zero.
    ///
    /// # Errors
    ///
    /// [`CreateError::NoSpace`], before any of it can be touched; [`CreateError::Invalid`] for a size of 0.
    pub fn create(size: usize) -> Result<SharedMemory, CreateError> {
        SharedMemory::prepare(None, size, Content::Bytes)
    }

    /// A block of `size` bytes, all zero, that other programs can open by `name`: 1 to 255 bytes
    /// without a slash.
    ///
    /// # Errors
    ///
    /// [`CreateError::Exists`] if the name is taken; [`CreateError::NoSpace`] if `/dev/shm` is full or
    /// `RLIMIT_FSIZE` too small, before any of it can be touched and without a name left behind;
    /// [`CreateError::Invalid`] for a name that cannot be one, and a size of 0.
    pub fn create_named(name: &str, size: usize) -> Result<SharedMemory, CreateError> {
        let memory = SharedMemory::prepare(Some(name), size, Content::Bytes)?;
        memory.publish()?;
        Ok(memory)
    }

    /// Memory that is complete but for what its maker writes first: nobody else can open it before it
    /// is published.
    pub(crate) fn prepare(
        name: Option<&str>,
        size: usize,
        content: Content,
    ) -> Result<SharedMemory, CreateError> {
        let place = match name {
            Some(name) => Place::Named(Named::create(name, check_size(size)?, content, false)?),
            None => Place::Arena(make_object(check_size(size)?, content)?),
        };
        Ok(SharedMemory { place, len: size })
    }

    pub(crate) fn publish(&self) -> Result<(), CreateError> {
        match &self.place {
            Place::Arena(_) => Ok(()),
            Place::Named(named) => named.publish(),
        }
    }

    /// The block that has this name.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotFound`] if there is none, [`OpenError::Incompatible`] if it was made by something
    /// else than this version of this library, by another user, or as another type;
    /// [`OpenError::Corrupt`] if it is damaged.
    pub fn open(name: &str) -> Result<SharedMemory, OpenError> {
        SharedMemory::open_as(name, Content::Bytes)
    }

    pub(crate) fn open_as(name: &str, content: Content) -> Result<SharedMemory, OpenError> {
        Ok(SharedMemory::from_named(Named::open(name, content)?))
    }

    fn from_named(named: Arc<Named>) -> SharedMemory {
        SharedMemory {
            len: named.len(),
            place: Place::Named(named),
        }
    }

    /// Takes the name away. Whoever has the block open keeps it; its memory is free after the last one.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotFound`] if there is no such name.
    pub fn unlink(name: &str) -> Result<(), OpenError> {
        named::unlink(name)
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none. It always has some.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its name, if it was made with one.
    pub fn name(&self) -> Option<&str> {
        match &self.place {
            Place::Arena(_) => None,
            Place::Named(named) => Some(named.name()),
        }
    }

    /// Copies the bytes from `offset` on into `into`.
    ///
    /// # Errors
    ///
    /// [`AccessError::OutOfBounds`] with nothing copied, if it has not so many bytes there;
    /// [`AccessError::Corrupt`] if a named one has been cut.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        self.check_bounds(offset, into.len())?;
        match &self.place {
            Place::Arena(object) => {
                copy_out(object, offset, into);
                Ok(())
            }
            Place::Named(named) => named.read_at(offset, into),
        }
    }

    /// Copies `from` to the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::read_at`]; [`AccessError::NoSpace`] beyond `RLIMIT_FSIZE`.
    pub fn write_at(&self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        self.check_bounds(offset, from.len())?;
        match &self.place {
            Place::Arena(object) => {
                copy_in(object, offset, from);
                Ok(())
            }
            Place::Named(named) => named.write_at(offset, from),
        }
    }

    fn check_bounds(&self, offset: usize, len: usize) -> Result<(), AccessError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(AccessError::OutOfBounds {
                offset,
                len,
                size: self.len,
            }),
        }
    }

    /// All of its bytes, in place. They begin at a multiple of 16, those of a named one at a page.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody writes to the bytes that are read through it, in this process or in
    /// another; and nobody cuts a named one (see the platform notes above).
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is mapped for `len` bytes and backed as long as `self` lives; that nobody
        // writes is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr(), self.len) }
    }

    /// As [`SharedMemory::as_slice`], to write.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody else reads or writes its bytes, in this process or in another, by
    /// this handle or another; and nobody cuts a named one.
    #[expect(
        clippy::mut_from_ref,
        reason = "a handle says nothing of who else has one; exclusion is the caller's promise"
    )]
    pub unsafe fn as_mut_slice(&self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; that nobody else uses the bytes is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start().as_ptr(), self.len) }
    }

    fn start(&self) -> NonNull<u8> {
        match &self.place {
            Place::Arena(object) => {
                let lock = match object.kind() {
                    Kind::Locked => size_of::<RawLock>(),
                    _ => 0,
                };
                // SAFETY: an object with a lock begins with it, so its payload is longer.
                unsafe { object.payload().add(lock) }
            }
            Place::Named(named) => named.start(),
        }
    }

    /// Keeps all others out of here, for types that have a protocol of their own in a segment.
    pub(crate) fn exclusive(&self) -> Result<impl Sized, AccessError> {
        Ok(match &self.place {
            // Without a deadline, only the number of locks this thread holds is in the way.
            Place::Arena(object) => match object.lock().lock(Deadline::NEVER) {
                Ok(held) => (Some(held), None),
                Err(_) => return Err(AccessError::TooManyLocks),
            },
            Place::Named(named) => (None, Some(named.write_lock()?)),
        })
    }
}

fn check_size(size: usize) -> Result<usize, CreateError> {
    if size == 0 {
        return Err(CreateError::Invalid(
            "shared memory of 0 bytes holds nothing; give it at least 1".into(),
        ));
    }
    Ok(size)
}

fn make_object(size: usize, content: Content) -> Result<Object, CreateError> {
    let too_large = || CreateError::Invalid(format!("{size} bytes are more than there can be"));
    match content {
        Content::Bytes => Object::create(Kind::Plain, content.tag(), size, |_| {}),
        Content::List => {
            let len = size
                .checked_add(size_of::<RawLock>())
                .ok_or_else(too_large)?;
            Object::create(Kind::Locked, content.tag(), len, |_| {})
        }
    }
}

/// How one travels.
#[derive(Serialize, Deserialize)]
enum Sent {
    Arena { object: Object, len: u64 },
    Named { name: String, id: u64 },
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sent = match &self.place {
            Place::Arena(object) => Sent::Arena {
                object: object.clone(),
                len: self.len as u64,
            },
            Place::Named(named) => Sent::Named {
                name: named.name().to_owned(),
                id: named.id(),
            },
        };
        sent.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedMemory, D::Error> {
        SharedMemory::receive(deserializer, Content::Bytes)
    }
}

impl SharedMemory {
    pub(crate) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
        content: Content,
    ) -> Result<SharedMemory, D::Error> {
        let memory = match Sent::deserialize(deserializer)? {
            Sent::Arena { object, len } => SharedMemory::from_object(object, len, content),
            Sent::Named { name, id } => {
                Named::receive(&name, id, content).map(SharedMemory::from_named)
            }
        };
        memory.map_err(D::Error::custom)
    }

    fn from_object(object: Object, len: u64, content: Content) -> Result<SharedMemory, OpenError> {
        let object = object.expect_tag(content.tag(), content.name())?;
        let kind = match content {
            Content::Bytes => Kind::Plain,
            Content::List => Kind::Locked,
        };
        if object.kind() != kind || len > object.bytes().len() as u64 {
            return Err(OpenError::Corrupt("a block is longer than its place"));
        }
        Ok(SharedMemory {
            place: Place::Arena(object),
            len: len as usize,
        })
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("len", &self.len)
            .finish()
    }
}
