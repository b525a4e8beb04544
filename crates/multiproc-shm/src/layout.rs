//! Where everything lies in the arena. Offsets are from its first byte.
//!
//! | region | size | memory is reserved |
//! |---|---|---|
//! | [`Header`] | one page | when the arena is made |
//! | members: [`MEMBERS`] slots | 512 KiB | by the page, when a slot is first used |
//! | threads: [`THREADS`] slots | 1 MiB | by the page, when a slot is first used |
//! | ledger directory: a row per member | 4 B per member and MiB of arena | by the page |
//! | heap: objects and ledger blocks | the rest | by the chunk |

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU32, AtomicU64};

use multiproc_sys::robust::Word;

use crate::alloc::CLASSES;
use crate::log::Log;
use crate::member::Slot;
use crate::sleep::ThreadSlot;

/// `b"mpArena"` and the version of this layout.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"mpArena\x01");

/// The unit of the ledger: one bit per member stands for the object that starts in it.
pub(crate) const GRANULE: u64 = 64;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const MIB: u64 = 1 << 20;

/// Processes alive at once in one family.
pub(crate) const MEMBERS: u32 = 4_096;

/// Threads asleep at once in one family.
pub(crate) const THREADS: u32 = 16_384;

/// Below this the fixed regions leave no useful heap.
pub(crate) const LEAST: u64 = 16 * MIB;

/// The largest arena: address space only, memory comes with use.
pub(crate) const MOST: u64 = 64 << 30;

/// The first page of the arena.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) len: AtomicU64,
    /// Random; part of every handle, so that one from another family is refused.
    pub(crate) family: AtomicU64,
    _pad: [u64; 5],
    /// The arena lock: everything below, every object header and every ledger bit changes under it.
    pub(crate) lock: Word,
    _pad2: [u64; 3],
    /// First byte of the heap that was never carved.
    pub(crate) next: AtomicU64,
    /// Bytes in live and dying objects.
    pub(crate) used: AtomicU64,
    /// Bytes of memory behind free objects larger than a chunk.
    pub(crate) idle: AtomicU64,
    /// First of the objects whose references are still to be given back, or 0.
    pub(crate) dying: AtomicU64,
    /// Member slots ever used.
    pub(crate) members: AtomicU64,
    /// Thread slots ever used.
    pub(crate) threads: AtomicU64,
    /// Per size class: first free object, or 0.
    pub(crate) free: [AtomicU64; CLASSES],
    /// Per size class: what is left of its current chunk.
    pub(crate) chunk: [AtomicU64; CLASSES],
    pub(crate) chunk_end: [AtomicU64; CLASSES],
    pub(crate) log: Log,
    /// Counts deaths; it wraps. Who sleeps on several words sleeps on this one, too. Moved, and its
    /// sleepers woken, by whoever buries a member; killed in between, its own death does it.
    pub(crate) deaths: AtomicU32,
    /// Not 0 once a parcel with open files has been stored in this family.
    pub(crate) files: AtomicU32,
    /// Not 0 once a member has managed named segments, which go at its death.
    pub(crate) managers: AtomicU32,
}

const HEADER_LEN: u64 = 8 * 1024;
const _: () = assert!(size_of::<Header>() as u64 <= HEADER_LEN);
const _: () = assert!(offset_of!(Header, lock) % 64 == 0);

pub(crate) const MEMBERS_AT: u64 = HEADER_LEN;
pub(crate) const THREADS_AT: u64 = MEMBERS_AT + MEMBERS as u64 * size_of::<Slot>() as u64;
pub(crate) const DIRECTORY_AT: u64 = THREADS_AT + THREADS as u64 * size_of::<ThreadSlot>() as u64;
pub(crate) const HEADER_RESERVED: u64 = HEADER_LEN;

const _: () = assert!(MEMBERS_AT.is_multiple_of(PAGE) && THREADS_AT.is_multiple_of(PAGE));
const _: () = assert!(DIRECTORY_AT.is_multiple_of(PAGE));

/// Bytes of one member's row in the ledger directory: 4 for each MiB of an arena of `len` bytes,
/// and whole pages once there is more than one.
pub(crate) const fn directory_row(len: u64) -> u64 {
    let bytes = len.div_ceil(MIB) * 4;
    if bytes <= 64 {
        64
    } else {
        bytes.next_power_of_two()
    }
}

/// First byte of the heap in an arena of `len` bytes.
pub(crate) const fn heap_at(len: u64) -> u64 {
    (DIRECTORY_AT + MEMBERS as u64 * directory_row(len)).next_multiple_of(MIB)
}
