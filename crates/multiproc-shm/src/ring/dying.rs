//! A ring that nobody holds any more: its frames are walked by offset, under the arena lock, and the
//! references in them given back.
//!
//! Content is not trusted here either: the walk ends where a frame cannot be true.

use std::sync::atomic::Ordering;

use super::{ALIGN, CONTROL, Control, Cursor, REFERENCE, SKIP, UNIT, units_of};
use crate::arena::Arena;
use crate::log::Transaction;
use crate::object::Handle;

/// A dying ring's control block, if its payload can be one: with its capacity.
fn dying_ring(arena: &'static Arena, payload: u64, room: u64) -> Option<(u64, u32)> {
    room.checked_sub((ALIGN + CONTROL) as u64)?;
    let at = payload.next_multiple_of(ALIGN as u64);
    let left = room - (at - payload) - CONTROL as u64;
    let capacity = arena.word(at).load(Ordering::Relaxed);
    let fits = capacity.is_power_of_two() && capacity <= left / UNIT as u64;
    fits.then_some((at, u32::try_from(capacity).ok()?))
}

/// Takes the reference of the next frame out of a dying ring; `None` once no frame has one. Frames
/// of bytes on the way are passed over.
pub(crate) fn take_back(
    arena: &'static Arena,
    change: &mut Transaction<'_>,
    payload: u64,
    room: u64,
) -> Option<Handle> {
    let (at, _) = dying_ring(arena, payload, room)?;
    let head_at = at + std::mem::offset_of!(Control, head) as u64;
    let (next, handle) = walk(arena, payload, room, change.get(head_at))
        .find_map(|(next, handle)| handle.map(|handle| (next, handle)))?;
    change.set(head_at, next);
    Some(handle)
}

/// The references in a live ring, for audits.
pub(crate) fn owned(arena: &'static Arena, payload: u64, room: u64) -> Vec<Handle> {
    let Some((at, _)) = dying_ring(arena, payload, room) else {
        return Vec::new();
    };
    let head = arena.word(at + std::mem::offset_of!(Control, head) as u64);
    walk(arena, payload, room, head.load(Ordering::Relaxed))
        .filter_map(|(_, handle)| handle)
        .collect()
}

/// The frames from `head` to the tail: the cursor after each, and its reference if it has one.
fn walk(
    arena: &'static Arena,
    payload: u64,
    room: u64,
    head: u64,
) -> impl Iterator<Item = (u64, Option<Handle>)> {
    let ring = dying_ring(arena, payload, room);
    let mut at = Cursor::unpack(head);
    std::iter::from_fn(move || {
        let (control, capacity) = ring?;
        let tail_at = control + std::mem::offset_of!(Control, tail) as u64;
        let tail = Cursor::unpack(arena.word(tail_at).load(Ordering::Acquire));
        let mut skipped = false;
        loop {
            let left = tail.units.wrapping_sub(at.units);
            if left == 0 || left > capacity {
                return None;
            }
            let index = at.units & (capacity - 1);
            let unit = control + CONTROL as u64 + u64::from(index) * UNIT as u64;
            let header = arena.word(unit).load(Ordering::Relaxed);
            let (len, kind) = (header as u32, (header >> 32) as u32);
            if kind == SKIP && !skipped {
                at = at.after(capacity - index, 0);
                skipped = true;
                continue;
            }
            let units = units_of(len as usize);
            if units > capacity - index || units > left {
                return None;
            }
            at = at.after(units, 1);
            let handle = (kind == REFERENCE && len as usize == size_of::<[u64; 3]>()).then(|| {
                Handle::from_words(
                    [8, 16, 24].map(|step| arena.word(unit + step).load(Ordering::Relaxed)),
                )
            });
            return Some((at.pack(), handle));
        }
    })
}
