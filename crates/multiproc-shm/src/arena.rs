//! The arena: the one mapping, its lock, and how a process comes by it.
//!
//! Not here: what lies in it (see `alloc`, `member`, `ledger`).

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use multiproc_sys::Errno;
use multiproc_sys::clock::Deadline;
use multiproc_sys::memory::{self, Mapping, SharedFile};
use multiproc_sys::random;
use multiproc_sys::robust::MOST_HELD_INSIDE;

use crate::error::{CreateError, OpenError};
use crate::layout::{self, Header};
use crate::lock::{self, LockError};
use crate::log::{self, Transaction};
use crate::own::Own;
use crate::sweep;

/// The family arena as this process has mapped it: for the life of the process.
pub(crate) struct Arena {
    file: SharedFile,
    mapping: Mapping,
}

static ARENA: AtomicPtr<Arena> = AtomicPtr::new(std::ptr::null_mut());
/// A fork made while another thread makes the arena has none, and may make one.
static MAKING: Own<Mutex<()>> = Own::new();

fn making() -> MutexGuard<'static, ()> {
    MAKING.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The arena of this process's family, made now if this is the root and it has none.
#[inline]
pub(crate) fn get() -> Result<&'static Arena, CreateError> {
    match existing() {
        Some(arena) => Ok(arena),
        None => make(),
    }
}

/// The arena, where there is one.
#[inline]
pub(crate) fn existing() -> Option<&'static Arena> {
    // SAFETY: null, or a leaked `Arena` that was complete before its address was stored.
    unsafe { ARENA.load(Ordering::Acquire).as_ref() }
}

#[cold]
fn make() -> Result<&'static Arena, CreateError> {
    let _making = making();
    if let Some(arena) = existing() {
        return Ok(arena);
    }
    let arena: &'static Arena = Box::leak(Box::new(Arena::create()?));
    if let Err(error) = sweep::found_family(arena) {
        // SAFETY: the address comes from the leaked box above; nobody else has seen it: it was not
        // published, and a failed founding leaves no thread behind.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(arena).cast_mut()) });
        return Err(error);
    }
    // Only now, when this process is a member: who finds an arena may use it.
    ARENA.store(std::ptr::from_ref(arena).cast_mut(), Ordering::Release);
    Ok(arena)
}

/// Maps an arena that came from the parent. The process is not a member yet.
pub(crate) fn adopt(fd: OwnedFd) -> Result<(), OpenError> {
    let _making = making();
    if existing().is_some() {
        return Err(OpenError::Incompatible {
            ours: "a process without a family".into(),
            theirs: "one that has made shared objects already".into(),
        });
    }
    let os = |errno| OpenError::Os {
        doing: "mapping the family arena",
        errno,
    };
    let file = SharedFile::from_fd(fd).map_err(os)?;
    if file.len() < layout::LEAST {
        return Err(OpenError::Corrupt("the arena is too small"));
    }
    let mapping = file.map().map_err(os)?;
    let arena = Arena { file, mapping };
    let header = arena.header();
    if header.magic.load(Ordering::Acquire) != layout::MAGIC {
        return Err(OpenError::Incompatible {
            ours: format!("arena layout {:x}", layout::MAGIC),
            theirs: format!("{:x}", header.magic.load(Ordering::Relaxed)),
        });
    }
    if header.len.load(Ordering::Relaxed) != arena.file.len() {
        return Err(OpenError::Corrupt("the arena's length is not its file's"));
    }
    ARENA.store(Box::leak(Box::new(arena)), Ordering::Release);
    Ok(())
}

impl Arena {
    fn create() -> Result<Arena, CreateError> {
        let (file, mapping) = create_largest(wanted_len()?)?;
        let arena = Arena { file, mapping };
        let doing = "reserving the family arena";
        arena
            .file
            .reserve(0, layout::HEADER_RESERVED)
            .map_err(|errno| CreateError::from_errno(doing, errno))?;
        let header = arena.header();
        let len = arena.file.len();
        header.len.store(len, Ordering::Relaxed);
        header.family.store(random::u64() | 1, Ordering::Relaxed);
        header.next.store(layout::heap_at(len), Ordering::Relaxed);
        header.magic.store(layout::MAGIC, Ordering::Release);
        Ok(arena)
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping is at least `layout::LEAST` long, page-aligned, and lives as long as
        // `self`; every field of `Header` is an atomic or made of atomics, valid for any bits; its
        // pages are reserved, so touching them cannot fault.
        unsafe { self.mapping.start().cast::<Header>().as_ref() }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn len(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Whether `offset` names a whole aligned word of the arena.
    #[inline]
    pub(crate) fn holds_word(&self, offset: u64) -> bool {
        offset.is_multiple_of(8) && offset < self.len()
    }

    /// The word at `offset`, which lies in a reserved part of the arena.
    ///
    /// # Panics
    ///
    /// If `offset` is not that of an aligned word inside the arena.
    #[inline]
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(
            self.holds_word(offset),
            "offset {offset:#x} is not in the arena"
        );
        // SAFETY: aligned and inside the mapping (checked), which lives as long as `self`; an
        // atomic is valid for any bits.
        unsafe { self.at(offset).cast::<AtomicU64>().as_ref() }
    }

    /// The address of `offset`, which is inside the arena.
    #[inline]
    pub(crate) fn at(&self, offset: u64) -> NonNull<u8> {
        debug_assert!(offset <= self.len());
        // SAFETY: callers keep `offset` within the mapping, so the result stays in one allocation.
        unsafe { self.mapping.start().add(offset as usize) }
    }

    /// A structure of atomics at `offset`.
    ///
    /// # Safety
    ///
    /// `offset` is aligned for `T`, and `T` lies inside a reserved part of the arena that is used as
    /// a `T` by every process for ever; `T` is made of atomics (or of what only its lock's holder
    /// touches) and valid for any bits.
    #[inline]
    pub(crate) unsafe fn view<T>(&self, offset: u64) -> &T {
        // SAFETY: by the caller's promise.
        unsafe { self.at(offset).cast::<T>().as_ref() }
    }

    /// The offset of something that lies in the arena, or `None`.
    #[inline]
    pub(crate) fn offset_of<T>(&self, it: &T) -> Option<u64> {
        let address = std::ptr::from_ref(it).addr();
        let offset = address.checked_sub(self.mapping.start().addr().get())? as u64;
        (offset < self.len()).then_some(offset)
    }

    /// Puts memory behind the pages that hold the range.
    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<(), CreateError> {
        self.file.reserve(offset, len).map_err(|errno| match errno {
            Errno::ENOSPC | Errno::ENOMEM => CreateError::NoSpace(
                "the machine has no memory left for another shared object".into(),
            ),
            errno => CreateError::from_errno("reserving shared memory", errno),
        })
    }

    /// Gives the memory of a range back; its bytes read as zero.
    pub(crate) fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.file.punch(offset, len)
    }

