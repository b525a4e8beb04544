//! References to objects: counted per process in private memory, once per process in the arena.
//!
//! Only a process's first and last reference touch shared memory. `HELD` counts, per object, the
//! *arrivals* in this process (created, received, claimed); clones share one arrival by an `Arc`.
//! Its lock is held across the arena transaction, so that for the threads of the process the count
//! and the ledger bit change as one. Order: an object's own locks, `HELD`, the arena lock.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multiproc_wire::codec;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::alloc;
use crate::arena::{self, Arena, Locked};
use crate::bell::Bell;
use crate::error::{CreateError, OpenError};
use crate::files;
use crate::layout::GRANULE;
use crate::ledger;
use crate::lock::RawLock;
use crate::member::{self, MemberId};
use crate::ring;

/// Whether an object holds references of its own, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It holds none.
    Plain = 0,
    /// A [`parcel`](crate::parcel).
    Parcel = 1,
    /// A [`Ring`](crate::Ring) at the start of its payload.
    Ring = 2,
    /// It holds none, and begins with a [`RawLock`].
    Locked = 3,
    /// It holds one ring, which is told when it dies: an [`End`](crate::End).
    End = 4,
}

impl Kind {
    pub(crate) fn from_bits(bits: u8) -> Kind {
        match bits {
            1 => Kind::Parcel,
            2 => Kind::Ring,
            3 => Kind::Locked,
            4 => Kind::End,
            _ => Kind::Plain,
        }
    }
}

/// An object as plain data: what travels. It holds nothing; see [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    pub(crate) family: u64,
    pub(crate) offset: u64,
    pub(crate) generation: u32,
    pub(crate) tag: u32,
}

impl Handle {
    /// As words, for messages.
    pub fn to_words(self) -> [u64; 3] {
        let last = u64::from(self.generation) << 32 | u64::from(self.tag);
        [self.family, self.offset, last]
    }

    /// From [`Handle::to_words`]. Any words give a handle; a wrong one is refused when it is used.
    pub fn from_words([family, offset, last]: [u64; 3]) -> Handle {
        Handle {
            family,
            offset,
            generation: (last >> 32) as u32,
            tag: last as u32,
        }
    }

    /// The object's offset, if the handle names one that is live. Content is not trusted: call it
    /// under the arena lock where the answer must stay true.
    pub(crate) fn valid_in(self, arena: &'static Arena) -> Option<u64> {
        let header = arena.header();
        let carved = alloc::carved(arena);
        let plausible = self.family == header.family.load(Ordering::Relaxed)
            && self.offset.is_multiple_of(GRANULE)
            && carved.contains(&self.offset);
        let head = plausible.then(|| alloc::head(arena, self.offset))?;
        let same = head.generation == self.generation && head.tag == self.tag;
        let inside = self
            .offset
            .checked_add(head.size())
            .is_some_and(|end| end <= carved.end);
        (same && inside && head.status == alloc::LIVE).then_some(self.offset)
    }
}

/// How often each object has arrived in this process. A child made by fork uses it, and the standard
/// library's lock keeps nothing outside itself that another thread may have locked at that moment.
static HELD: Mutex<Option<HashMap<u64, u32>>> = Mutex::new(None);

/// [`HELD`], locked. Nothing panics under it.
fn held() -> MutexGuard<'static, Option<HashMap<u64, u32>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One arrival of an object in this process. The last one gives the process's reference back.
pub(crate) struct Reference {
    arena: &'static Arena,
    handle: Handle,
    payload: NonNull<u8>,
    len: usize,
    /// The header's kind, which its maker sets once.
    kind: AtomicU8,
}

// SAFETY: the payload is shared memory that any thread of any process may reach; whoever reads or
// writes it synchronises by what lies in it. The other fields are plain data.
unsafe impl Send for Reference {}
// SAFETY: as for `Send`.
unsafe impl Sync for Reference {}

