//! The side of a ring that pushes.
//!
//! A frame pushed *quietly* lies beyond the tail cursor: takers do not see it until the cursor is
//! published, with one store for all frames since the last. A guard dropped, or a pusher killed,
//! before that leaves nothing of them.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use multiproc_sys::clock::Deadline;

use super::{BYTES, Cursor, FRAME_HEADER, REFERENCE, REFERENCE_UNITS, Ring, SKIP, units_of};
use crate::alloc;
use crate::alone::AloneGuard;
use crate::bell::Quiet;
use crate::lock::{LockError, Taken};
use crate::object::Object;

/// Why a frame was not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room for it now.
    Full,
    /// There will never be room for it: it is longer than [`Ring::longest_frame`].
    TooLong,
}

/// The right to push, until dropped.
#[derive(Debug)]
pub struct TailGuard<'a> {
    ring: &'a Ring,
    guard: AloneGuard<'a>,
    /// Where the next frame goes: after those that were pushed quietly.
    next: Cursor,
}

impl Ring {
    /// Becomes the one that pushes.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn tail(&self, deadline: Deadline) -> Result<TailGuard<'_>, LockError> {
        let guard = self.control().tail.lock.lock(deadline)?;
        Ok(TailGuard::of(self, guard))
    }

    /// As [`Ring::tail`], for a ring of which one thread is likely to do this all the time: that one need
    /// not pay for a lock. Every other that does so now and then pays a microsecond more. All who push
    /// at a ring use the same of the two.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn tail_often(&self, deadline: Deadline) -> Result<TailGuard<'_>, LockError> {
        let guard = self.control().tail.lock.lock_often(deadline)?;
        Ok(TailGuard::of(self, guard))
    }
}

impl<'a> TailGuard<'a> {
    #[inline]
    fn of(ring: &'a Ring, guard: AloneGuard<'a>) -> TailGuard<'a> {
        let cursor = &ring.control().tail.cursor;
        let next = Cursor::unpack(cursor.load(Ordering::Relaxed));
        TailGuard { ring, guard, next }
    }

    /// Releases the side, and rings for one change of the ring, as [`Ring::items`] would.
    #[inline]
    pub fn end_and_ring(self, quiet: &Quiet) {
        let bell = self.ring.items();
        if self.guard.is_alone() {
            // While it is alone: only such a one may do without fences.
            bell.ring_lightly(quiet);
        } else {
            drop(self);
            bell.ring_after_release();
        }
    }
}

impl TailGuard<'_> {
    /// Whether the pusher before died. Nothing needs repair here; the layer above may know more.
    #[inline]
    pub fn taken(&self) -> Taken {
        self.guard.taken()
    }

    /// Where the next frame goes; compare with [`HeadGuard::position`](super::HeadGuard::position).
    #[inline]
    pub fn position(&self) -> u64 {
        self.ring.control().tail.cursor.load(Ordering::Relaxed)
    }

    /// How many frames the ring holds if that may be `limit` or more, else some number below it: looks
    /// at the other side's cursor only where what it last saw does not settle the question.
    #[inline]
    pub fn len_up_to(&self, limit: usize) -> usize {
        let side = &self.ring.control().tail;
        let tail = self.next;
        let held = |head: u64| tail.frames.wrapping_sub(Cursor::unpack(head).frames) as usize;
        let held_then = held(side.seen.load(Ordering::Relaxed));
        if held_then < limit {
            return held_then;
        }
        // SYNC POINT ring space
        let head = self.ring.control().head.cursor.load(Ordering::Acquire);
        side.seen.store(head, Ordering::Relaxed);
        held(head)
    }

    /// Pushes the bytes of `parts` as one frame, if `spare` references would still fit after it.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing has changed then.
    #[inline]
    pub fn push(&mut self, parts: &[&[u8]], spare: u32) -> Result<(), PushError> {
        self.push_quietly(parts, spare)?;
        self.publish();
        Ok(())
    }

    /// Shows takers what was pushed quietly.
    #[inline]
    pub fn publish(&mut self) {
        // SYNC POINT ring: the taker that sees this cursor sees the frames.
        self.ring
            .control()
            .tail
            .cursor
            .store(self.next.pack(), Ordering::Release);
    }

    /// As [`TailGuard::push`], but takers do not see the frame before [`TailGuard::publish`], or the
    /// next push that is not quiet.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing has changed then.
    #[inline]
    pub fn push_quietly(&mut self, parts: &[&[u8]], spare: u32) -> Result<(), PushError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.ring.longest_frame() {
            return Err(PushError::TooLong);
        }
        // A reference may meet a unit too few before the end, once.
        let spare = if spare == 0 {
            0
        } else {
            spare * REFERENCE_UNITS + 1
        };
        let (at, next) = self.place(units_of(len), spare).ok_or(PushError::Full)?;
        self.ring.expect_writes(next.units);
        self.ring.write_header(at, len as u32, BYTES);
        let mut target = self.ring.unit(at);
        // SAFETY: `place` found that many contiguous free units, and the tail lock keeps other
        // pushers away; takers do not look beyond the tail cursor. Parts are private memory.
        unsafe {
            target = target.add(FRAME_HEADER);
            for part in parts {
                target.copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len());
                target = target.add(part.len());
            }
        }
        self.next = next;
        Ok(())
    }

    /// Pushes a reference to a stored parcel.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`]; or the arena lock's refusal, as [`PushError::Full`] cannot say more.
    #[inline]
    pub fn push_parcel(&mut self, parcel: &Object) -> Result<(), PushError> {
        let (at, next) = self.place(REFERENCE_UNITS, 0).ok_or(PushError::Full)?;
        let words = parcel.handle().to_words();
        self.ring
            .write_header(at, size_of_val(&words) as u32, REFERENCE);
        // SAFETY: as in `push`; 24 bytes follow the header in two units, 8-aligned.
        unsafe {
            self.ring
                .unit(at)
                .add(FRAME_HEADER)
                .cast::<[u64; 3]>()
                .write(words)
        };
        let arena = self.ring.object.arena();
        let locked = arena.lock_for_create().map_err(|_| PushError::Full)?;
        let mut change = locked.begin();
        alloc::count_up(&mut change, parcel.offset());
        change.set(locked.offset(&self.ring.control().tail.cursor), next.pack());
        change.commit();
        self.next = next;
        Ok(())
    }

    /// Room for a frame of `units`, with `spare` units left: where it goes, and the cursor after it.
    /// Writes the skip frame where one is needed.
    #[inline]
    fn place(&self, units: u32, spare: u32) -> Option<(u32, Cursor)> {
        let ring = self.ring;
        let side = &ring.control().tail;
        let tail = self.next;
        let until_end = ring.until_end(tail.units);
        let skip = if units > until_end { until_end } else { 0 };
        let needed = skip + units + spare;
        let fits = |head: u64| {
            let taken = tail.units.wrapping_sub(Cursor::unpack(head).units);
            taken <= ring.capacity && needed <= ring.capacity - taken
        };
        if !fits(side.seen.load(Ordering::Relaxed)) {
            // SYNC POINT ring space: what the taker read is read before we write over it.
            let head = ring.control().head.cursor.load(Ordering::Acquire);
            side.seen.store(head, Ordering::Relaxed);
            if !fits(head) {
                return None;
            }
        }
        if skip > 0 {
            ring.write_header(tail.units, 0, SKIP);
        }
        Some((tail.units.wrapping_add(skip), tail.after(skip + units, 1)))
    }
}
