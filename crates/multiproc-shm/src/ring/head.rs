//! The side of a ring that pops.
//!
//! A frame taken *quietly* is copied, but the head cursor stays before it: it is taken by the next
//! store of the cursor, one for all frames since the last. A guard dropped, or a taker killed, before
//! that has taken none of them.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use multiproc_sys::clock::Deadline;

use super::{
    BYTES, Cursor, FRAME_HEADER, REFERENCE, Ring, SKIP, read_header, read_reference, units_of,
};
use crate::alone::AloneGuard;
use crate::bell::Quiet;
use crate::error::OpenError;
use crate::lock::{LockError, Taken};
use crate::object::{self, Handle, Object};
use crate::parcel;

/// What was taken out of a ring.
#[derive(Debug)]
pub enum Frame {
    /// Bytes; they are in the buffer that was given.
    Bytes,
    /// A stored parcel.
    Parcel(Object),
}

/// What [`HeadGuard::pop_quietly`] has found.
#[derive(Debug)]
pub enum Found {
    /// No frame.
    Nothing,
    /// Bytes; they are in the buffer that was given, and the frame is taken by [`HeadGuard::settle`].
    Bytes,
    /// A stored parcel. It is taken, with all before it.
    Parcel(Object),
    /// A parcel that carries open files, left where it is. It is to be loaded before it is taken, and
    /// without this lock, as the files are asked of another process and may find no room in this one.
    /// Then, if [`HeadGuard::position`] is as it was, [`HeadGuard::pop`] takes it.
    Files(Object),
}

/// The right to pop, until dropped.
#[derive(Debug)]
pub struct HeadGuard<'a> {
    ring: &'a Ring,
    guard: AloneGuard<'a>,
    /// The next frame: after those that were taken quietly.
    next: Cursor,
    _here: PhantomData<*const ()>,
}

impl Ring {
    /// Becomes the one that pops.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn head(&self, deadline: Deadline) -> Result<HeadGuard<'_>, LockError> {
        let guard = self.control().head.lock.lock(deadline)?;
        Ok(HeadGuard::of(self, guard))
    }

    /// As [`Ring::head`], for a ring of which one thread is likely to do this all the time: that one need
    /// not pay for a lock. Every other that does so now and then pays a microsecond more. All who pop
    /// at a ring use the same of the two.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn head_often(&self, deadline: Deadline) -> Result<HeadGuard<'_>, LockError> {
        let guard = self.control().head.lock.lock_often(deadline)?;
        Ok(HeadGuard::of(self, guard))
    }
}

impl<'a> HeadGuard<'a> {
    #[inline]
    fn of(ring: &'a Ring, guard: AloneGuard<'a>) -> HeadGuard<'a> {
        let cursor = &ring.control().head.cursor;
        let next = Cursor::unpack(cursor.load(Ordering::Relaxed));
        HeadGuard {
            ring,
            guard,
            next,
            _here: PhantomData,
        }
    }

    /// Releases the side, and rings for one change of the ring, as [`Ring::space`] would.
    #[inline]
    pub fn end_and_ring(self, quiet: &Quiet) {
        let bell = self.ring.space();
        if self.guard.is_alone() {
            // While it is alone: only such a one may do without fences.
            bell.ring_lightly(quiet);
        } else {
            drop(self);
            bell.ring_after_release();
        }
    }
}