/// A reference to an object in the family arena.
///
/// Clones are private to the process and cheap. As a serde value it travels in every channel of
/// this library, and nowhere else.
///
/// # If a process dies
///
/// Its references are given back by the others; the object lives on while anybody holds it.
#[derive(Clone)]
pub struct Object(Arc<Reference>);

impl Object {
    /// Makes an object of `len` payload bytes. `init` gets the payload, zeroed; whatever it needs to
    /// know about alignment: the payload starts 16 bytes after a multiple of 64.
    ///
    /// # Errors
    ///
    /// [`CreateError::NoSpace`] with nothing left behind; [`CreateError::Invalid`] for a container,
    /// which only its own type makes.
    pub fn create(
        kind: Kind,
        tag: u32,
        len: usize,
        init: impl FnOnce(NonNull<u8>),
    ) -> Result<Object, CreateError> {
        let len = match kind {
            Kind::Plain => len,
            Kind::Locked => len.max(size_of::<RawLock>()),
            Kind::Parcel | Kind::Ring | Kind::End => {
                return Err(CreateError::Invalid(format!(
                    "{kind:?} objects have their own maker"
                )));
            }
        };
        let object = Object::create_raw(tag, len)?;
        // All of it, as `words` shows all of it.
        // SAFETY: the payload is mapped, that long and backed, and nobody else knows of it yet.
        unsafe { object.payload().write_bytes(0, object.len()) };
        init(object.payload());
        object.become_kind(kind);
        Ok(object)
    }

    /// Makes an object whose payload holds anything. It gives no references back until
    /// [`Object::become_kind`].
    pub(crate) fn create_raw(tag: u32, len: usize) -> Result<Object, CreateError> {
        let arena = arena::get()?;
        let me = member::me()?;
        let mut held = self::held();
        let (offset, head) = alloc::create(arena, me, len, tag)?;
        held.get_or_insert_default().insert(offset, 1);
        drop(held);
        let family = arena.header().family.load(Ordering::Relaxed);
        let handle = Handle {
            family,
            offset,
            generation: head.generation,
            tag,
        };
        Ok(Object::arrived(arena, handle, &head))
    }

    /// Says, once its payload is complete, which references the object holds. By its maker only.
    pub(crate) fn become_kind(&self, kind: Kind) {
        let first = self.0.arena.word(self.offset());
        let plain = first.load(Ordering::Relaxed) & !(0xFF << 8);
        // The maker is its only holder: no transaction can be changing this word.
        first.store(plain | u64::from(kind as u8) << 8, Ordering::Release);
        self.0.kind.store(kind as u8, Ordering::Relaxed);
    }

    fn arrived(arena: &'static Arena, handle: Handle, head: &alloc::Head) -> Object {
        let before = head.before_payload();
        let payload = arena.at(handle.offset + before);
        let len = alloc::payload_len(arena, handle.offset, head);
        Object(Arc::new(Reference {
            arena,
            handle,
            payload,
            len,
            kind: AtomicU8::new(head.kind),
        }))
    }

    /// Its first payload byte. Valid while any clone lives; other processes use it, too.
    #[inline]
    pub fn payload(&self) -> NonNull<u8> {
        self.0.payload
    }

    /// How many payload bytes it has: what was asked for, or more.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has no payload. It always has some.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// What its user says it is.
    pub fn tag(&self) -> u32 {
        self.0.handle.tag
    }

