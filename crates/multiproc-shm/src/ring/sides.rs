//! What the two sides of a ring ask of it without its locks, and what it is told when one of them is gone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{ALIGN, BellLine, Control, Cursor, Ring, units_of};
use crate::arena::Arena;
use crate::bell::Bell;

impl Ring {
    /// A second word for the layer above; 0 in a new ring.
    #[inline]
    pub fn word(&self) -> &AtomicU64 {
        &self.control().word
    }

    /// Whether a frame of `body` bytes would find room now; 24 are a reference.
    pub fn has_room(&self, body: usize) -> bool {
        let head = Cursor::unpack(self.control().head.cursor.load(Ordering::Acquire));
        let tail = Cursor::unpack(self.control().tail.cursor.load(Ordering::Acquire));
        let units = units_of(body);
        let until_end = self.until_end(tail.units);
        let skip = if units > until_end { until_end } else { 0 };
        let taken = tail.units.wrapping_sub(head.units);
        taken <= self.capacity && skip + units <= self.capacity - taken
    }
}

/// Tells the ring at `payload` that one side of it is gone: sets `bits` in its state, and wakes whoever
/// sleeps at its bells. Again does no harm.
///
/// Under the arena lock, by whoever takes the ring back from a dying end: the ring lives.
pub(crate) fn tell(arena: &'static Arena, payload: u64, bits: u32) {
    let control = payload.next_multiple_of(ALIGN as u64);
    let at = |offset: usize| control + offset as u64;
    // SAFETY: callers have a live ring's payload, which has an initialised control block there; its
    // fields are atomics and bells, at their offsets.
    let (state, items, space) = unsafe {
        (
            arena.view::<AtomicU32>(at(std::mem::offset_of!(Control, state))),
            arena.view::<BellLine>(at(std::mem::offset_of!(Control, items))),
            arena.view::<BellLine>(at(std::mem::offset_of!(Control, space))),
        )
    };
    // SYNC POINT ends: what this side had pushed is there for whoever sees the bit.
    state.fetch_or(bits, Ordering::AcqRel);
    for BellLine(bell) in [items, space] {
        Bell::ring_all(bell);
    }
}
