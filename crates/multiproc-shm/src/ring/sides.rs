//! What the two sides of a ring ask of it without its locks, and what it is told when one of them is gone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::{
    ALIGN, BellLine, Control, Cursor, FRAME_HEADER, REFERENCE, REFERENCE_UNITS, Ring, read_header,
    read_reference, units_of,
};
use crate::arena::Arena;
use crate::bell::Bell;
use crate::error::OpenError;
use crate::object::{self, Object};

impl Ring {
    /// A second word for the layer above; 0 in a new ring.
    #[inline]
    pub fn word(&self) -> &AtomicU64 {
        &self.control().word
    }

    /// How many frames of `body` bytes might find room now; 24 are a reference. Never 0 if one would.
    pub fn room_for(&self, body: usize) -> usize {
        let head = Cursor::unpack(self.control().head.cursor.load(Ordering::Acquire));
        let tail = Cursor::unpack(self.control().tail.cursor.load(Ordering::Acquire));
        let units = units_of(body);
        let until_end = self.until_end(tail.units);
        let skip = if units > until_end { until_end } else { 0 };
        let taken = tail.units.wrapping_sub(head.units);
        let free = self.capacity.saturating_sub(taken);
        (free.saturating_sub(skip) / units) as usize
    }

    /// What the first frame refers to, in a ring of nothing but references, and where the head's cursor
    /// stands there. `None` in an empty one.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be reached.
    pub fn first_reference(&self) -> Result<Option<(u64, Object)>, OpenError> {
        self.reference_at(|ring| {
            let (head, _) = ring.positions();
            (head, Cursor::unpack(head).units)
        })
    }

    /// Likewise of the last frame, and where the tail's cursor stands behind it. Only where the last is
    /// never taken.
    ///
    /// # Errors
    ///
    /// As [`Ring::first_reference`].
    pub fn last_reference(&self) -> Result<Option<(u64, Object)>, OpenError> {
        self.reference_at(|ring| {
            let (_, tail) = ring.positions();
            let units = Cursor::unpack(tail).units;
            (tail, units.wrapping_sub(REFERENCE_UNITS))
        })
    }

    /// The reference at a place that is true while its cursor stands still. Nobody is waited for: a frame
    /// is written over only after that cursor has moved.
    fn reference_at(
        &self,
        place: impl Fn(&Ring) -> (u64, u32),
    ) -> Result<Option<(u64, Object)>, OpenError> {
        loop {
            if self.is_empty() {
                return Ok(None);
            }
            let (cursor, units) = place(self);
            // Frames of references never meet the end of the ring: each is two of its even number of units.
            let is_reference = read_header(self, units)[1] == REFERENCE;
            // SAFETY: the unit is in the ring, and the body starts 8 bytes into its 16; the place is even,
            // as the ring's length is, so that the unit after it, with the rest, is in the ring too.
            let handle = read_reference(unsafe { self.unit(units & !1).add(FRAME_HEADER) });
            let opened = match is_reference {
                true => object::open(self.object.arena(), handle),
                false => Err(OpenError::Corrupt("a frame is no reference")),
            };
            // SYNC POINT ring: what was read before is of the frame, if the cursor has not moved since.
            fence(Ordering::Acquire);
            if place(self).0 == cursor {
                return opened.map(|object| Some((cursor, object)));
            }
        }
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
