//! Who holds what: one bit for each (member, granule).
//!
//! A member's row is a directory, one entry for each MiB of the heap, that leads to blocks of 2 KiB,
//! one bit for each granule of that MiB. Blocks come with the first reference there and stay with
//! the slot, all zero between members. Everything here changes under the arena lock.
//!
//! The bit of an object is that of its first granule. At every moment the lock is free,
//! `count(object) == members with the bit + references in stored parcels and rings`.

use std::sync::atomic::Ordering;

use crate::alloc;
use crate::arena::{Arena, Locked};
use crate::error::CreateError;
use crate::layout::{DIRECTORY_AT, GRANULE, MIB, PAGE, directory_row, heap_at};
use crate::log::Transaction;
use crate::member::{self, MemberId};

/// Bytes of a block: a bit for each granule of a MiB.
pub(crate) const BLOCK: u64 = MIB / GRANULE / 8;

/// A bit of the ledger.
#[derive(Clone, Copy)]
pub(crate) struct Bit {
    word: u64,
    mask: u64,
}

impl Bit {
    pub(crate) fn is_set(self, arena: &'static Arena) -> bool {
        arena.word(self.word).load(Ordering::Relaxed) & self.mask != 0
    }

    pub(crate) fn set(self, change: &mut Transaction<'_>) {
        change.update(self.word, |word| word | self.mask);
    }

    pub(crate) fn clear(self, change: &mut Transaction<'_>) {
        change.update(self.word, |word| word & !self.mask);
    }
}

/// Which MiB of the heap an object lies in.
fn mib_of(arena: &'static Arena, object: u64) -> u64 {
    (object - heap_at(arena.len())) / MIB
}

/// The word of the directory that holds a member's entry for one MiB, and the entry's shift in it.
fn entry(arena: &'static Arena, member: MemberId, mib: u64) -> (u64, u32) {
    let row = DIRECTORY_AT + u64::from(member.index()) * directory_row(arena.len());
    (row + mib / 2 * 8, (mib % 2) as u32 * 32)
}

/// The block of a member for one MiB, if it has one.
fn block(arena: &'static Arena, member: MemberId, mib: u64) -> Option<u64> {
    if mib * 4
        >= member::slot(arena, member.index())
            .row
            .load(Ordering::Relaxed)
    {
        return None;
    }
    let (word, shift) = entry(arena, member, mib);
    let units = arena.word(word).load(Ordering::Relaxed) >> shift & u64::from(u32::MAX);
    let at = units * BLOCK;
    (at >= heap_at(arena.len()) && at + BLOCK <= arena.len()).then_some(at)
}

fn bit_in(block: u64, object: u64) -> Bit {
    let granule = object % MIB / GRANULE;
    Bit {
        word: block + granule / 64 * 8,
        mask: 1 << (granule % 64),
    }
}

/// The bit of (member, object), where the member's row reaches so far.
pub(crate) fn find(arena: &'static Arena, member: MemberId, object: u64) -> Option<Bit> {
    block(arena, member, mib_of(arena, object)).map(|block| bit_in(block, object))
}

/// The bit of (member, object), with memory behind it. May reserve; commits its own transaction, so
/// it comes before the one that uses the bit.
pub(crate) fn ensure(
    locked: &Locked<'_>,
    member: MemberId,
    object: u64,
) -> Result<Bit, CreateError> {
    let arena = locked.arena();
    let mib = mib_of(arena, object);
    if let Some(block) = block(arena, member, mib) {
        return Ok(bit_in(block, object));
    }
    let slot = member::slot(arena, member.index());
    let (word, shift) = entry(arena, member, mib);
    let row = slot.row.load(Ordering::Relaxed);
    let mut change = locked.begin();
    if mib * 4 >= row {
        let at = DIRECTORY_AT + u64::from(member.index()) * directory_row(arena.len());
        let needed = (mib * 4 + 1)
            .next_multiple_of(PAGE)
            .min(directory_row(arena.len()));
        arena.reserve(at + row, needed - row)?;
        change.set(locked.offset(&slot.row), needed);
    }
    let block = alloc::carve_block(locked, &mut change)?;
    change.update(word, |entry| {
        entry & !(u64::from(u32::MAX) << shift) | (block / BLOCK) << shift
    });
    change.commit();
    Ok(bit_in(block, object))
}

/// The first object a member holds at or after `from`, which is in the heap.
pub(crate) fn first_held(arena: &'static Arena, member: MemberId, from: u64) -> Option<u64> {
    let heap = heap_at(arena.len());
    let row = member::slot(arena, member.index())
        .row
        .load(Ordering::Relaxed);
    let carved = (alloc::carved(arena).end - heap).div_ceil(MIB);
    let begin = mib_of(arena, from);
    for mib in begin..carved.min(row / 4) {
        let Some(block) = block(arena, member, mib) else {
            continue;
        };
        let first = if mib == begin {
            from % MIB / GRANULE
        } else {
            0
        };
        if let Some(granule) = first_bit(arena, block, first) {
            return Some(heap + mib * MIB + granule * GRANULE);
        }
    }
    None
}

/// The first bit set in a block, from bit `first` on.
fn first_bit(arena: &'static Arena, block: u64, first: u64) -> Option<u64> {
    let mut mask = u64::MAX << (first % 64);
    for index in first / 64..BLOCK / 8 {
        let bits = arena.word(block + index * 8).load(Ordering::Relaxed) & mask;
        if bits != 0 {
            return Some(index * 64 + u64::from(bits.trailing_zeros()));
        }
        mask = u64::MAX;
    }
    None
}