    /// Takes the arena lock, replaying what a dead holder had committed.
    ///
    /// Under it: nothing that allocates, blocks or can panic, except reserving a chunk.
    pub(crate) fn lock(&'static self, deadline: Deadline) -> Result<Locked<'static>, LockError> {
        if lock::take(&self.header().lock, deadline, MOST_HELD_INSIDE)?.is_after_death() {
            log::replay(self);
        }
        Ok(Locked {
            arena: self,
            _here: PhantomData,
        })
    }

    /// As [`Arena::lock`], for a caller that has no deadline of its own.
    pub(crate) fn lock_for_create(&'static self) -> Result<Locked<'static>, CreateError> {
        self.lock(Deadline::NEVER)
            .map_err(|error| CreateError::Limit(error.to_string()))
    }

    /// Makes sure that nothing a dead process had committed is still to be applied.
    ///
    /// Whoever gets any other lock after a death calls this before it believes a word: the dead may
    /// have held both.
    pub(crate) fn settle(&'static self) {
        drop(self.lock(Deadline::NEVER));
    }
}

/// The arena lock, held by this thread.
pub(crate) struct Locked<'a> {
    arena: &'static Arena,
    // Locks belong to the thread that took them.
    _here: PhantomData<(&'a (), *const ())>,
}

impl Locked<'_> {
    pub(crate) fn arena(&self) -> &'static Arena {
        self.arena
    }

    pub(crate) fn header(&self) -> &'static Header {
        self.arena.header()
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// The offset of a word of the header, for transactions.
    pub(crate) fn offset<T>(&self, it: &T) -> u64 {
        self.arena
            .offset_of(it)
            .expect("the word lies in the arena")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.arena.header().lock.release();
    }
}

/// How large an arena this process may have.
fn wanted_len() -> Result<u64, CreateError> {
    let mut len = layout::MOST
        .min(memory::file_size_limit())
        .min(memory::address_space_limit() / 4);
    if let Some(text) = std::env::var_os("MULTIPROC_ARENA_MAX") {
        let limit = text.to_str().and_then(|text| text.trim().parse().ok());
        let Some(limit) = limit else {
            return Err(CreateError::Invalid(format!(
                "MULTIPROC_ARENA_MAX is {}; give a number of bytes",
                text.to_string_lossy()
            )));
        };
        len = len.min(limit);
    }
    let len = len / layout::PAGE * layout::PAGE;
    if len < layout::LEAST {
        return Err(too_small(len));
    }
    Ok(len)
}

fn too_small(len: u64) -> CreateError {
    CreateError::NoSpace(format!(
        "shared memory needs a file of at least {} MiB and may have {} KiB; raise RLIMIT_FSIZE (ulimit -f), \
         RLIMIT_AS (ulimit -v, a quarter is used) or MULTIPROC_ARENA_MAX, whichever is the smallest",
        layout::LEAST / layout::MIB,
        len / 1024
    ))
}

/// Makes and maps a file of `len` bytes, or of the largest half, quarter .. that maps.
fn create_largest(mut len: u64) -> Result<(SharedFile, Mapping), CreateError> {
    loop {
        let file = SharedFile::create("multiproc-arena", len)
            .map_err(|errno| CreateError::from_errno("making the family arena", errno))?;
        match file.map() {
            Ok(mapping) => return Ok((file, mapping)),
            Err(Errno::ENOMEM) if len / 2 >= layout::LEAST => {
                len = len / 2 / layout::PAGE * layout::PAGE;
            }
            Err(errno) => {
                return Err(CreateError::from_errno("mapping the family arena", errno));
            }
        }
    }
}