    /// Its kind.
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::from_bits(self.0.kind.load(Ordering::Relaxed))
    }

    /// As plain data.
    pub fn handle(&self) -> Handle {
        self.0.handle
    }

    /// Whether both are the same object.
    pub fn is(&self, other: &Object) -> bool {
        self.0.handle == other.0.handle
    }

    /// The content as words, which is how code without `unsafe` shares memory: the whole payload, or
    /// what follows the lock.
    ///
    /// # Panics
    ///
    /// If the object is a container, which has a layout of its own.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        let lock = match self.kind() {
            Kind::Plain => 0,
            Kind::Locked => size_of::<RawLock>(),
            kind => panic!("{kind:?} objects have no words to share"),
        };
        let len = (self.len() - lock) / 8;
        // SAFETY: the payload is `len` bytes, backed, 8-aligned (16 or 64 bytes after a multiple of
        // 64) as is the lock's length, mapped for the life of the process, and changed by others
        // only as atomics; an atomic is valid for any bits.
        unsafe { std::slice::from_raw_parts(self.payload().add(lock).cast().as_ptr(), len) }
    }

    /// The content as half words, for futexes.
    ///
    /// # Panics
    ///
    /// As [`Object::words`].
    pub fn half_words(&self) -> &[AtomicU32] {
        let words = self.words();
        // SAFETY: the same memory, seen in halves: each is aligned and an atomic.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 2) }
    }

    /// The content as quarters of words.
    ///
    /// # Panics
    ///
    /// As [`Object::words`].
    pub fn quarter_words(&self) -> &[AtomicU16] {
        let words = self.words();
        // SAFETY: as in `half_words`.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 4) }
    }

    /// The content as bytes.
    ///
    /// # Panics
    ///
    /// As [`Object::words`].
    pub fn bytes(&self) -> &[AtomicU8] {
        let words = self.words();
        // SAFETY: as in `half_words`.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
    }

    /// The half word at `index` of [`Object::half_words`] as a bell.
    ///
    /// # Panics
    ///
    /// As [`Object::words`], and if the object has no such half word.
    #[inline]
    pub fn bell(&self, index: usize) -> &Bell {
        Bell::at(&self.half_words()[index])
    }

    /// The lock that a [`Kind::Locked`] object begins with.
    ///
    /// # Panics
    ///
    /// If the object is of another kind.
    #[inline]
    pub fn lock(&self) -> &RawLock {
        assert!(self.kind() == Kind::Locked, "the object has no lock");
        // SAFETY: the payload of such an object begins with a lock (zeroed when it was made, and in
        // no view of `words`), 8-aligned, mapped for the life of the process.
        unsafe { self.payload().cast::<RawLock>().as_ref() }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.0.handle.offset
    }

    pub(crate) fn arena(&self) -> &'static Arena {
        self.0.arena
    }

    pub(crate) fn into_attachment(self) -> Arc<dyn Any + Send + Sync> {
        self.0
    }

    pub(crate) fn from_attachment(attachment: Arc<dyn Any + Send + Sync>) -> Option<Object> {
        attachment.downcast::<Reference>().ok().map(Object)
    }

    /// Requires the tag an object must have to be what its user takes it for.
    ///
    /// # Errors
    ///
    /// [`OpenError::Incompatible`].
    pub fn expect_tag(self, tag: u32, what: &str) -> Result<Object, OpenError> {
        if self.tag() == tag {
            return Ok(self);
        }
        Err(OpenError::Incompatible {
            ours: format!("{what} (tag {tag:#x})"),
            theirs: format!("an object with tag {:#x}", self.tag()),
        })
    }
}

