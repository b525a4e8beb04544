//! The common case of both sides: a short frame, for a thread that has its side to itself.
//!
//! The same steps as in `tail.rs` and `head.rs`, all in registers. A guard that is handed on would be
//! written to the stack and read back in other widths, and such a read waits until every store
//! before it has reached memory, among them those to lines that the other core has just read: that alone
//! was half of what a message of 64 bytes took.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{BYTES, Cursor, FRAME_HEADER, Ring, units_of};
use crate::bell::Quiet;

impl Ring {
    /// Pushes `bytes` and the byte `last` as one frame, and rings, if this thread has the side to itself
    /// ([`Ring::tail_often`]) and nothing stands in the way. False: nothing was done.
    #[inline]
    #[must_use = "where it is false, nothing was pushed"]
    pub fn push_quickly(&self, bytes: &[u8], last: u8, quiet: &Quiet) -> bool {
        let push = || self.push_alone(bytes, last, quiet);
        self.control().tail.lock.if_alone(push).unwrap_or(false)
    }

    #[inline]
    fn push_alone(&self, bytes: &[u8], last: u8, quiet: &Quiet) -> bool {
        let side = &self.control().tail;
        let tail = Cursor::unpack(side.cursor.load(Ordering::Relaxed));
        let body = bytes.len() + 1;
        let units = units_of(body);
        let has_room = |head: u64| {
            let taken = tail.units.wrapping_sub(Cursor::unpack(head).units);
            taken <= self.capacity && units <= self.capacity - taken
        };
        if body > self.longest_frame() || units > self.until_end(tail.units) {
            return false;
        }
        if !has_room(side.seen.load(Ordering::Relaxed)) {
            // SYNC POINT ring space
            let head = self.control().head.cursor.load(Ordering::Acquire);
            side.seen.store(head, Ordering::Relaxed);
            if !has_room(head) {
                return false;
            }
        }
        let next = tail.after(units, 1);
        self.expect_writes(next.units);
        self.write_header(tail.units, body as u32, BYTES);
        // SAFETY: there is room for the frame in that many units in a row, checked above, and the thread has
        // the tail's lock, so that nobody else pushes; takers do not look beyond the tail cursor. `bytes`
        // is private memory.
        unsafe {
            let target = self.unit(tail.units).add(FRAME_HEADER);
            target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            target.add(bytes.len()).write(last);
        }
        // SYNC POINT ring: the taker that sees this cursor sees the frame.
        side.cursor.store(next.pack(), Ordering::Release);
        self.items().ring_lightly(quiet);
        true
    }

    /// Takes the next frame's bytes and rings, if this thread has the side to itself
    /// ([`Ring::head_often`]), and the frame has `most` bytes at most, without a last one that is `last`.
    /// `None`: nothing was taken.
    #[inline]
    #[must_use = "what it has taken is nowhere else"]
    pub fn pop_quickly(&self, most: u64, last: u8, quiet: &Quiet) -> Option<Vec<u8>> {
        let pop = || self.pop_alone(most, last, quiet);
        self.control().head.lock.if_alone(pop)?
    }

    #[inline]
    fn pop_alone(&self, most: u64, last: u8, quiet: &Quiet) -> Option<Vec<u8>> {
        let side = &self.control().head;
        let head = side.cursor.load(Ordering::Relaxed);
        let mut tail = side.seen.load(Ordering::Relaxed);
        if tail == head {
            // SYNC POINT ring
            tail = self.control().tail.cursor.load(Ordering::Acquire);
            if tail == head {
                return None;
            }
            side.seen.store(tail, Ordering::Relaxed);
        }
        let (head, tail) = (Cursor::unpack(head), Cursor::unpack(tail));
        // SAFETY: a unit is 16 bytes, 16-aligned and in the ring; an atomic, as a forger may write any time.
        let header = unsafe { self.unit(head.units).cast::<AtomicU64>().as_ref() };
        let header = header.load(Ordering::Relaxed);
        let (len, kind) = (header as u32 as usize, (header >> 32) as u32);
        let units = units_of(len);
        let filled = tail.units.wrapping_sub(head.units);
        let is_true = kind == BYTES
            && (1..=self.longest_frame()).contains(&len)
            && units <= self.until_end(head.units)
            && filled <= self.capacity
            && units <= filled
            && len as u64 - 1 <= most;
        if !is_true {
            return None;
        }
        // SAFETY: the body lies in the ring and before the tail, checked above; pushers do not write there
        // until the head cursor moves, which only the holder of the head's lock does, who we are.
        let body = unsafe {
            let body = self.unit(head.units).add(FRAME_HEADER);
            std::slice::from_raw_parts(body.as_ptr(), len)
        };
        let (&end, bytes) = body.split_last()?;
        if end != last {
            return None;
        }
        let bytes = bytes.to_vec();
        // SYNC POINT ring space
        side.cursor
            .store(head.after(units, 1).pack(), Ordering::Release);
        self.space().ring_lightly(quiet);
        Some(bytes)
    }
}