impl HeadGuard<'_> {
    /// Whether the taker before died. Nothing needs repair here; the layer above may know more.
    #[inline]
    pub fn taken(&self) -> Taken {
        self.guard.taken()
    }

    /// The position of the next frame: what [`TailGuard::position`](super::TailGuard::position) was before it was pushed.
    #[inline]
    pub fn position(&self) -> u64 {
        self.ring.control().head.cursor.load(Ordering::Relaxed)
    }

    /// Whether there is nothing to pop.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let side = &self.ring.control().head;
        let head = self.next.pack();
        if side.seen.load(Ordering::Relaxed) != head {
            return false;
        }
        // SYNC POINT ring
        let tail = self.ring.control().tail.cursor.load(Ordering::Acquire);
        side.seen.store(tail, Ordering::Relaxed);
        tail == head
    }

    /// Takes the next frame, if there is one; bytes are appended to `buffer`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Corrupt`] if the frame cannot be true, [`OpenError`] if its parcel cannot be
    /// reached; either way the frame is gone and the ring goes on.
    #[inline]
    pub fn pop(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Frame>, OpenError> {
        let Some(seen) = self.look()? else {
            return Ok(None);
        };
        if seen.kind == BYTES {
            self.copy_bytes(&seen, buffer);
            self.settle();
            return Ok(Some(Frame::Bytes));
        }
        let parcel = self.pop_parcel(read_reference(seen.body), seen.next)?;
        Ok(Some(Frame::Parcel(parcel)))
    }

    /// As [`HeadGuard::pop`], but a frame of bytes is not taken before [`HeadGuard::settle`], or the
    /// next pop that is not quiet, and one with open files is left where it is.
    ///
    /// # Errors
    ///
    /// As [`HeadGuard::pop`].
    #[inline]
    pub fn pop_quietly(&mut self, buffer: &mut Vec<u8>) -> Result<Found, OpenError> {
        let Some(seen) = self.look()? else {
            return Ok(Found::Nothing);
        };
        if seen.kind == BYTES {
            self.copy_bytes(&seen, buffer);
            return Ok(Found::Bytes);
        }
        let handle = read_reference(seen.body);
        if parcel::carries_files(handle)
            // If it is gone, the pop says so, and goes on.
            && let Ok(parcel) = object::open(self.ring.object.arena(), handle)
        {
            return Ok(Found::Files(parcel));
        }
        self.pop_parcel(handle, seen.next).map(Found::Parcel)
    }

    /// Takes what was popped quietly.
    #[inline]
    pub fn settle(&mut self) {
        // SYNC POINT ring space
        self.ring
            .control()
            .head
            .cursor
            .store(self.next.pack(), Ordering::Release);
    }

    #[inline]
    fn look(&mut self) -> Result<Option<Seen>, OpenError> {
        if self.is_empty() {
            return Ok(None);
        }
        match read_frame(self.ring, self.next) {
            Some(seen) => Ok(Some(seen)),
            None => Err(self.give_up("a frame is longer than its ring")),
        }
    }

    #[inline]
    fn copy_bytes(&mut self, seen: &Seen, buffer: &mut Vec<u8>) {
        let tail = Cursor::unpack(self.ring.control().head.seen.load(Ordering::Relaxed));
        self.ring.expect_reads(seen.next.units, tail.units);
        // SAFETY: `read_frame` has checked that the body lies in the ring and before the tail;
        // pushers do not write there until the head cursor moves.
        let bytes = unsafe { std::slice::from_raw_parts(seen.body.as_ptr(), seen.len) };
        if buffer.capacity() == 0 {
            *buffer = bytes.to_vec();
        } else {
            buffer.extend_from_slice(bytes);
        }
        self.next = seen.next;
    }

    fn pop_parcel(&mut self, handle: Handle, next: Cursor) -> Result<Object, OpenError> {
        let arena = self.ring.object.arena();
        let cursor = &self.ring.control().head.cursor;
        let at = arena.offset_of(cursor).expect("a ring lies in the arena");
        let taken = object::receive(arena, handle, |change| change.set(at, next.pack()));
        match taken {
            Ok(object) => {
                self.next = next;
                Ok(object)
            }
            Err(OpenError::NotFound) => {
                self.next = next;
                self.settle();
                Err(OpenError::Corrupt("a frame refers to nothing"))
            }
            // No memory for a ledger block, say: the frame stays for a later try.
            Err(other) => Err(other),
        }
    }

    /// Skips all there is: what follows a false length cannot be found.
    fn give_up(&mut self, why: &'static str) -> OpenError {
        let control = self.ring.control();
        let tail = control.tail.cursor.load(Ordering::Acquire);
        control.head.seen.store(tail, Ordering::Relaxed);
        self.next = Cursor::unpack(tail);
        self.settle();
        OpenError::Corrupt(why)
    }
}

struct Seen {
    kind: u32,
    len: usize,
    body: NonNull<u8>,
    next: Cursor,
}

/// The frame at `head`, which is not the tail as this side has last seen it. `None` if what is there cannot be one.
#[inline]
fn read_frame(ring: &Ring, head: Cursor) -> Option<Seen> {
    // What this side last saw of the tail is enough, and the tail's own cache line is the pusher's.
    let tail = Cursor::unpack(ring.control().head.seen.load(Ordering::Relaxed));
    let mut at = head.units;
    let mut skip = 0;
    let mut header = read_header(ring, at);
    if header[1] == SKIP {
        skip = ring.until_end(at);
        at = at.wrapping_add(skip);
        header = read_header(ring, at);
    }
    // Read once, into locals: another process may write there.
    let [len, kind] = header;
    let units = units_of(len as usize);
    let filled = tail.units.wrapping_sub(head.units);
    let true_frame = (kind == BYTES || kind == REFERENCE && len as usize == size_of::<[u64; 3]>())
        && len as usize <= ring.longest_frame()
        && units <= ring.until_end(at)
        && filled <= ring.capacity
        && skip + units <= filled;
    // SAFETY: the header's unit is in the ring, and the body starts 8 bytes into its 16.
    let body = unsafe { ring.unit(at).add(FRAME_HEADER) };
    true_frame.then_some(Seen {
        kind,
        len: len as usize,
        body,
        next: head.after(skip + units, 1),
    })
}