impl Reference {
    /// Whether a thread of this process holds a lock that lies in the object.
    fn has_lock_held_here(&self) -> bool {
        match Kind::from_bits(self.kind.load(Ordering::Relaxed)) {
            Kind::Plain | Kind::Parcel | Kind::End => false,
            // SAFETY: as in `Object::lock`; this reference still keeps the object.
            Kind::Locked => unsafe { self.payload.cast::<RawLock>().as_ref() }.is_held_here(),
            Kind::Ring => ring::is_locked_here(self.payload, self.len),
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // A foreign fork holds nothing: the bit is its parent's.
        let Ok(me) = member::me() else { return };
        let mut held = self::held();
        let Some(Entry::Occupied(mut arrivals)) =
            held.as_mut().map(|held| held.entry(self.handle.offset))
        else {
            return;
        };
        *arrivals.get_mut() -= 1;
        if *arrivals.get() > 0 {
            return;
        }
        arrivals.remove();
        // A thread of ours has leaked the guard of a lock in here. The kernel's list leads to it, so
        // its memory must not be used again before that thread has ended; our bit keeps it until
        // this process has.
        if !self.has_lock_held_here() {
            alloc::release(self.arena, me, self.handle.offset);
        }
        // Not under our lock: it may close files, which may take its time.
        drop(held);
        files::tell_of_freed();
    }
}

/// Takes a reference of its own to what `handle` names, which somebody else keeps alive meanwhile.
pub(crate) fn open(arena: &'static Arena, handle: Handle) -> Result<Object, OpenError> {
    arrive(arena, handle, |locked, me, offset| {
        let bit = ledger::ensure(locked, me, offset)?;
        if !bit.is_set(arena) {
            let mut change = locked.begin();
            bit.set(&mut change);
            alloc::count_up(&mut change, offset);
            change.commit();
        }
        Ok(())
    })
}

/// Takes over the reference that the parent has set in this process's row.
pub(crate) fn claim(arena: &'static Arena, handle: Handle) -> Result<Object, OpenError> {
    arrive(arena, handle, |_, me, offset| {
        match ledger::find(arena, me, offset) {
            Some(bit) if bit.is_set(arena) => Ok(()),
            _ => Err(OpenError::NotFound),
        }
    })
}

/// Takes over a reference from a message: `commit` moves the message's cursor in the same
/// transaction.
pub(crate) fn receive(
    arena: &'static Arena,
    handle: Handle,
    commit: impl FnOnce(&mut crate::log::Transaction<'_>),
) -> Result<Object, OpenError> {
    arrive(arena, handle, |locked, me, offset| {
        let bit = ledger::ensure(locked, me, offset)?;
        let mut change = locked.begin();
        commit(&mut change);
        if bit.is_set(arena) {
            alloc::count_down(&mut change, offset);
        } else {
            bit.set(&mut change);
        }
        change.commit();
        Ok(())
    })
}

fn arrive(
    arena: &'static Arena,
    handle: Handle,
    take: impl FnOnce(&Locked<'_>, MemberId, u64) -> Result<(), OpenError>,
) -> Result<Object, OpenError> {
    let me = member::me()?;
    let mut held = self::held();
    let locked = arena.lock_for_create()?;
    let offset = handle.valid_in(arena).ok_or(OpenError::NotFound)?;
    take(&locked, me, offset)?;
    let head = alloc::head(arena, offset);
    drop(locked);
    *held.get_or_insert_default().entry(offset).or_insert(0) += 1;
    drop(held);
    Ok(Object::arrived(arena, handle, &head))
}

/// Sets a reference to the object in another member's row.
pub(crate) fn endow(object: &Object, heir: MemberId) -> Result<(), CreateError> {
    let locked = object.arena().lock_for_create()?;
    endow_locked(&locked, object.offset(), heir)
}

fn endow_locked(locked: &Locked<'_>, offset: u64, heir: MemberId) -> Result<(), CreateError> {
    let bit = ledger::ensure(locked, heir, offset)?;
    if !bit.is_set(locked.arena()) {
        let mut change = locked.begin();
        bit.set(&mut change);
        alloc::count_up(&mut change, offset);
        change.commit();
    }
    Ok(())
}

/// Gives `heir`, a child about to be forked from this process, a reference to all this process
/// holds, and runs `fork` while no other thread can change that.
pub(crate) fn endow_all<R>(
    arena: &'static Arena,
    heir: MemberId,
    fork: impl FnOnce() -> R,
) -> Result<R, CreateError> {
    let held = self::held();
    let locked = arena.lock_for_create()?;
    for &offset in held.iter().flatten().map(|(offset, _)| offset) {
        endow_locked(&locked, offset, heir)?;
    }
    drop(locked);
    let result = fork();
    drop(held);
    Ok(result)
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Object({:#x}.{}, tag {:#x})",
            self.offset(),
            self.0.handle.generation,
            self.tag()
        )
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = codec::attach(self.clone().into_attachment()).map_err(S::Error::custom)?;
        index.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let attachment = codec::attached(index).map_err(D::Error::custom)?;
        Object::from_attachment(attachment).ok_or_else(|| {
            D::Error::custom("the message carries something else than a shared object here")
        })
    }
}
